import itertools

import numpy as np
import pytest
from scipy import stats

from molphenix_jax.phenomics import activity, activity_against_controls, replicate_consistency


def _cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_statistic_is_the_mean_cosine_over_pairs():
    rng = np.random.default_rng(0)
    perturbation = np.repeat(np.arange(5), [1, 2, 3, 4, 7])
    perturbation = rng.permutation(perturbation)
    x = rng.normal(size=(len(perturbation), 8)).astype(np.float32)
    result = replicate_consistency(x, perturbation, n_null=50, seed=0)
    assert np.isnan(result.statistic[0])
    assert result.n_replicates.tolist() == [1, 2, 3, 4, 7]
    for p in range(1, 4):  # perturbation 4 has more replicates than there are perturbations
        pairs = itertools.combinations(x[perturbation == p], 2)
        want = np.mean([_cosine(a, b) for a, b in pairs])
        np.testing.assert_allclose(result.statistic[p], want, rtol=1e-5)


@pytest.mark.parametrize("counts", [(2,), (4,), (2, 3, 6)])
def test_p_values_are_uniform_under_the_null(counts):
    rng = np.random.default_rng(1)
    perturbation = np.repeat(np.arange(1500), rng.choice(counts, 1500))
    x = rng.normal(size=(len(perturbation), 16)) + 0.5  # a common direction, as plates have one
    result = replicate_consistency(x, perturbation, n_null=2000, seed=2)
    for r in counts:  # also within each replicate count: that is what matching is for
        p = result.p_value[result.n_replicates == r]
        assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_values_of_shuffles_are_uniform():
    """The wells of a screen with effects, dealt out anew 200 times: none of them agree."""
    rng = np.random.default_rng(3)
    effect = np.repeat(rng.normal(size=(60, 8)), 3, axis=0)
    x = effect + rng.normal(size=effect.shape)
    dealt = (np.repeat(np.arange(60), 3)[rng.permutation(180)] for _ in range(200))
    found = [replicate_consistency(x, of, n_null=300, seed=i) for i, of in enumerate(dealt)]
    # One of each shuffle: those of one shuffle share its null, and so are not independent.
    assert stats.kstest([of.p_value[0] for of in found], "uniform").pvalue > 0.01
    every = np.concatenate([of.p_value for of in found])
    assert abs((every <= 0.05).mean() - 0.05) < 0.01
    own = replicate_consistency(x, np.repeat(np.arange(60), 3), n_null=300, seed=0)
    assert (own.p_value <= 0.05).mean() > 0.3, "undealt, they agree"


def test_strong_replicates_get_the_smallest_p_value():
    rng = np.random.default_rng(0)
    perturbation = np.repeat(np.arange(200), 4)
    x = rng.normal(size=(800, 32))
    x[perturbation < 20] += 3 * rng.normal(size=(20, 32))[perturbation[perturbation < 20]]
    result = replicate_consistency(x, perturbation, n_null=999, seed=0)
    assert (result.p_value[:20] <= 0.01).all()
    assert np.median(result.p_value[:20]) == 1 / 1000
    assert np.mean(result.p_value[20:] <= 0.01) < 0.05


def test_opposed_replicates_get_a_large_p_value():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 16))
    x[1] = -x[0]
    result = replicate_consistency(x, np.repeat(np.arange(50), 2), n_null=500, seed=0)
    assert result.p_value[0] == 1.0


def test_single_replicates_have_no_p_value():
    x = np.random.default_rng(0).normal(size=(20, 4))
    result = replicate_consistency(x, np.arange(20), n_null=100, seed=0)
    assert np.isnan(result.p_value).all()
    assert np.isnan(result.statistic).all()


def test_ids_without_wells_have_no_p_value():
    x = np.random.default_rng(0).normal(size=(6, 4))
    result = replicate_consistency(x, np.array([0, 0, 2, 2, 5, 5]), n_null=100, seed=0)
    np.testing.assert_array_equal(np.isnan(result.p_value), [0, 1, 0, 1, 1, 0])
    assert result.n_replicates.tolist() == [2, 0, 2, 0, 0, 2]


def test_one_perturbation_has_no_null():
    x = np.random.default_rng(0).normal(size=(6, 4))
    result = replicate_consistency(x, np.zeros(6, int), n_null=100, seed=0)
    assert np.isnan(result.p_value).all()
    assert "no null" in result.notes[0]
    empty = replicate_consistency(np.zeros((0, 4)), np.zeros(0, int), n_null=1, seed=0)
    assert len(empty.p_value) == 0


def test_many_replicates_are_tested_on_a_subset():
    rng = np.random.default_rng(0)
    perturbation = np.repeat(np.arange(60), [100, *[2] * 59])
    x = rng.normal(size=(len(perturbation), 8))
    x[perturbation == 0] += 3
    result = replicate_consistency(x, perturbation, n_null=200, seed=0)
    assert "1 perturbations have more than 32 replicates" in result.notes[0]
    full = x[:100] / np.linalg.norm(x[:100], axis=1, keepdims=True)
    everything = (np.sum(full @ full.T) - 100) / (100 * 99)
    assert result.statistic[0] != pytest.approx(everything, abs=1e-9)
    assert result.statistic[0] == pytest.approx(everything, abs=0.05)
    assert result.p_value[0] == 1 / 201


