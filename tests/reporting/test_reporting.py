"""Every row reaches the reader, nothing is taken for markup, words match the numbers."""

import base64
import html.parser
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from molphenix_jax.reporting import rows, table, write_property_report
from molphenix_jax.reporting.run import curves, report, results
from molphenix_jax.storage import read_csv

pytestmark = pytest.mark.slow

INLINE = "data:image/png;base64,"
MODELS = ("oracle", "chance", "physchem", "knn", "ridge", "molphenix")


def make_evaluation(
    *, splits=("unseen_molecules",), models=MODELS, psis=(0.01, 0.1), not_computed=()
):
    """Rows as in docs/architecture.md; the recall tells model and setting apart."""
    rng = np.random.default_rng(0)
    level = {"chance": 0.01, "oracle": 0.9, "physchem": 0.02, "knn": 0.05, "ridge": 0.08}
    results, comparisons, by_dose, rank_curves = [], [], [], []
    settings = [("all", None, "full")]
    settings += [("active", psi, g) for psi in psis for g in ("full", "active")]
    for split in splits:
        for subset, psi, gallery in settings:
            for direction in ("profile_to_molecule", "molecule_to_profile"):
                setting = {
                    "split": split,
                    "subset": subset,
                    "psi": psi,
                    "gallery": gallery,
                    "direction": direction,
                }
                for model in models:
                    value = level.get(model, 0.07) + 0.001 * rng.random()
                    row = {
                        **setting,
                        "model": model,
                        "n_queries": 321,
                        "n_gallery": 123,
                        "top_1pct": value,
                        "top_1pct_ci": [value - 0.01, value + 0.01],
                        "top_5pct": value + 0.05,
                        "top_5pct_ci": [value + 0.03, value + 0.07],
                        "median_rank_pct": 50 * (1 - value),
                        "chance_1pct": 0.0163,
                        "chance_5pct": 0.0569,
                    }
                    results.append(row)
                    if direction == "profile_to_molecule":
                        by_dose += [{**row, "concentration_um": c} for c in (0.1, 1.0, 10.0)]
                        rank_curves.append(
                            {
                                **setting,
                                "model": model,
                                "percent": [0.1, 1, 100],
                                "recall": [0.0, value, 1.0],
                            }
                        )
                for baseline, difference in (("knn", 0.02), ("ridge", -0.01), ("physchem", 0.05)):
                    comparisons.append(
                        {
                            **setting,
                            "metric": "top_1pct",
                            "model": "molphenix",
                            "baseline": baseline,
                            "difference": difference,
                            "ci": [difference - 0.015, difference + 0.015],
                            "better": difference > 0.015,
                        }
                    )
    return {
        "results": results,
        "comparisons": comparisons,
        "by_concentration": by_dose,
        "rank_curves": rank_curves,
        "not_computed": list(not_computed),
    }


def make_metrics(n_folds=1):
    return {
        f"fold {fold}": [{"step": s, "loss": 5.0 / (s + 1 + fold)} for s in range(20)]
        + [{"step": s, "validation_top_1pct": 0.01 * s} for s in range(0, 20, 5)]
        for fold in range(n_folds)
    }


