"""Claims that `molphenix figures` answers: verdicts from numbers, rows of the page from files."""

import json

import pytest

from molphenix_jax import storage
from molphenix_jax.ablations import page
from molphenix_jax.ablations.figured import FIGURED, rows_of
from molphenix_jax.ablations.grid import AblationError


def difference(value, half):
    return {"difference": value, "ci": [value - half, value + half]}


def pairs(value, half):
    apart = {"cosine": 0.1, "arctan L2": 0.1 + value}
    told = {"measure": "arctan L2", "baseline": "cosine", **difference(value, half)}
    return {"apart": apart, "comparisons": [told], "notes": []}


def ordered(*correlations):
    names = ["all doses", *(f"{k} µM" for k in range(1, len(correlations)))]
    return {
        "rows": [
            {"what": name, "correlation": value, "ci": [value - 0.1, value + 0.1]}
            for name, value in zip(names, correlations, strict=True)
        ]
    }


def active(value):
    row = {"metric": "auroc", "value": value, "ci": [value - 0.05, value + 0.05]}
    return {"rows": [{**row, "model": "z_m"}, {**row, "model": "dose", "value": 0.6}]}


def properties(low, high):
    names = {"bits": 0.0, "z_m at 1 µM": low, "z_m at 10 µM": high}
    means = [
        {"representation": name, "mean": 0.6 + more, "best_input": "bits"}
        for name, more in names.items()
    ]
    rows = [{name: 0.6 + more + 0.001 * k for name, more in names.items()} for k in range(9)]
    for k, row in enumerate(rows):
        row["z_m at 1 µM"] += 0.02 * (k % 3 - 1)
        row["z_m at 10 µM"] += 0.002 * (k % 3 - 1)
    return {"rows": rows, "means": means}


NO = "it was not asked"
ANSWERS = [
    ("similarity", pairs(0.3, 0.1), "holds"),
    ("similarity", pairs(0.3, 0.4), "weakly"),
    ("similarity", pairs(-0.3, 0.1), "fails"),
    ("neighbourhood", ordered(0.4, 0.2), "holds"),
    ("neighbourhood", ordered(0.4, 0.05), "weakly"),
    ("neighbourhood", ordered(0.05, -0.2), "fails"),
    ("activity", active(0.87), "holds"),
    ("activity", active(0.7), "weakly"),
    ("activity", active(0.52), "fails"),
    ("properties", properties(0.02, 0.04), "holds"),
    ("properties", properties(0.04, 0.02), "fails"),
    ("properties", properties(0.005, 0.04), "weakly"),
]


def told(question, answer):
    others = dict.fromkeys((claim.question for claim in FIGURED), NO)
    return {"data": "a screen", "command": "molphenix figures RUN", **others, question: answer}


@pytest.mark.parametrize(("question", "answer", "verdict"), ANSWERS)
def test_verdicts_follow_from_the_numbers(question, answer, verdict):
    for claim in FIGURED:
        found = rows_of(claim, [told(question, answer)])
        assert len(found) == (claim.question == question)
        for here, data, said, why in found:
            assert (data, said) == ("a screen", verdict)
            assert here
            assert why.endswith("By molphenix figures RUN.")


def test_each_run_with_an_answer_has_a_row_and_none_says_why(tmp_path):
    folder = tmp_path / page.EVIDENCE
    folder.mkdir()
    for name, answer in (("a", active(0.87)), ("b", active(0.7)), ("c", NO)):
        made = storage.signed(told("activity", answer))
        (folder / f"figures_{name}.json").write_text(json.dumps(made))
    tables, figures = page.read_evidence(folder)
    assert not tables
    rows = page.judged(tables, figures)
    assert [row[5] for row in rows if row[0].startswith("E.1")] == ["holds", "weakly"]
    (asked,) = [row for row in rows if row[0].startswith("Fig. 7")]
    assert asked[5] == page.NOT_RUN
    assert f"a screen: {NO}" in asked[6]
    made["activity"] = active(0.99)
    (folder / "figures_c.json").write_text(json.dumps(made))
    with pytest.raises(AblationError, match=r"figures_c\.json was changed by hand"):
        page.read_evidence(folder)
