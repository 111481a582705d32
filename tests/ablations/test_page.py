"""docs/reproduction.md is what its evidence says, and drops no claim."""

import pathlib

import pytest

from molphenix_jax.ablations import grid, page
from molphenix_jax.ablations.judging import verdict

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_made_from_its_evidence():
    assert (
        page.text(page.read_evidence(DOCS / page.EVIDENCE))
        == (DOCS / "reproduction.md").read_text()
    )


def test_no_claim_is_dropped_where_nothing_was_run():
    empty = page.text([])
    claims = [claim.text for name in grid.names() for claim in grid.load(name, "small").claims]
    for text in (*claims, *(claim.text for claim in page.UNBUILT)):
        assert empty.count(f"| {text} |") == 1
    assert empty.count("| **not measured**") == len(claims)
    assert "**holds**:" in empty
    assert "| **holds**" not in empty


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
