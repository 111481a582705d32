"""Which similarity of profiles tells active pairs from inactive ones (paper Fig. 6, App. D.3)?

Four kinds of pairs of held-out profiles: any two; both inactive (p ≥ .9); both active (p ≤ .01);
one of each. By the cosine the paper finds pairs of inactive profiles almost as similar as those of
an inactive with an active one; by the arctan of the L2 distance far more similar, for the length of
a profile carries its activity. Both are shown as they are, and with the noise of the replicates
subtracted: a mean of r wells is off by σ²/r in squared length, σ² being that of control wells.
Intervals are over molecules: a pair counts as often as the product of its two molecules' draws.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from molphenix_jax.evaluation.bootstrap import interval
from molphenix_jax.figures.asked import Fold
from molphenix_jax.losses.similarity import arctan_on_host

GROUPS = ("any two", "both inactive", "both active", "active and inactive")
MEASURES = ("cosine", "arctan L2", "cosine, noise subtracted", "arctan L2, noise subtracted")
_PAIRS = 20_000  # of each kind, at most
_FEWEST = 30
_FEWEST_CONTROLS = 20
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Similarities of pairs.

    Attributes:
        values: Measure → kind of pair → similarity of each pair; arctan L2 is 1 - (4/π)
            arctan(d²/c), c the median d² of any two.
        apart: Measure → largest difference of the distribution functions of pairs that are both
            inactive and of those that are one of each (Kolmogorov and Smirnov's distance).
        comparisons: measure, baseline (the cosine that it stands beside), difference of `apart`
            and ci. A largest difference grows under resampling where there is next to none, so the
            interval lies low where the cosine tells nothing: on the careful side.
        notes: What could not be had.
    """

    values: Mapping[str, Mapping[str, Float[np.ndarray, " p"]]]
    apart: Mapping[str, float]
    comparisons: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...]


def similarities(folds: Sequence[Fold], *, seed: int = 0) -> Similarities | str:
    """Similarities of pairs of perturbations of one fold and condition; or why there are none."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[np.ndarray]]] = {
        measure: {group: [] for group in GROUPS} for measure in MEASURES
    }
    molecules: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
    noise = _noise(folds)
    share = 1.0 / max(1, sum(len(np.unique(f.held.condition)) for f in folds))
    for fold in folds:
        for c in np.unique(fold.held.condition):
            rows = np.flatnonzero(fold.held.condition == c)
            for group, (i, j) in _pairs(fold, rows, int(_PAIRS * share) + 1, rng).items():
                molecules[group].append(np.stack([fold.skeleton[i], fold.skeleton[j]]))
                for measure, value in _measured(fold, i, j, noise).items():
                    found[measure][group].append(value)
    values = {
        measure: {g: np.concatenate(parts) for g, parts in of.items() if parts}
        for measure, of in found.items()
    }
    counts = {g: len(values["cosine"].get(g, ())) for g in GROUPS}
    if few := [f"{n} pairs ({g})" for g, n in counts.items() if n < _FEWEST]:
        return f"{', '.join(few)} among the held-out perturbations, {_FEWEST} are needed of each"
    notes = ()
    if noise is None:
        values = {measure: values[measure] for measure in MEASURES[:2]}
        notes = (
            f"the run keeps fewer than {_FEWEST_CONTROLS} profiles of control wells, so that the "
            "noise is not known",
        )
    values = {m: _in_units(m, of) for m, of in values.items()}
    one, other = (np.concatenate(molecules[g], axis=1) for g in GROUPS[1::2])
    drawn = _apart(
        {m: (of["both inactive"], of["active and inactive"]) for m, of in values.items()},
        (one, other),
        rng,
    )
    n_molecules = len(np.unique(np.concatenate([one, other], axis=None)))
    comparisons = [
        {
            "measure": measure,
            "baseline": cosine,
            "difference": float(drawn[measure][0] - drawn[cosine][0]),
            "ci": interval(drawn[measure][1:] - drawn[cosine][1:], n_clusters=n_molecules),
        }
        for cosine, measure in zip(MEASURES[::2], MEASURES[1::2], strict=True)
        if measure in values
    ]
    apart = {measure: float(of[0]) for measure, of in drawn.items()}
    return Similarities(values, apart, comparisons, notes)


def _apart(
    values: Mapping[str, tuple[Float[np.ndarray, " p"], Float[np.ndarray, " q"]]],
    molecules: tuple[Shaped[np.ndarray, "2 p"], Shaped[np.ndarray, "2 q"]],
    rng: np.random.Generator,
) -> dict[str, Float[np.ndarray, " b"]]:
    """Distance of two distributions under each measure: of the pairs, then of resamples of them.

    Args:
        values: Measure → similarities of the pairs of two kinds.
        molecules: The two molecules of each pair, for both kinds.
        rng: Of the resamples.
    """
    names, code = np.unique(np.concatenate(molecules, axis=1), return_inverse=True)
    code, n = code.reshape(2, -1), molecules[0].shape[1]
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    found: dict[str, list[float]] = {measure: [] for measure in values}
    order = {m: np.argsort(np.concatenate(of), kind="stable") for m, of in values.items()}
    # Where values are equal the functions are compared behind the last of them.
    last = {
        m: np.append(np.diff(np.concatenate(of)[order[m]]) > 0, True) for m, of in values.items()
    }
    for drawn in (np.ones(len(names), np.int64), *times):
        weight = (drawn[code[0]] * drawn[code[1]]).astype(np.float64)
        signed = np.concatenate(
            [weight[:n] / max(weight[:n].sum(), 1.0), -weight[n:] / max(weight[n:].sum(), 1.0)]
        )
        for measure in values:
            between = np.abs(np.cumsum(signed[order[measure]]))[last[measure]]
            found[measure].append(float(between.max()))
    return {measure: np.array(of) for measure, of in found.items()}


def _noise(folds: Sequence[Fold]) -> float | None:
    """Squared length of the noise of one well, from control wells less their group's mean."""
    null = folds[0].model.null
    groups = np.unique(null.group, return_inverse=True)[1]
    sizes = np.bincount(groups, minlength=1)
    several = sizes[groups] > 1
    if several.sum() < _FEWEST_CONTROLS:
        return None
    means = np.zeros((len(sizes), null.profile.shape[1]))
    np.add.at(means, groups, null.profile)
    means /= np.maximum(sizes, 1)[:, None]
    left = (null.profile - means[groups])[several]
    unbiased = (sizes / np.maximum(sizes - 1, 1))[groups[several]]
    return float((np.square(left).sum(axis=1) * unbiased).mean())


