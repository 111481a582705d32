"""Is activity told from the embedding of a molecule (paper App. E.1: ROC-AUC about .90)?

A logistic regression learns from z_m whether a perturbation is active (p ≤ .01). It is trained on
perturbations that the model has learned from, those that other folds held out, and asked for those
of its own fold, whose molecules the model never saw. With one fold there are no others: it is then
cross-validated among the held-out molecules. The same regression is given what the model was given,
its features and dose, and the dose alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from molphenix_jax.evaluation.properties import property_results
from molphenix_jax.figures.asked import Fold

EMBEDDING, FEATURES, DOSE = "z_m", "features and dose", "dose"
_STRENGTHS = (0.001, 0.03, 1.0)  # inverse regularisation, chosen among training molecules
_PARTS, _INNER_PARTS = 5, 3
_MOST_COLUMNS = 128  # of a regression: so many principal components of wider inputs
_LARGEST = 1e6  # of a descriptor; some explode for large molecules
_FEWEST = 5  # active and inactive molecules each, of the training


@dataclasses.dataclass(frozen=True)
class Activity:
    """Answers of each regression.

    Attributes:
        rows: metric, model, value, ci, n, n_positive.
        comparisons: metric, model, baseline, difference, ci, better.
        active: Which of the n perturbations are.
        score: Name of the regression → probability of each, [n].
        note: How it was trained.
    """

    rows: Sequence[Mapping[str, Any]]
    comparisons: Sequence[Mapping[str, Any]]
    active: Bool[np.ndarray, " n"]
    score: Mapping[str, Float[np.ndarray, " n"]]
    note: str


def activity(folds: Sequence[Fold], *, n_bootstrap: int = 1000, seed: int = 0) -> Activity | str:
    """Tells activity of the held-out perturbations of all folds; or why that cannot be.

    Intervals are over molecules.
    """
    answered, active, molecule = [], [], []
    for number, fold in enumerate(folds):
        others = [other for k, other in enumerate(folds) if k != number]
        found = _answers(fold, others, seed)
        if isinstance(found, str):
            return found
        answered.append(found)
        active.append(fold.active[fold.known])
        molecule.append(fold.skeleton[fold.known])
    label, groups = np.concatenate(active), np.concatenate(molecule)
    score = {name: np.concatenate([a[name] for a in answered]) for name in answered[0]}
    rows, comparisons = property_results(
        label.astype(np.float64),
        score,
        np.unique(groups, return_inverse=True)[1],
        loss="bce",
        model=EMBEDDING,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    note = (
        "Trained on the perturbations that other folds held out, asked for those of its own"
        if len(folds) > 1
        else f"One fold: cross-validated in {_PARTS} parts by molecule among what it held out"
    )
    return Activity(rows, comparisons, label, score, note)


def _answers(
    fold: Fold, others: Sequence[Fold], seed: int
) -> dict[str, Float[np.ndarray, " h"]] | str:
    """Probabilities of the fold's perturbations that have a p-value, by each regression."""
    from sklearn.model_selection import GroupKFold

    asked = _inputs(fold, fold)
    if not others:
        label, group = _labels(fold)
        if too_few := _too_few(label, group):
            return too_few
        parts = GroupKFold(_PARTS, shuffle=True, random_state=seed)
        score = {name: np.zeros(len(label)) for name in asked}
        for train, test in parts.split(label, groups=group):
            if label[train].all() or not label[train].any():
                return "a part has only active or only inactive perturbations"
            for name, x in asked.items():
                fitted = _fitted(x[train], label[train], group[train], seed)
                score[name][test] = fitted.predict_proba(x[test])[:, 1]
        return score
    label, group = map(np.concatenate, zip(*map(_labels, others), strict=True))
    if too_few := _too_few(label, group):
        return too_few
    parts = [_inputs(fold, other) for other in others]
    train = {name: np.concatenate([part[name] for part in parts]) for name in asked}
    return {
        name: _fitted(train[name], label, group, seed).predict_proba(x)[:, 1]
        for name, x in asked.items()
    }


def _labels(fold: Fold) -> tuple[Bool[np.ndarray, " h"], Shaped[np.ndarray, " h"]]:
    """Whether each perturbation with a p-value is active, and its molecule."""
    return fold.active[fold.known], fold.skeleton[fold.known]


def _too_few(label: Bool[np.ndarray, " n"], group: Shaped[np.ndarray, " n"]) -> str:
    n_active, n_others = (len(np.unique(group[label == kind])) for kind in (True, False))
    if min(n_active, n_others) >= _FEWEST:
        return ""
    return (
        f"{n_active} molecules with an active perturbation and {n_others} with another one; "
        f"telling them apart needs {_FEWEST} of each"
    )


def _inputs(fold: Fold, other: Fold) -> dict[str, Float[np.ndarray, "n k"]]:
    """What each regression is given of another fold's perturbations with a p-value, or its own.

    A model of graphs alone has no features.
    """
    held, keep = other.held, other.known
    found, at = fold.molecules.of(held.smiles)
    told = fold.conditions.encoded(fold.conditions)[held.condition]
    dose = np.concatenate([np.log10(held.concentration_um)[:, None], told], axis=1)
    given = {EMBEDDING: fold.embed(other)[keep].astype(np.float64)}
    if found.blocks:
        features = np.concatenate([x.astype(np.float64) for x in found.blocks.values()], axis=1)
        features = np.clip(features, -_LARGEST, _LARGEST)[at]
        given[FEATURES] = np.concatenate([features, dose], axis=1)[keep]
    return given | {DOSE: dose[keep]}


def _fitted(
    x: Float[np.ndarray, "n k"],
    label: Bool[np.ndarray, " n"],
    group: Shaped[np.ndarray, " n"],
    seed: int,
) -> Any:
    """A logistic regression whose strength is chosen by molecules among its training."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = GroupKFold(_INNER_PARTS, shuffle=True, random_state=seed)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": list(_STRENGTHS)},
        # By the likelihood: a part without an active one has no AUROC, but it has that.
        scoring=_log_likelihood,
        cv=list(parts.split(x, label, groups=group)),
    )
    steps: list[Any] = [StandardScaler(), search]
    if min(x.shape) // 2 > _MOST_COLUMNS:
        steps.insert(1, PCA(_MOST_COLUMNS, random_state=seed))
    return make_pipeline(*steps).fit(x, label)


def _log_likelihood(model: Any, x: np.ndarray, label: np.ndarray) -> float:
    p = np.clip(model.predict_proba(x)[:, 1], 1e-6, 1 - 1e-6)
    return float(np.where(label, np.log(p), np.log1p(-p)).mean())
