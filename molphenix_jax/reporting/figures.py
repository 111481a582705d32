"""The page of `molphenix figures`: a section and a picture for each question to a run."""

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from molphenix_jax.reporting.page import definitions, html_page, html_table, picture, sentences
from molphenix_jax.storage import write_text

_TITLE = "What a run's embeddings know"
_TITLES = {
    "similarity": "Similarity of profiles (paper Fig. 6)",
    "neighbourhood": "Molecule embeddings and activity (paper Fig. 7)",
    "activity": "Activity from molecule embeddings (paper App. E.1)",
    "properties": "Properties from molecule embeddings (paper T8, T9)",
}
_METRICS = {"auroc": "AUROC", "average_precision": "average precision"}
_PANEL = (4.2, 3.2)
# Okabe and Ito's, with dashes: told apart by any colour vision.
_STYLES = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (6, 2))),
    ("#009E73", (0, (3, 1.5))),
    ("#777777", (0, (4, 3))),
)


def in_words(name: str, answer: Mapping[str, Any] | str) -> str:
    """An answer of `figures.json` in one sentence without its stop; a text is one already."""
    if isinstance(answer, str):
        return answer
    if name == "similarity":
        told = ", ".join(f"{measure} {value:.2f}" for measure, value in answer["apart"].items())
        return (
            "distance of the distributions of pairs of inactive profiles and of pairs of an active "
            f"with an inactive one (0: none, 1: they do not overlap): {told}"
        )
    if name == "neighbourhood":
        told = ", ".join(
            f"{row['what']} {with_ends(row['correlation'], row['ci'])}" for row in answer["rows"]
        )
        return (
            "rank correlation of a perturbation's -log10 p with that of its neighbours in z_m: "
            f"{told}"
        )
    if name == "activity":
        told = ", ".join(
            f"{row['model']} {with_ends(row['value'], row['ci'])}"
            for row in answer["rows"]
            if row["metric"] == "auroc"
        )
        return f"AUROC of active perturbations (p ≤ .01) of unseen molecules, by regression: {told}"
    told = ", ".join(f"{row['representation']} {row['mean']:.3f}" for row in answer["means"])
    return (
        f"mean over {len(answer['rows'])} properties (AUROC, or R² of numbers), neighbours in: "
        f"{told}"
    )


def write_figures(
    folder: pathlib.Path,
    about: Sequence[tuple[str, str]],
    answers: Mapping[str, Mapping[str, Any] | str],
    tables: Mapping[str, pd.DataFrame],
) -> pathlib.Path:
    """Writes `index.html` and the PNGs.

    Args:
        folder: Of the page.
        about: What was asked, names with values.
        answers: Name of a question → its numbers as in `figures.json`, or why there are none.
        tables: Name → what its picture is drawn of, for each question that has numbers.

    Returns:
        The page's path.
    """
    sections = {
        "similarity": _similarity,
        "neighbourhood": _neighbourhood,
        "activity": _activity,
        "properties": _properties,
    }
    body = [f"<h1>{_TITLE}</h1>", definitions(about)]
    for name, answer in answers.items():
        said = in_words(name, answer)
        body.append(f"<h2>{html.escape(_TITLES[name])}</h2>")
        body.append(f"<p>{html.escape(said[0].upper() + said[1:])}.</p>")
        if not isinstance(answer, str):
            body += sections[name](folder, answer, tables[name])
    path = folder / "index.html"
    write_text(path, html_page(_TITLE, body))
    return path


def _similarity(folder: pathlib.Path, answer: Mapping, table: pd.DataFrame) -> list[str]:
    figures, alts = [], []
    for measure, of in table.groupby("measure", sort=False):
        figure, axes = _panel(str(measure), "share of pairs")
        medians = []
        for (colour, dash), (pairs, drawn) in zip(
            _STYLES, of.groupby("pairs", sort=False), strict=True
        ):
            axes.plot(
                drawn["similarity"], drawn["share"], color=colour, linestyle=dash, label=pairs
            )
            medians.append(f"{pairs} {drawn['similarity'].median():.2f}")
        axes.legend(frameon=False, fontsize=8)
        figures.append(figure)
        alts.append(f"Distribution functions of the {measure}; medians: {', '.join(medians)}")
    differences = [
        f"{row['measure']} less {row['baseline']} "
        f"{with_ends(row['difference'], row['ci'], signed=True)}"
        for row in answer["comparisons"]
    ]
    caption = (
        "Share of pairs that are less similar. What is to serve as a soft target should set apart "
        "pairs of inactive profiles from those of an active with an inactive one."
    )
    shown = picture(folder, "similarity.png", figures, caption, alts)
    return [shown, sentences([*differences, *answer["notes"]])]


