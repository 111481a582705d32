"""The interval covers, repeats, and widens where the doses of a molecule say the same thing."""

import numpy as np
import pytest

from molphenix_jax.evaluation import bootstrap


def ends(values, cluster, **kwargs):
    samples = bootstrap.resampled_means(values, cluster, **kwargs)
    return bootstrap.interval(samples[:, 0], n_clusters=len(np.unique(cluster)))


def width(values, cluster, **kwargs):
    low, high = ends(values, cluster, **kwargs)
    return high - low


def test_matches_resampling_by_hand():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(12), rng.integers(1, 5, size=12))
    values = rng.normal(size=(len(cluster), 2))
    found = bootstrap.resampled_means(values, cluster, n_bootstrap=4000, seed=1)
    by_hand = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(cluster == c) for c in rng.integers(12, size=12)])
        by_hand.append(values[rows].mean(axis=0))
    by_hand = np.array(by_hand)
    np.testing.assert_allclose(found.mean(axis=0), by_hand.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(found.std(axis=0), by_hand.std(axis=0), rtol=0.08)


def test_a_seed_gives_the_same_draws_whatever_stands_beside():
    rng = np.random.default_rng(1)
    values, cluster = rng.normal(size=(50, 3)), np.arange(50) // 2
    first = bootstrap.resampled_means(values, cluster, seed=3)
    np.testing.assert_array_equal(first, bootstrap.resampled_means(values, cluster, seed=3))
    alone = bootstrap.resampled_means(values[:, 1:2], cluster, seed=3)
    np.testing.assert_allclose(first[:, 1:2], alone)
    assert not np.array_equal(first, bootstrap.resampled_means(values, cluster, seed=4))


def test_copies_of_a_dose_add_no_certainty():
    hit = (np.random.default_rng(2).random((200, 1)) < 0.3).astype(float)
    copies = np.repeat(hit, 8, axis=0)
    clustered = width(copies, np.repeat(np.arange(200), 8))
    naive = width(copies, np.arange(1600))
    once = width(hit, np.arange(200))
    assert clustered == pytest.approx(once)
    assert clustered > 2 * naive  # sqrt(8) in theory


def test_the_interval_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        rate = rng.beta(3, 7, size=80)  # molecules differ: mean 0.3
        hit = (rng.random((80, 4)) < rate[:, None]).astype(float)
        low, high = ends(
            hit.reshape(-1, 1), np.repeat(np.arange(80), 4), n_bootstrap=400, seed=trial
        )
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize("n_clusters", [1, 2, 4])
def test_a_handful_of_molecules_has_no_interval(n_clusters):
    values = np.random.default_rng(5).random((40, 1))
    assert ends(values, np.arange(40) % n_clusters) is None
    assert ends(values, np.arange(40) % 5) is not None


@pytest.mark.parametrize("value", [0.0, 1.0, -0.014, 1 / 3])
def test_molecules_that_all_say_the_same_have_no_interval(value):
    assert ends(np.full((300, 1), value), np.arange(300)) is None


@pytest.mark.parametrize("n_bootstrap", [1, 19])
def test_a_handful_of_resamples_has_no_interval(n_bootstrap):
    values = np.random.default_rng(5).random((40, 1))
    assert ends(values, np.arange(40), n_bootstrap=n_bootstrap) is None


def test_resamples_without_a_value_are_left_out():
    samples = np.append(np.arange(101.0), [np.nan, np.inf])
    assert bootstrap.interval(samples, n_clusters=9) == pytest.approx([2.5, 97.5])
    assert bootstrap.interval(np.full(50, np.nan), n_clusters=9) is None


def test_resamples_are_counted_many_at_a_time_and_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(4).random((1000, 6))
    whole = bootstrap.resampled_means(values, np.arange(1000), n_bootstrap=1000)
    assert whole.shape == (1000, 6)
    counts, bincount = [], np.bincount

    def counted(*args, **kwargs):
        counts.append(len(args[0]))
        return bincount(*args, **kwargs)

    monkeypatch.setattr(np, "bincount", counted)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 300_500)
    parts = bootstrap.resampled_means(values, np.arange(1000), n_bootstrap=1000)
    assert counts == [300_000] * 3 + [100_000]
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_nothing_to_resample_is_an_error():
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap.resampled_means(np.zeros((0, 1)), np.zeros(0))