def test_fewer_perturbations_than_replicates():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 8))
    x[:10] += 4
    result = replicate_consistency(x, np.repeat(np.arange(3), 10), n_null=300, seed=0)
    assert "more than 3 replicates" in result.notes[0]
    assert result.p_value[0] < 0.05
    assert np.isfinite(result.p_value).all()


def test_seed_decides_and_row_order_of_features_does_not():
    rng = np.random.default_rng(0)
    perturbation = np.repeat(np.arange(100), 3)
    x = rng.normal(size=(300, 8))
    a, b, c = (replicate_consistency(x, perturbation, n_null=300, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.p_value, b.p_value)
    assert (a.p_value != c.p_value).any()
    turned = replicate_consistency(x[:, ::-1], perturbation, n_null=300, seed=0)
    np.testing.assert_allclose(turned.p_value, a.p_value, atol=2 / 301)


def test_chunks_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    perturbation = np.repeat(np.arange(90), [2, 3, 5] * 30)
    x = rng.normal(size=(300, 8)).astype(np.float32)
    whole = replicate_consistency(x, perturbation, n_null=100, seed=0)
    monkeypatch.setattr(activity, "_CHUNK_VALUES", 64)
    parts = replicate_consistency(x, perturbation, n_null=100, seed=0)
    # A sum in another order may pass one of the 100 of the null.
    np.testing.assert_allclose(whole.p_value, parts.p_value, atol=1.5 / 101)
    assert np.mean(whole.p_value == parts.p_value) > 0.9
    np.testing.assert_allclose(whole.statistic, parts.statistic, rtol=1e-6)


def test_groups_of_the_null_come_from_different_perturbations():
    rng = np.random.default_rng(0)
    for n, size in ((5, 5), (20, 3), (400, 4), (400, 8)):
        drawn = activity._distinct(n, 3000, size, rng)
        assert drawn.shape == (3000, size)
        assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
        freq = np.bincount(drawn.ravel(), minlength=n)
        assert stats.chisquare(freq).pvalue > 1e-4 or size == n


def test_ties_count_against_activity():
    x = np.tile(np.eye(1, 4), (20, 1))  # every cosine is exactly 1, in the null too
    result = replicate_consistency(x, np.repeat(np.arange(10), 2), n_null=50, seed=0)
    assert (result.p_value == 1).all()


def test_a_zero_embedding_agrees_with_nothing():
    x = np.zeros((6, 4))
    x[2:] = np.random.default_rng(0).normal(size=(4, 4))
    result = replicate_consistency(x, np.repeat(np.arange(3), 2), n_null=50, seed=0)
    assert result.statistic[0] == 0
    assert np.isfinite(result.p_value).all()


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="perturbation"):
        replicate_consistency(x, np.zeros(3, int), n_null=10, seed=0)
    with pytest.raises(ValueError, match="start at 0, got -1"):
        replicate_consistency(x, np.array([0, 0, 1, -1]), n_null=10, seed=0)
    with pytest.raises(ValueError, match="n_null"):
        replicate_consistency(x, np.zeros(4, int), n_null=0, seed=0)


def test_replicates_against_control_wells():
    """Perturbations without effect have uniform p-values, those with one have small ones."""
    rng = np.random.default_rng(0)
    controls = rng.normal(size=(400, 12))
    effect = np.zeros((300, 12))
    effect[200:, 0] = 3
    of_well = np.repeat(np.arange(300), 3)
    x = effect[of_well] + rng.normal(size=(900, 12))
    p_value = activity_against_controls(x, of_well, controls, n_null=1000, seed=0)
    assert (p_value[200:] <= 0.05).mean() > 0.8
    for level in (0.05, 0.2, 0.5):
        assert (p_value[:200] <= level).mean() == pytest.approx(level, abs=0.07)
    again = activity_against_controls(x, of_well, controls, n_null=1000, seed=0)
    np.testing.assert_array_equal(p_value, again)


def test_a_single_replicate_is_told_by_its_distance_from_the_controls():
    controls = np.random.default_rng(0).normal(size=(99, 5))
    x = np.stack([np.zeros(5), np.full(5, 9.0), controls[4]])
    p_value = activity_against_controls(x, np.arange(3), controls, n_null=100, seed=0)
    longer = (np.linalg.norm(controls, axis=1) >= np.linalg.norm(controls[4])).sum()
    np.testing.assert_allclose(p_value, [1.0, 0.01, (1 + longer) / 100])


def test_more_replicates_than_half_of_the_controls_are_tested_on_a_part():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)) + 4
    few = activity_against_controls(
        x, np.zeros(40, int), rng.normal(size=(6, 5)), n_null=99, seed=0
    )
    assert few.shape == (1,)
    assert few[0] <= 0.05
