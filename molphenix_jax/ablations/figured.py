"""Claims of the paper that no ablation judges, but what `molphenix figures` asks of a run.

A file `figures_NAME.json` of the evidence is such a run's `figures.json`, with its digest. The rule
is that of all claims (`judging.verdict`): every interval above 0, or else.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from molphenix_jax.ablations.judging import verdict
from molphenix_jax.evaluation.bootstrap import interval, resampled_means

PREFIX = "figures_"
_AUROC = 0.90  # of the paper's App. E.1

Judged = tuple[str, str, str]  # here, verdict, why


@dataclasses.dataclass(frozen=True)
class Figured:
    """A claim about what embeddings or profiles know.

    Attributes:
        where: In the paper.
        text: The claim.
        paper: Its number, or "lost".
        question: Name in `figures.json`.
        command: Asks it.
        judge: The answer → what came out, the verdict and why.
    """

    where: str
    text: str
    paper: str
    question: str
    command: str
    judge: Callable[[Mapping[str, Any]], Judged]


def rows_of(claim: Figured, figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """here, data, verdict and why of a claim on each run that has an answer; none if none has."""
    found = []
    for told in figures:
        answer = told[claim.question]
        if not isinstance(answer, str):
            here, said, why = claim.judge(answer)
            found.append((here, told["data"], said, f"{why} By {told['command']}."))
    return found


def why_not(claim: Figured, figures: Sequence[Mapping[str, Any]]) -> str:
    """What a claim without an answer needs."""
    asked = [
        f"{told['data']}: {told[claim.question]}"
        for told in figures
        if isinstance(told[claim.question], str)
    ]
    return "; ".join([f"Needs {claim.command}", *asked]) + "."


def _ends(value: float, ci: Sequence[float] | None, *, signed: bool = False) -> str:
    from molphenix_jax.reporting.figures import with_ends  # which imports matplotlib

    return with_ends(value, ci, signed=signed)


def _line(difference: float, ci: Sequence[float] | None) -> dict[str, Any]:
    low, high = ci or (None, None)
    return {"difference": difference, "low": low, "high": high, "ci": ci}


def _pairs(answer: Mapping[str, Any]) -> Judged:
    """Fig. 6: whether arctan L2 sets the pairs apart more than the cosine does."""
    first, *others = answer["comparisons"]
    apart = answer["apart"]
    here = (
        f"distance of the two distributions {apart['arctan L2']:.2f} by arctan L2, "
        f"{apart['cosine']:.2f} by cosine, "
        f"{_ends(first['difference'], first['ci'], signed=True)}"
    )
    less = [
        f"With the noise subtracted {apart[row['measure']]:.2f} and {apart[row['baseline']]:.2f}, "
        f"{_ends(row['difference'], row['ci'], signed=True)}."
        for row in others
    ]
    said = verdict([_line(first["difference"], first["ci"])])
    less.append("Molecules drawn twice bring distributions nearer: the intervals lie low.")
    return here, said, " ".join([*less, *(f"Note: {note}." for note in answer["notes"])])


def _ordered(answer: Mapping[str, Any]) -> Judged:
    """Fig. 7: whether neighbours agree in activity, over all doses and within each."""
    whole, *doses = answer["rows"]
    here = (
        "rank correlation of -log10 p with that of neighbours "
        f"{_ends(whole['correlation'], whole['ci'])} over all doses"
    )
    if doses:
        within = ", ".join(
            f"{_ends(row['correlation'], row['ci'])} at {row['what']}" for row in doses
        )
        here += f"; within one dose {within}"
    why = "Over all doses neighbours may only share the dose; it holds where it does within each."
    lines = [_line(row["correlation"], row["ci"]) for row in answer["rows"]]
    return here, verdict(lines), why


def _active(answer: Mapping[str, Any]) -> Judged:
    """E.1: whether activity is told, and as well as in the paper."""
    told = {row["model"]: row for row in answer["rows"] if row["metric"] == "auroc"}
    own, *others = (f"{name} {_ends(r['value'], r['ci'])}" for name, r in told.items())
    row = told["z_m"]
    low, high = row["ci"] or (row["value"], row["value"])
    said = "holds" if high >= _AUROC else "weakly" if low > 0.5 else "fails"
    why = (
        f"The same regression on what the model is given: {', '.join(others)}. It holds where the "
        "interval reaches the paper's number, weakly where it lies above ½ alone."
    )
    return f"AUROC of {own}", said, why


def _properties(answer: Mapping[str, Any]) -> Judged:
    """T8, T9: whether z_m is better than the fingerprints, and better at higher doses."""
    means = {row["representation"]: row["mean"] for row in answer["means"]}
    doses = [name for name in means if name.startswith("z_m")]
    inputs = [name for name in means if name not in doses]
    base = "bits" if "bits" in inputs else answer["means"][0]["best_input"]
    pairs = [(name, base) for name in doses] + [(doses[-1], doses[0])] * (len(doses) > 1)
    lines = [_difference(answer["rows"], *pair) for pair in pairs]
    told = [_ends(x["difference"], x["ci"], signed=True) for x in lines]
    what = "fingerprints" if base == "bits" else base
    here = "; ".join(
        f"{name} {means[name]:.3f}, less {what} {ends}"
        for name, ends in zip(doses, told, strict=False)
    )
    why = (
        f"Mean of AUROC or R² over {len(answer['rows'])} labels, ten neighbours; inputs: "
        f"{', '.join(f'{name} {means[name]:.3f}' for name in inputs)}."
    )
    if len(doses) > 1:
        why += f" Highest less lowest dose {told[-1]}."
    return here, verdict(lines), why


def _difference(rows: Sequence[Mapping[str, Any]], first: str, second: str) -> dict[str, Any]:
    """Mean difference of two representations over the labels, with its interval over these."""
    each = np.array([row[first] - row[second] for row in rows], np.float64)
    drawn = resampled_means(each[:, None], np.arange(len(each)))
    return _line(float(each.mean()), interval(drawn[:, 0], n_clusters=len(each)))


FIGURED = (
    Figured(
        "Fig. 6, D.3",
        "The arctan of L2 distances sets pairs of inactive profiles apart from those of an active "
        "with an inactive one, the cosine does not",
        "a picture",
        "similarity",
        "molphenix figures RUN",
        _pairs,
    ),
    Figured(
        "Fig. 7",
        "UMAP of molecule embeddings orders p-values",
        "a picture",
        "neighbourhood",
        "molphenix figures RUN",
        _ordered,
    ),
    Figured(
        "E.1, Fig. 8",
        "Activity is predicted from molecule embeddings",
        f"ROC-AUC ≈ {_AUROC:.2f}".replace("0.", "."),
        "activity",
        "molphenix figures RUN",
        _active,
    ),
    Figured(
        "T8, T9",
        "Neighbours in molecule embeddings predict 35 property tasks better than in the input "
        "fingerprints, the more so the higher the implied dose",
        "lost",
        "properties",
        "molphenix figures RUN --properties=FILE",
        _properties,
    ),
)
