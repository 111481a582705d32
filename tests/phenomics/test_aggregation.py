import numpy as np
import pytest

from molphenix_jax.phenomics import aggregate, aggregation


def test_profiles_are_means_over_replicates(monkeypatch):
    rng = np.random.default_rng(0)
    perturbation = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 9, 40)))
    x = rng.normal(size=(len(perturbation), 5)).astype(np.float32)
    want = np.stack([x[perturbation == p].astype(np.float64).mean(axis=0) for p in range(40)])
    got = aggregate(x, perturbation, 40)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(aggregation, "_CHUNK_VALUES", 30)
    np.testing.assert_array_equal(aggregate(x, perturbation, 40), got)


def test_sums_are_held_in_float64():
    x = np.array([[2.0**25], [1.0], [-(2.0**25)]], np.float32)  # float32 loses the 1
    np.testing.assert_allclose(aggregate(x, np.zeros(3, int), 1), 1 / 3, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_bad_ids_are_named():
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="perturbation 1 has no well"):
        aggregate(x, np.array([0, 2, 2]), 3)
    with pytest.raises(ValueError, match=r"0\.\.1, got 0\.\.2"):
        aggregate(x, np.array([0, 2, 2]), 2)
    with pytest.raises(ValueError, match="expected x"):
        aggregate(x, np.array([0, 1]), 2)