def _neighbourhood(folder: pathlib.Path, answer: Mapping, table: pd.DataFrame) -> list[str]:
    figures, alts, rows = [], [], []
    for row in answer["rows"]:
        correlation = with_ends(row["correlation"], row["ci"])
        rows.append([row["what"], f"{row['n']:,}", correlation])
        dose = row["concentration_um"]
        at = table if dose is None else table[table["concentration_um"] == dose]
        figure, axes = _panel("", "")
        axes.scatter(table["x"], table["y"], s=6, color="#dddddd")
        drawn = axes.scatter(at["x"], at["y"], s=10, c=at["minus_log10_p"], vmin=0.0)
        axes.set_title(row["what"], fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        figure.colorbar(drawn, label="-log10 p")
        figures.append(figure)
        alts.append(
            f"{answer['drawn_by']} of molecule embeddings, {row['what']}, coloured by -log10 p; "
            f"rank correlation of neighbours {correlation}"
        )
    caption = (
        f"{answer['drawn_by']} of z_m of the first fold's held-out perturbations. Distances on a "
        "map say little; the correlations do not rest on it."
    )
    shown = html_table(
        ["perturbations", "number", "rank correlation [95%]"],
        rows,
        text_columns=1,
        caption="-log10 p beside its mean over the ten nearest of other molecules, all folds",
    )
    return [shown, picture(folder, "map.png", figures, caption, alts)]


def _activity(folder: pathlib.Path, answer: Mapping, table: pd.DataFrame) -> list[str]:
    from sklearn.metrics import roc_curve

    figure, axes = _panel("share of inactive called active", "share of active found")
    names = [name for name in table.columns if name != "active"]
    for (colour, dash), name in zip(_STYLES, names, strict=False):
        false, true, _ = roc_curve(table["active"], table[name])
        axes.plot(false, true, color=colour, linestyle=dash, label=name)
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8)
    rows = [
        [row["model"], _METRICS[row["metric"]], f"{row['n']:,}", f"{row['n_positive']:,}"]
        + [with_ends(row["value"], row["ci"])]
        for row in answer["rows"]
    ]
    columns = ["regression on", "metric", "number", "active", "value [95%]"]
    differences = [
        f"{_METRICS[row['metric']]}: {row['model']} less {row['baseline']} "
        f"{with_ends(row['difference'], row['ci'], signed=True)}"
        for row in answer["comparisons"]
    ]
    caption = "Receiver operating curves of the regressions."
    return [
        f"<p>{html.escape(answer['note'])}.</p>",
        html_table(columns, rows, text_columns=2),
        sentences(differences),
        picture(folder, "activity.png", figure, caption, [in_words("activity", answer)]),
    ]


def _properties(folder: pathlib.Path, answer: Mapping, table: pd.DataFrame) -> list[str]:
    names = [row["representation"] for row in answer["means"]]
    best = answer["means"][0]["best_input"]
    means = [
        [
            row["representation"],
            f"{row['mean']:.3f}",
            f"{row['labels_better']} of {row['labels']}",
            with_ends(row["difference"], row["ci"], signed=True),
        ]
        for row in answer["means"]
    ]
    figure, axes = _panel("", "mean over labels")
    axes.bar(range(len(names)), [row["mean"] for row in answer["means"]], color="#0072B2")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    every = [
        [row["label"], row["metric"], f"{row['n']:,}", *(f"{row[name]:.3f}" for name in names)]
        for row in table.to_dict("records")
    ]
    said = [f"{answer['n_trained']:,} molecules that the model was trained on are left out"]
    said += [f"{name} is left out: {why}" for name, why in answer["left_out"].items()]
    whole = html_table(["label", "metric", "molecules", *names], every, text_columns=2)
    return [
        html_table(
            ["neighbours in", "mean", f"labels better than {best}", f"less {best} [95%]"],
            means,
            text_columns=1,
            caption=f"Mean over {len(every)} labels, ten nearest neighbours; intervals over labels",
        ),
        picture(
            folder,
            "properties.png",
            figure,
            "Mean over labels by neighbours in each.",
            [in_words("properties", answer)],
        ),
        f"<details><summary>Every label</summary>{whole}</details>",
        sentences(said),
    ]


def _panel(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_PANEL, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def with_ends(value: float, ci: Sequence[float] | None, *, signed: bool = False) -> str:
    """A number and its interval, if it has one, to two digits."""
    sign = "+" if signed else ""
    ends = f" [{ci[0]:{sign}.2f}, {ci[1]:{sign}.2f}]" if ci else ""
    return f"{value:{sign}.2f}{ends}"
