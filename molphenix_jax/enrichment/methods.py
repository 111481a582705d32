"""How each method ranks the held-out perturbations of a fold for a kind of hit.

All know the hits among the molecules that the fold has not held out, and of the candidates
structure and dose alone:

- ``molphenix``: similarity of a candidate's molecule embedding to a query, of which there are
  three (`QUERIES`); the validation molecules of all folds choose one.
- ``knn``, ``ridge``, ``physchem`` and, where the model is told embeddings of molecules,
  ``embedded``: the baselines of the evaluation; cosine of the profile that they predict to the same
  mean profile, in the space that they chose.
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
from molphenix_jax.evaluation.enrichment import ranked
from molphenix_jax.molecules import tanimoto
from molphenix_jax.tasks.align.evaluation import BaselineInputs, predictions_of_unseen
from molphenix_jax.tasks.align.training.run import AlignRun

MODEL = "molphenix"
# What stands for the known hits: their mean profile, embedded; the mean of their embeddings; that
# less the mean embedding of everything known, so that what all share counts for nothing.
QUERIES = ("mean profile", "mean embedding", "mean embedding less that of all")
_PROFILES = ("knn", "ridge", "physchem", "embedded")
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
        Columns kind, perturbation (of the screen), and one for each method, of the model one for
        each of `QUERIES`. Kinds without a known hit are missing, and what there is no number of
        cells for.
    """
    screen, test = run.screen, run.split.test
    known = np.sort(np.concatenate([run.split.train, run.split.validation]))
    similar = _Similar(run, params, known, test)
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
        columns = similar.to(is_hit)
        for method in _PROFILES:
            if method not in predictions:
                continue
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


def log_places(run: AlignRun, params: Any, hits: Hits) -> dict[str, list[Float[np.ndarray, " h"]]]:
    """For each of `QUERIES` the log places of the validation hits of each kind of one fold.

    Hits of training molecules alone stand for a kind.
    """
    train, validation = run.split.train, run.split.validation
    similar = _Similar(run, params, train, validation)
    found: dict[str, list] = {query: [] for query in QUERIES}
    for k in range(len(hits.names)):
        is_hit, told = hits.hit[validation, k], hits.known[validation, k]
        if is_hit.any() and hits.hit[train, k].any():
            for query, score in similar.to(hits.hit[train, k]).items():
                rank = ranked(score[told], np.zeros(int(told.sum()), int))
                found[query].append(np.log(rank[is_hit[told]] / told.sum()))
    return found


class _Similar:
    """Embeddings of known and of asked perturbations."""

    def __init__(
        self,
        run: AlignRun,
        params: Any,
        known: Int[np.ndarray, " n"],
        asked: Int[np.ndarray, " m"],
    ):
        self._run, self._params, self._known = run, params, known
        self._profile = run.screen.profiles(known)
        self._z_x = run.embed_queries(params, self._profile, ids=known, wells=None)
        self._z_m = run.embed_perturbations(params, run.screen, asked)

    def to(self, hit: Bool[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, " m"]]:
        """Scores of the asked ones by each of `QUERIES`, for some of the known ones."""
        profile = self._profile[hit].mean(axis=0, keepdims=True)
        ids = self._known[:1]
        whole = self._run.embed_queries(self._params, profile, ids=ids, wells=None)[0]
        mean = self._z_x[hit].mean(axis=0)
        queries = (whole, mean, mean - self._z_x.mean(axis=0))
        return {name: self._z_m @ query for name, query in zip(QUERIES, queries, strict=True)}


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
