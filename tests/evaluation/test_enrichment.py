"""Enrichment factors and curves, where they can be counted by hand."""

import numpy as np
import pytest

from molphenix_jax.evaluation.enrichment import Screened, macro, matched, ranked

SHARES = np.array([0.0, 0.05, 0.5, 1.0])


def screened(rank: dict[str, np.ndarray], hit: np.ndarray, *, folds: int = 2) -> Screened:
    n = len(hit)
    molecule = np.array([f"m{k // 2}" for k in range(n)])  # two doses of each
    fold = np.arange(n) * folds // n
    return Screened("kind", np.arange(n), molecule, fold, hit, rank)


def test_ranks_are_within_folds_and_ties_in_random_order():
    fold = np.array([0, 0, 0, 1, 1])
    rank = ranked(np.array([0.1, 0.9, 0.5, 2.0, 3.0]), fold)
    assert rank.tolist() == [3, 1, 2, 2, 1]
    tied = np.stack([ranked(np.zeros(200), np.zeros(200, int), seed=s) for s in range(50)])
    assert (np.sort(tied, axis=1) == np.arange(1, 201)).all()
    assert abs(tied[:, 0].mean() - 100) < 25


def test_factors_curves_and_wells_by_hand():
    """200 candidates in two folds of 10 hits each, which one method puts first and one last."""
    hit = np.tile(np.arange(100) % 10 == 0, 2)
    score = np.where(hit, 0.5, 0.0) + np.tile(np.arange(100), 2) / 1000
    score[:40][hit[:40]] = 2.0  # four of the first fold before all others
    fold = np.arange(200) // 100
    of = screened({"molphenix": ranked(score, fold), "worst": ranked(-score, fold)}, hit)
    # All hits of both folds are in the first tenth; of the first 5% all are hits.
    assert of.factor("molphenix", 5.0) == pytest.approx(0.5 / 0.05)
    assert of.factor("molphenix", 1.0) == pytest.approx(0.1 / 0.01)
    assert of.factor("worst", 5.0) == 0.0
    assert of.half("molphenix") == 0.05
    assert of.half("worst") == pytest.approx(0.95)
    assert of.curve("molphenix", SHARES).tolist() == [0.0, 0.5, 1.0, 1.0]


def test_a_random_ranking_has_a_factor_of_one_and_an_interval_around_it():
    rng = np.random.default_rng(0)
    n = 4000
    hit = rng.random(n) < 0.2
    fold = np.arange(n) * 2 // n
    rank = {
        "molphenix": ranked(hit + rng.normal(size=n), fold),
        "random": ranked(rng.random(n), fold),
    }
    rows = macro([screened(rank, hit)] * 2, model="molphenix", rivals=["random"], n_bootstrap=200)
    told = {(row["percent"], row["model"]): row for row in rows}
    chance, own = told[5.0, "random"], told[5.0, "molphenix"]
    assert chance["ci"][0] < 1.0 < chance["ci"][1]
    assert own["ci"][0] > 1.5
    assert chance["ratio"] == pytest.approx(own["factor"] / chance["factor"])
    assert chance["ratio_ci"][0] > 1.2
    assert "ratio" not in own


def test_decoys_have_the_cell_counts_of_hits():
    rng = np.random.default_rng(0)
    hit = np.arange(400) % 40 == 0
    cells = np.where(hit, 0.3, rng.random(400))
    cells[1] = np.nan
    fold = np.arange(400) // 200
    chosen = matched(hit, fold, cells)
    assert chosen[hit].all()
    assert not chosen[1]
    for f in (0, 1):
        others = cells[chosen & ~hit & (fold == f)]
        assert len(others) == 50
        assert abs(others.mean() - 0.3) < abs(cells[(fold == f) & ~hit & chosen[:]].mean() - 0.5)
        assert np.abs(others - 0.3).max() < 0.25
    assert not matched(np.ones(4, bool), np.zeros(4, int), np.ones(4)).any()
