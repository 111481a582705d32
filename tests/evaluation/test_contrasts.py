"""Simultaneous intervals: against the normal formula, and against what is true by construction."""

import numpy as np
import pytest

from molphenix_jax.evaluation.contrasts import Contrast, contrasts


def drawn(rng, *, effect=0.0, seeds=4, queries=400, sd_seed=0.0, methods=("a", "b")):
    """Values of methods that have some queries in common; a method has `effect` above the next."""
    shared = rng.standard_normal(queries)
    return {
        name: shared
        + effect * (len(methods) - place)
        + sd_seed * rng.standard_normal((seeds, 1))
        + rng.standard_normal((seeds, queries))
        for place, name in enumerate(methods)
    }


def test_one_difference_has_the_interval_of_the_normal_distribution():
    values = drawn(np.random.default_rng(0), effect=0.5)
    found = contrasts(values, np.arange(400), [("a", "b")], n_bootstrap=4000)[0]
    difference = values["a"] - values["b"]
    of_queries = difference.mean(axis=0).var(ddof=1) / 400
    of_seeds = difference.mean(axis=1).var(ddof=1) / 4
    assert found.difference == pytest.approx(difference.mean())
    low, high = found.interval
    # What belongs to a seed and a query together is counted with both, and once more.
    noise = difference.var(ddof=1) / (4 * 400)
    half = 1.96 * np.sqrt([of_queries, of_queries + of_seeds + noise])
    assert half[0] * 0.95 < (high - low) / 2 < half[1] * 1.1
    assert found.verdict(0.1) == "better"


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(1)
    narrow, wide = (
        contrasts(drawn(rng, sd_seed=sd), np.arange(400), [("a", "b")])[0] for sd in (0.0, 1.0)
    )
    length = [c.interval[1] - c.interval[0] for c in (narrow, wide)]
    assert length[1] > 5 * length[0]


def test_the_doses_of_a_molecule_are_one_observation():
    rng = np.random.default_rng(2)
    once = {name: np.repeat(v, 5, axis=1) for name, v in drawn(rng, queries=80, seeds=1).items()}
    apart = contrasts(once, np.arange(400), [("a", "b")])[0]
    together = contrasts(once, np.repeat(np.arange(80), 5), [("a", "b")])[0]
    ratio = np.diff(together.interval)[0] / np.diff(apart.interval)[0]
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)


def test_all_intervals_of_a_family_hold_together():
    rng, names = np.random.default_rng(3), tuple("abcdefgh")
    pairs = [(name, "a") for name in names[1:]]
    missed = {1: 0, len(pairs): 0}
    for _ in range(200):
        values = drawn(rng, seeds=1, queries=60, methods=names)
        for size in missed:
            found = contrasts(values, np.arange(60), pairs[:size], n_bootstrap=300)
            missed[size] += any(c.verdict(0.1) in ("better", "worse") for c in found)
    # 5% of 200, give or take three standard deviations and what a bootstrap of 60 lacks.
    assert all(count <= 24 for count in missed.values())


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.01, 0.2), "better"),
        ((-0.2, -0.01), "worse"),
        ((-0.019, 0.019), "equivalent"),
        ((-0.03, 0.01), "undecided"),
        (None, "undecided"),
    ],
)
def test_no_difference_is_said_only_within_the_margin(interval, verdict):
    assert Contrast("a", "b", 0.0, interval).verdict(0.02) == verdict


def test_there_is_no_interval_where_all_is_equal_or_molecules_are_few():
    same = {name: np.ones((3, 40)) for name in "ab"}
    assert contrasts(same, np.arange(40), [("a", "b")])[0].interval is None
    few = drawn(np.random.default_rng(4), queries=40)
    assert contrasts(few, np.arange(40) % 4, [("a", "b")])[0].interval is None
    assert contrasts(few, np.arange(40), []) == []
