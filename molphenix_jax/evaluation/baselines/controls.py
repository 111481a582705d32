"""Controls: what could be found without knowing any chemistry.

Each row answers one doubt about the recall of a model. They are ranked as the baselines are, over
the same queries and candidates:

- ``dose_only``: the mean training profile at the dose (and condition) of a candidate. Strong
  effects come at high doses, so a model may live on that.
- ``cell_count``: how many cells a candidate leaves, by a ridge from structure and dose, against how
  many were counted. Toxicity without mechanism (Seal et al., Nat Commun 2026).
- ``magnitude``: how long a candidate's profile is, by the same ridge, against how long it is.
- ``source_only``: whether a candidate was measured in the sources (campaign, batch) of the query.
  No model is told that; it says how much recognising a campaign by its chemistry could give.

What cannot tell candidates apart has its ties broken at random: counted against it, as of models,
they would leave less than chance.
"""

import itertools

import numpy as np
from jaxtyping import Float

from molphenix_jax.evaluation import ranks
from molphenix_jax.evaluation.baselines.data import BaselineData, LeftOut, Observed, Prediction
from molphenix_jax.evaluation.baselines.structure import (
    DOSE_WIDTHS,
    OTHER_CONDITION,
    RIDGE_ALPHAS,
    by_fingerprint,
    choose,
    differing_in,
    validation_rows,
)

# Fewer known counts than this share say more about the gaps than about the cells.
_LEAST_KNOWN = 0.5


def dose_only(data: BaselineData) -> Prediction:
    """Mean training profile around the dose of a candidate, under its condition.

    The weight of a training perturbation is exp(-Δ²/2w²) · b**e, as of ``knn`` without structure;
    w, b and the space are chosen on validation.

    Raises:
        LeftOut: every candidate has the same dose and condition.
    """
    chosen = validation_rows(data)
    test = _distinct(data.test_log_dose, data.test_condition)
    if len(test[0]) < 2:
        raise LeftOut("every candidate has the same dose")
    asked = _distinct(data.validation_log_dose[chosen], data.validation_condition[chosen])
    several = data.train_condition.shape[1] > 0
    tried = itertools.product(DOSE_WIDTHS, OTHER_CONDITION if several else (1.0,))
    attempts = (
        ({"dose_width_log10": width, "other_condition": other}, _around(data, asked, width, other))
        for width, other in tried
    )
    settings, space = choose(attempts, data, chosen)
    width, other = settings["dose_width_log10"], settings["other_condition"]
    return Prediction(_around(data, test, width, other), space, settings, ties="random")


def cell_count(data: BaselineData) -> Prediction:
    """Number of cells of a candidate, by ridge from structure and dose.

    A perturbation without a count stands at the mean of training.

    Raises:
        LeftOut: no counts, or for less than half of the perturbations.
    """
    train, validation = data.train_cell_count, data.validation_cell_count
    if train is None or validation is None:
        raise LeftOut("the screen has no number of cells of its wells")
    known = min(float(np.isfinite(values).mean()) for values in (train, validation))
    if known < _LEAST_KNOWN:
        raise LeftOut(f"{100 * known:.0f}% of the perturbations have a number of cells")
    mean = float(np.nanmean(train))

    def filled(values):
        return np.where(np.isfinite(values), values, mean)[:, None]

    def looked_for(observed: Observed):
        return None if observed.cell_count is None else filled(observed.cell_count)

    profile, settings = _scalar(data, filled(train), filled(validation))
    return Prediction(profile, settings=settings, looked_for=looked_for)


def magnitude(data: BaselineData) -> Prediction:
    """Log of the length of a candidate's profile, by ridge from structure and dose."""
    train, validation = _log_length(data.train_profile), _log_length(data.validation_profile)
    profile, settings = _scalar(data, train, validation)
    return Prediction(
        profile, settings=settings, looked_for=lambda observed: _log_length(observed.profile)
    )


def source_only(data: BaselineData) -> Prediction:
    """In which sources the wells of a candidate lie.

    Raises:
        LeftOut: one source, or none that is known.
    """
    if data.test_source is None:
        raise LeftOut("no column tells several sources or batches")
    width = data.test_source.shape[1]

    def looked_for(observed: Observed):
        if observed.source is None:
            return None
        return np.pad(observed.source, ((0, 0), (0, width - observed.source.shape[1])))

    return Prediction(data.test_source, looked_for=looked_for, ties="random")


# In the order of tables.
CONTROLS = (dose_only, cell_count, magnitude, source_only)


def _distinct(
    log_dose: Float[np.ndarray, "q"], condition: Float[np.ndarray, "q c"]
) -> tuple[Float[np.ndarray, "u e"], np.ndarray]:
    """The distinct doses and conditions, and which of them each row has."""
    told = np.concatenate([log_dose[:, None], condition], axis=1)
    rows, where = np.unique(told, axis=0, return_inverse=True)
    return rows, where.reshape(-1)


def _around(
    data: BaselineData, asked: tuple[np.ndarray, np.ndarray], width: float, other: float
) -> Float[np.ndarray, "q d"]:
    told, where = asked
    exponent = 0.5 * np.square((told[:, :1] - data.train_log_dose[None]) / width)
    weight = np.exp(exponent.min(axis=1, keepdims=True) - exponent)
    weight = weight * other ** differing_in(told[:, 1:], data.train_condition)
    total = weight.sum(axis=1, keepdims=True)
    # A condition that training lacks, where others weigh nothing: the plain mean.
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 1 / weight.shape[1])
    return (weight @ np.asarray(data.train_profile, np.float64))[where]


def _scalar(
    data: BaselineData, train: Float[np.ndarray, "n 1"], validation: Float[np.ndarray, "v 1"]
) -> tuple[Float[np.ndarray, "m 1"], dict[str, float | str]]:
    """A number for each candidate, by the penalty with the lowest mean log rank of validation."""
    predict, chosen = by_fingerprint(data).fit(train), validation_rows(data)
    own, scored = np.arange(len(chosen)), []
    for alpha in RIDGE_ALPHAS:
        found = ranks.rank_of_positive(
            validation[chosen], predict("validation", alpha, chosen), own, metric="euclidean"
        )
        scored.append((float(np.log(found.pessimistic).mean()), alpha))
    score, alpha = min(scored)
    return predict("test", alpha), {"alpha": alpha, "validation_mean_log_rank": score}


def _log_length(profile: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 1"]:
    length = np.linalg.norm(np.asarray(profile, np.float64), axis=1, keepdims=True)
    return np.log(np.maximum(length, 1e-12))
