"""docs/reproduction.md is what its evidence says, and drops no claim."""

import pathlib
import re
import shutil

import pytest

from molphenix_jax.ablations import Claim, grid, judging, page
from molphenix_jax.ablations.course import stagnation
from molphenix_jax.ablations.grid import AblationError
from molphenix_jax.ablations.judging import verdict
from molphenix_jax.evaluation.contrasts import Contrast

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def test_the_pages_are_made_from_their_evidence():
    found = page.read_evidence(DOCS / page.EVIDENCE)
    assert page.text(*found) == (DOCS / "reproduction.md").read_text()
    assert page.html_text(*found) == (DOCS / "reproduction.html").read_text()


def test_no_claim_is_dropped_where_nothing_was_run():
    empty, rows = page.text([]), page.judged([])
    claims = [claim.text for ablation in grid.of_paper("small") for claim in ablation.claims]
    for text in (*claims, page.COURSE.text, *(claim.text for claim in page.UNBUILT)):
        assert empty.count(f"| {text} |") == 1
    assert [row[5] for row in rows].count(page.NOT_RUN) >= len(claims)
    for row in rows:  # what is not run says what it needs
        assert row[5] != page.NOT_RUN or row[6]
    assert "**holds**:" in empty
    assert "| **holds**" not in empty


def test_every_table_and_figure_of_the_results_stands_there():
    where = ", ".join(row[0] for row in page.judged([]))
    tables = {int(number) for number in re.findall(r"\bT(\d+)\b", where)}
    figures = {int(number) for number in re.findall(r"Fig\. (\d+)", where)}
    assert tables == set(range(1, 23))
    assert figures == set(range(4, 10))
    assert "E.1" in where
    assert "E.2" in where


def test_a_tier_stands_beside_another(tmp_path):
    shutil.copytree(DOCS / page.EVIDENCE, tmp_path / page.EVIDENCE)
    tables, figures = page.read_evidence(DOCS / page.EVIDENCE)
    small = next(table for table in tables if table["name"] == "losses")
    del small["digest"]
    mine = {**small, "tier": "decide", "data": "a screen of mine"}
    (tmp_path / page.EVIDENCE / "losses_decide.json").unlink()
    best, others = small["claims"]
    mine["claims"] = [best, {**others, "verdict": "not measured", "contrasts": []}]
    page.write(tmp_path / "page.md", [mine])
    assert (tmp_path / page.EVIDENCE / "losses_decide.json").exists()
    rows = page.judged(*page.read_evidence(tmp_path / page.EVIDENCE))
    before = page.judged([t for t in tables if t.get("tier") == "small"], figures)
    # A claim whose rows were left out is told by the screen that has them.
    more = [row for row in rows if row[4].startswith("a screen of mine") and row[0] != "Fig. 4"]
    assert [row[1] for row in more] == [best["text"]]
    assert [row for row in rows if row in before and row[0] != "Fig. 4"] == [
        row for row in before if row[0] != "Fig. 4"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "a screen of mine"}, "and this table of a screen of mine"),
        ({"n_seeds": 1}, "has 3 seeds of each row, and this table 1"),
        ({"results": []}, "has rows that this table lacks: full, random, single"),
    ],
)
def test_evidence_gives_way_to_nothing_less(tmp_path, change, said):
    shutil.copytree(DOCS / page.EVIDENCE, tmp_path / page.EVIDENCE)
    tables, _ = page.read_evidence(DOCS / page.EVIDENCE)
    table = {**next(table for table in tables if table["name"] == "averaging"), **change}
    rows = {of["row"] for of in table["results"]}
    with pytest.raises(AblationError, match=said):
        page.need_room(tmp_path / "page.md", table, rows)
    page.need_room(tmp_path / "elsewhere" / "page.md", table, rows)


@pytest.mark.parametrize("text", ["", '{"name":', "[1, 2]"])
def test_damaged_evidence_is_named_before_a_run(tmp_path, text):
    (tmp_path / page.EVIDENCE).mkdir()
    (tmp_path / page.EVIDENCE / "losses.json").write_text(text)
    with pytest.raises(AblationError, match=r"losses\.json (is damaged|holds no table)"):
        page.need_page(tmp_path / "page.md")
    with pytest.raises(AblationError, match=r"ends in \.md"):
        page.need_page(tmp_path / "page.html")


def curves(tier, active):
    course = [10.0, *[20.0] * 4, *[30.0] * 4, *[30.0] * 4, *[33.0] * 4]
    return {
        "tier": tier,
        "rows": [{"name": "a", "label": "A"}],
        "curves": [{"row": "a", "recall": [0.01 * x for x in course], "active": active}],
    }


@pytest.mark.parametrize(("last", "expected"), [(0.8, "weakly"), (0.4, "fails")])
def test_active_pairs_go_on_or_stagnate_with_all(last, expected):
    active = [[0.1, *[0.2] * 4, *[0.4] * 8, *[last] * 4]]
    table = curves("decide", active)
    here, lines = stagnation([table, curves("small", active), table])
    assert here == (
        f"mean of 1 trainings: active 40.0 to {100 * last:.1f}%, all 30.0 to 33.0%; "
        f"active ones rise, and more than all, in {int(last > 0.4)}"
    )
    assert len(lines) == 1
    assert lines[0]["difference"] == pytest.approx(last / 0.4 - 1.1)
    assert verdict(lines) == expected
    assert stagnation([curves("small", active)]) == ("", [])
    assert stagnation([curves("decide", [])]) == ("", [])


def line(difference, half):
    ends = (None, None) if half is None else (difference - half, difference + half)
    return {"difference": difference, "low": ends[0], "high": ends[1]}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "not measured"),
        ([line(0.2, 0.1), line(0.1, 0.05)], "holds"),
        ([line(0.2, 0.1), line(0.1, 0.2)], "weakly"),
        ([line(0.2, 0.1), line(-0.1, 0.2)], "weakly"),
        ([line(0.2, None)], "weakly"),
        ([line(0.2, 0.1), line(-0.1, 0.05)], "fails"),
        ([line(0.1, 0.2), line(-0.1, 0.2)], "fails"),
        ([line(0.0, None)], "fails"),
    ],
)
def test_verdicts(lines, expected):
    assert verdict(lines) == expected


@pytest.mark.parametrize(("others", "expected"), [(("b", "c"), "holds"), (("b",), "weakly")])
def test_a_claim_holds_where_all_of_it_was_compared(others, expected):
    claim = Claim("a is best", "lost", (("a", "b"), ("a", "c")))
    told = {("a", other): Contrast("a", other, 0.2, (0.1, 0.3)) for other in others}
    rows = [
        {"name": n, "label": n, "skipped": "" if n in ("a", *others) else "no", "unfinished": 0}
        for n in "abc"
    ]
    found = judging._claim(claim, {("active", 0.01, "full", grid.JUDGED): told}, rows)
    assert found["verdict"] == expected
    assert found["missing"] == ([] if expected == "holds" else ["c: no"])


def test_a_row_named_as_a_baseline_is_another_model():
    ablation = grid.load("molecule_encoders", "small")
    assert judging._apart(ablation, "physchem") == "physchem (baseline)"
    assert judging._apart(ablation, "knn") == "knn"
    found = next(
        t for t in page.read_evidence(DOCS / page.EVIDENCE)[0] if t["name"] == ablation.name
    )
    rows = {line["row"]: line["baseline"] for line in found["results"]}
    assert (rows["physchem"], rows["physchem (baseline)"]) == (False, True)