class Page(html.parser.HTMLParser):
    """Collects the text and the images, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.words, self.scopes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag != "meta":
            self.open.append(tag)
        if tag == "th":
            self.scopes.append(dict(attrs)["scope"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("n_folds", [pytest.param(1, marks=pytest.mark.long), 5])
def test_the_page_has_every_row_and_its_pictures(tmp_path, n_folds):
    evaluation = make_evaluation(splits=("unseen_molecules", "heldout_concentration:0.1"))
    index = report.write_report(tmp_path, evaluation, make_metrics(n_folds))
    page = Page(index.read_text(encoding="utf-8"))
    assert index == tmp_path / "report" / "index.html"
    shown = {base64.b64decode(each["src"].removeprefix(INLINE)) for each in page.images}
    assert shown == {file.read_bytes() for file in index.parent.glob("*.png")}
    # A picture for each of three settings, of three kinds and two splits, and two of the training.
    assert len(page.images) == 3 * 3 * 2 + 2
    assert set(page.scopes) == {"col", "row"}
    first = page.images[0]["alt"]
    assert first.startswith("top-1% recall in %, active p ≤ 0.01, active gallery: molphenix 7.")
    assert "chance 1.0, oracle 90." in first
    for model in MODELS:
        # Once in each headline setting of two splits, and once for each row of the full table.
        assert page.words.count(model) == 2 * 3 + 2 * 10
    assert not any(s in index.read_text() for s in ("http://", "https://", str(tmp_path)))


def test_names_are_never_markup(tmp_path):
    nasty = "<script>alert('x')</script> [bold]a|b"
    split = f"unseen_screen:{nasty}/../../x"
    evaluation = make_evaluation(
        splits=(split,),
        models=(nasty, "molphenix"),
        not_computed=[{"split": split, "subset": "active", "psi": 0.5, "reason": nasty}],
    )
    index = report.write_report(tmp_path, evaluation, make_metrics(), title=nasty)
    text = index.read_text(encoding="utf-8")
    assert "<script" not in text
    page = Page(text)
    assert nasty in page.words
    assert {file.parent for file in tmp_path.rglob("*.png")} == {index.parent}
    lines = (index.parent / "results.md").read_text(encoding="utf-8").splitlines()
    assert all(line.replace("\\|", "").count("|") == 9 for line in lines if line.startswith("| "))
    assert nasty in table.to_text(evaluation, width=400)


def test_csv_holds_every_number():
    evaluation = make_evaluation()
    found = results.results_table(evaluation).to_dict("records")
    assert len(found) == len(evaluation["results"])
    for line, row in zip(found, evaluation["results"], strict=True):
        assert line["model"] == row["model"]
        assert line["psi"] == ("" if row["psi"] is None else f"{row['psi']:g}")
        assert float(line["top_1pct_high"]) == pytest.approx(row["top_1pct_ci"][1], rel=1e-5)
        assert float(line["median_rank_pct"]) == pytest.approx(row["median_rank_pct"], rel=1e-5)


def test_cells_that_a_spreadsheet_would_run_are_marked(tmp_path):
    evaluation = make_evaluation(models=("=1+1", "molphenix"))
    report.write_report(tmp_path, evaluation, make_metrics())
    path = tmp_path / "report" / "results.csv"
    assert ",'=1+1," in path.read_text()
    found = read_csv(path)
    assert set(found["model"]) == {"=1+1", "molphenix"}
    assert found["median_rank_pct"].notna().all()

    target = '=HYPERLINK("http://x")'
    row = {"target": target, "metric": "r2", "model": "knn", "value": -0.5, "ci": [-0.6, -0.4]}
    row |= {"n": 12, "n_positive": None}
    metrics = [{"kind": "train", "step": 1, "loss": 1.0}]
    properties = {"results": [row], "comparisons": []}
    write_property_report(tmp_path / "labels", properties, metrics, title="labels")
    path = tmp_path / "labels" / "report" / "results.csv"
    assert path.read_text().splitlines()[1].startswith("\"'=HYPER")
    assert read_csv(path)["target"].tolist() == [target]


def test_the_headline_table_shows_active_and_all_and_marks_the_best():
    evaluation = make_evaluation()
    text = table.to_text(evaluation)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for label in ("active p ≤ 0.01, active gallery", "p ≤ 0.01, full gallery", "all, full gallery"):
        assert sum(label in line for line in lines[:24]) == 1
    assert "321" in text
    drawn = table.headline_table(evaluation)
    model_cells, top_1 = list(drawn.columns[1].cells), list(drawn.columns[4].cells)
    assert model_cells == ["molphenix", "ridge", "knn", "physchem", "chance", "oracle"] * 3
    # Ridge is best at .08; the oracle's .9 does not count.
    assert [m for m, cell in zip(model_cells, top_1, strict=True) if "[bold]" in str(cell)] == [
        "ridge"
    ] * 3


def test_the_full_table_has_every_row():
    evaluation = make_evaluation(splits=("unseen_images", "unseen_molecules"))
    assert table.full_table(evaluation).row_count == len(evaluation["results"])
    text = table.to_text(evaluation, full=True, width=200)
    assert sum("physchem" in line and "unseen" in line for line in text.splitlines()) >= 20


def test_verdicts_say_beats_only_beyond_the_interval():
    sentences = rows.verdicts(make_evaluation(), "unseen_molecules")
    assert len(sentences) == 3
    for sentence in sentences:
        beats, not_beaten = sentence.split("; it does not beat ")
        assert "beats knn (+2.0 points, 95% interval +0.5 to +3.5) and physchem" in beats
        assert not_beaten.startswith("ridge (-1.0 points, 95% interval -2.5 to +0.5)")


def test_a_model_below_its_baseline_is_said_to_be_worse():
    evaluation = make_evaluation()
    for row in evaluation["comparisons"]:
        row.update(difference=-0.05, ci=[-0.07, -0.03], better=False)
    sentence = rows.verdicts(evaluation, "unseen_molecules")[0]
    assert "molphenix is worse than ridge" in sentence
    assert "beat" not in sentence.replace("does not beat", "")


@pytest.mark.parametrize("ci", [None, [-0.014, -0.014]])
def test_a_difference_without_an_interval_is_said_to_have_none(ci):
    """As `evaluation.json` says it today, and as it said it before."""
    evaluation = make_evaluation()
    for row in evaluation["comparisons"]:
        row.update(difference=-0.014, ci=ci, better=False)
    sentence = rows.verdicts(evaluation, "unseen_molecules")[0]
    assert "molphenix cannot be told from ridge (-1.4 points; not enough molecules" in sentence
    assert "-1.4 to -1.4" not in sentence


def test_a_lead_stands_in_the_row_that_it_is_over_and_is_bold_beyond_the_interval():
    evaluation = make_evaluation()
    for row in evaluation["comparisons"]:
        if (row["subset"], row["gallery"], row["baseline"]) == ("active", "full", "physchem"):
            row["ci"] = None
    cells = [
        [*(["active p ≤ 0.01, full gallery"] if model == "knn" else [""]), model, *[""] * 6]
        for model in ("knn", "ridge", "physchem", "chance")
    ]
    table = report._with_leads(evaluation, "unseen_molecules", cells)
    leads = re.findall(r'data-label="lead">(.*?)</td>', table)
    assert leads == [
        "<b>+2.0 [+0.5, +3.5]</b>",
        "-1.0 [-2.5, +0.5]",
        "+5.0 [no interval]",
        "",
    ]


def test_a_recall_without_an_interval_is_shown_without():
    evaluation = make_evaluation()
    for row in evaluation["results"]:
        row.update(top_1pct=0.0, top_1pct_ci=[0.0, 0.0])
    assert rows.with_interval(evaluation["results"][0], "top_1pct") == "0.0 [no interval]"
    assert "[0.0, 0.0]" not in table.to_text(evaluation, full=True, width=200)
    line = results.results_table(evaluation).iloc[0]
    assert (line["top_1pct_low"], line["top_1pct_high"]) == ("", "")
    curves.recall_figure(evaluation, "unseen_molecules")


def test_unseen_molecules_come_first_and_doses_in_order():
    splits = ("heldout_concentration:10", "heldout_concentration:pooled", "unseen_screen:b")
    splits += ("heldout_concentration:2.5", "unseen_images", "unseen_molecules", "validation")
    assert rows.splits(make_evaluation(splits=splits)) == [
        "unseen_molecules",
        "unseen_images",
        "unseen_screen:b",
        "heldout_concentration:2.5",
        "heldout_concentration:10",
        "heldout_concentration:pooled",
        "validation",
    ]


@pytest.mark.parametrize(("psis", "shown"), [((0.1, 0.01), 0.01), ((0.05, 0.1), 0.05), ((), None)])
def test_the_headline_falls_back_to_a_psi_that_was_computed(psis, shown):
    found = rows.headline(make_evaluation(psis=psis), "unseen_molecules")
    assert [s.psi for s in found] == ([shown, shown, None] if shown else [None])


def test_how_the_screen_was_read_stands_below(tmp_path):
    notes = ("concentration_um: the numbers in 'dose' are taken as <nM>",)
    index = report.write_report(tmp_path, make_evaluation(), make_metrics(), notes=notes)
    assert "the numbers in &#x27;dose&#x27; are taken as &lt;nM&gt;" in index.read_text()


def test_what_was_not_computed_is_told(tmp_path):
    missing = {"split": "unseen_molecules", "subset": "active", "psi": 0.01, "reason": "no p-value"}
    evaluation = make_evaluation(psis=(), not_computed=[missing])
    line = "Unseen molecules, active (p ≤ 0.01): no p-value"
    index = report.write_report(tmp_path, evaluation, make_metrics())
    assert line in Page(index.read_text(encoding="utf-8")).words
    assert line in (index.parent / "results.md").read_text(encoding="utf-8")
    assert line in table.to_text(evaluation)


def test_a_run_without_curves_or_results_still_has_a_page(tmp_path):
    metrics = {"run": [{"step": 0, "other": 1.0}]}
    index = report.write_report(tmp_path, {"results": []}, metrics)
    text = "".join(Page(index.read_text(encoding="utf-8")).words)
    assert "No results" in text
    assert "no row of the metrics has 'loss'; there are ['other', 'step']" in text
    with pytest.raises(ValueError, match="no results"):
        table.headline_table({"results": []})


def test_training_curves_draw_each_fold():
    figures = curves.training_figure(
        make_metrics(4), loss_key="loss", recall_key="validation_top_1pct"
    )
    loss, recall = (figure.axes[0] for figure in figures)
    assert [len(axes.lines) for axes in (loss, recall)] == [4, 4]
    np.testing.assert_allclose(loss.lines[2].get_ydata()[:2], [5 / 3, 5 / 4])
    np.testing.assert_allclose(recall.lines[0].get_ydata(), [0, 5, 10, 15])


def test_recall_bars_show_value_interval_and_chance():
    evaluation = make_evaluation()
    figures = curves.recall_figure(evaluation, "unseen_molecules")
    axes = figures[0].axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["molphenix", "ridge", "knn", "physchem"]
    setting = rows.headline(evaluation, "unseen_molecules")[0]
    found = {row["model"]: row for row in rows.at(evaluation["results"], setting)}
    for name, bar in zip(names, axes.patches, strict=True):
        assert bar.get_width() == pytest.approx(100 * found[name]["top_1pct"])
    ends = axes.collections[0].get_segments()[1][:, 0]
    np.testing.assert_allclose(ends, 100 * np.array(found["ridge"]["top_1pct_ci"]))
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 1.63)
    assert "oracle 90" in axes.get_xlabel()


def test_dose_and_rank_figures_draw_every_model():
    evaluation = make_evaluation()
    doses = curves.dose_figure(evaluation, "unseen_molecules")
    curve = curves.rank_figure(evaluation, "unseen_molecules")
    labels = [text.get_text() for text in curve[0].legends[0].get_texts()]
    assert labels == ["molphenix", "ridge", "knn", "physchem", "chance", "oracle"]
    assert [len(figure.axes[0].lines) for figure in curve] == [6, 6, 6]
    # Told apart without colour.
    assert len({str(line._dash_pattern) for line in curve[0].axes[0].lines}) == 6
    for figure in (*curve, *doses):  # no name is cut off
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        box = figure.legends[0].get_window_extent(canvas.get_renderer())
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    # The oracle would squeeze the others.
    assert [len(figure.axes[0].lines) for figure in doses] == [5, 5, 5]
    np.testing.assert_allclose(doses[0].axes[0].lines[0].get_xdata(), [0.1, 1, 10])
    with pytest.raises(ValueError, match="no rows by concentration"):
        curves.dose_figure({**evaluation, "by_concentration": []}, "unseen_molecules")


def test_a_row_without_its_fields_is_named():
    with pytest.raises(ValueError, match=r"without \['psi', 'direction'\]"):
        rows.setting_of({"split": "a", "subset": "all", "gallery": "full"})
