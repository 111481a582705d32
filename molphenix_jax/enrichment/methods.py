"""How each method ranks the held-out perturbations of a fold for a kind of hit.

All know the hits among the molecules that the fold has not held out, and of the candidates
structure and dose alone:

- ``molphenix``: cosine of a candidate's molecule embedding to the embedded mean profile of the
  known hits.
- ``knn``, ``ridge``, ``physchem``: the baselines of the evaluation; cosine of the profile that they
  predict to the same mean profile, in the space that they chose.
- ``neighbours``: Tanimoto similarity to the nearest known hit, the dose nearest to its where that
  is equal.
- ``trees``: gradient boosted trees from a feature block and dose to the value of the kind itself.
- ``activity``: the same trees for a hit of any kind: what acts at all.
- ``dose``: share of known perturbations at a dose that are hits.
- ``cells``: how near the number of cells, predicted from structure, is to the mean of known hits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.enrichment.hits import Hits
from molphenix_jax.molecules import tanimoto
from molphenix_jax.tasks.align.evaluation import BaselineInputs, predictions_of_unseen
from molphenix_jax.tasks.align.training.run import AlignRun

MODEL = "molphenix"
_PROFILES = ("knn", "ridge", "physchem")
RIVALS = (*_PROFILES, "neighbours", "trees", "activity", "dose", "cells")
# Of trees: small ones, for kinds with a few dozen hits.
_TREES = {
    "max_iter": 100,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 5,
    "l2_regularization": 1.0,
    "max_bins": 63,
}
_DOSE_WIDTH_LOG10 = 0.15


def scores(
    run: AlignRun, params: Any, hits: Hits, features: BaselineInputs, *, trees: str
) -> pd.DataFrame:
    """Scores of the unseen molecules' perturbations of one fold, the best highest.

    Args:
        run: The fold.
        params: Its trained parameters [members, …].
        hits: Of its screen.
        features: What baselines know of molecules; kept from fold to fold.
        trees: Feature block that the trees take.

    Returns:
        Columns kind, perturbation (of the screen), and one for each method. Kinds without a known
        hit are missing, and what there is no number of cells for.
    """
    screen, test = run.screen, run.split.test
    known = np.sort(np.concatenate([run.split.train, run.split.validation]))
    z_m = run.embed_perturbations(params, screen, test)
    predictions = predictions_of_unseen(run, features, (*_PROFILES, "cell_count"))
    design = _Design(run, known, test, features, trees)
    cells = features.confounders(screen).mean_cells(known)
    any_hit = design.boosted(hits.hit[known].any(axis=1).astype(float))
    found = []
    for k, name in enumerate(hits.names):
        is_hit, told = hits.hit[known, k], hits.known[known, k]
        if not is_hit.any():
            continue
        profile = screen.profiles(known[is_hit]).mean(axis=0, keepdims=True)
        z_x = run.embed_queries(params, profile, ids=known[:1], wells=None)
        columns = {MODEL: z_m @ z_x[0]}
        for method in _PROFILES:
            of = predictions[method]
            columns[method] = _cosine(of.space.of(of.profile), of.space.of(profile)[0])
        columns["neighbours"] = design.nearest(is_hit)
        columns["trees"] = design.boosted(np.where(told, hits.value[known, k], np.nan))
        columns["activity"] = any_hit
        columns["dose"] = design.share(is_hit, told)
        if "cell_count" in predictions and cells is not None:
            wanted = np.nanmean(cells[is_hit]) if np.isfinite(cells[is_hit]).any() else np.nan
            columns["cells"] = -np.abs(predictions["cell_count"].profile[:, 0] - wanted)
        found.append(pd.DataFrame({"kind": name, "perturbation": test, **columns}))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


class _Design:
    """Structure and dose of known and held-out perturbations."""

    def __init__(
        self,
        run: AlignRun,
        known: Int[np.ndarray, " n"],
        test: Int[np.ndarray, " m"],
        features: BaselineInputs,
        block: str,
    ):
        screen = run.screen
        self._bits, _, self._dose = features.inputs(screen, known)
        self._test_bits, _, self._test_dose = features.inputs(screen, test)
        self._train, self._test = (
            np.column_stack(
                [
                    features.rows(screen, block, screen.molecule[ids]).astype(np.float32),
                    np.log10(screen.concentration_um[ids]),
                    run.condition_input(screen, ids),
                ]
            )
            for ids in (known, test)
        )

    def boosted(self, value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """What trees say of the held-out ones, trained on the values that are known."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        told = np.isfinite(value)
        trees = HistGradientBoostingRegressor(**_TREES, random_state=0)
        return trees.fit(self._train[told], value[told]).predict(self._test)

    def nearest(self, hit: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """Similarity to the nearest hit; a gap of doses parts what is equal, and no more."""
        gap = np.abs(self._test_dose[:, None] - self._dose[hit][None])
        score = tanimoto(self._test_bits, self._bits[hit]) - 1e-4 * np.minimum(gap, 9.0)
        return score.max(axis=1)

    def share(
        self, hit: Bool[np.ndarray, " n"], told: Bool[np.ndarray, " n"]
    ) -> Float[np.ndarray, " m"]:
        """Share of hits among known ones around a dose."""
        gap = self._test_dose[:, None] - self._dose[told][None]
        weight = np.exp(-0.5 * np.square(gap / _DOSE_WIDTH_LOG10))
        return (weight @ hit[told]) / (1.0 + weight.sum(axis=1))


def _cosine(
    rows: Float[np.ndarray, "m d"], wanted: Float[np.ndarray, " d"]
) -> Float[np.ndarray, " m"]:
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    return rows @ wanted / np.where(length > 0, length, 1.0)


def methods_of(table: pd.DataFrame, rivals: Sequence[str] = RIVALS) -> list[str]:
    """The methods that a table of scores has, the model first."""
    return [name for name in (MODEL, *rivals) if name in table.columns]
