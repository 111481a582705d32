"""docs/reproduction.md is what its evidence says, and drops no claim."""

import pathlib
import re

import pytest

from molphenix_jax.ablations import grid, judging, page
from molphenix_jax.ablations.judging import verdict

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def test_the_pages_are_made_from_their_evidence():
    found = page.read_evidence(DOCS / page.EVIDENCE)
    assert page.text(*found) == (DOCS / "reproduction.md").read_text()
    assert page.html_text(*found) == (DOCS / "reproduction.html").read_text()


def test_no_claim_is_dropped_where_nothing_was_run():
    empty, rows = page.text([]), page.judged([])
    claims = [claim.text for name in grid.names() for claim in grid.load(name, "small").claims]
    for text in (*claims, *(claim.text for claim in page.UNBUILT)):
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


def test_a_row_named_as_a_baseline_is_another_model():
    ablation = grid.load("molecule_encoders", "small")
    assert judging._apart(ablation, "physchem") == "physchem (baseline)"
    assert judging._apart(ablation, "knn") == "knn"
    found = next(
        t for t in page.read_evidence(DOCS / page.EVIDENCE)[0] if t["name"] == ablation.name
    )
    rows = {line["row"]: line["baseline"] for line in found["results"]}
    assert (rows["physchem"], rows["physchem (baseline)"]) == (False, True)