def _pairs(
    fold: Fold, rows: Int[np.ndarray, " h"], n: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """At most n pairs of each kind, of different molecules."""
    active, inactive = rows[fold.active[rows]], rows[fold.inactive[rows]]
    kinds = {
        "any two": (rows, rows),
        "both inactive": (inactive, inactive),
        "both active": (active, active),
        "active and inactive": (active, inactive),
    }
    found = {}
    for group, (left, right) in kinds.items():
        if not (len(left) and len(right)):
            continue
        every = len(left) * len(right)
        drawn = np.arange(every) if every <= n else rng.choice(every, n, replace=False)
        i, j = left[drawn // len(right)], right[drawn % len(right)]
        other = fold.skeleton[i] != fold.skeleton[j]
        found[group] = (i[other], j[other])
    return found


def _measured(
    fold: Fold, i: np.ndarray, j: np.ndarray, noise: float | None
) -> dict[str, Float[np.ndarray, " p"]]:
    """Cosines, and squared distances in place of arctan L2, which needs their median."""
    p = fold.held.profile.astype(np.float64)
    inner = np.einsum("pd,pd->p", p[i], p[j])
    square = np.square(p).sum(axis=1)
    distance = square[i] + square[j] - 2 * inner
    found = {
        "cosine": inner / np.sqrt(np.maximum(square[i] * square[j], 1e-12)),
        "arctan L2": distance,
    }
    less = (noise or 0.0) / np.maximum(fold.held.replicates, 1)
    true = np.maximum(square - less, 0.0)
    length = np.sqrt(true[i] * true[j])
    cosine = np.where(length > 0, inner / np.where(length > 0, length, 1.0), 0.0)
    found["cosine, noise subtracted"] = np.clip(cosine, -1.0, 1.0)
    found["arctan L2, noise subtracted"] = distance - less[i] - less[j]
    return found


def _in_units(
    measure: str, of: Mapping[str, Float[np.ndarray, " p"]]
) -> dict[str, Float[np.ndarray, " p"]]:
    if not measure.startswith("arctan"):
        return dict(of)
    c = max(float(np.median(of["any two"])), 1e-12)
    return {g: arctan_on_host(np.maximum(d, 0.0) / c) for g, d in of.items()}
