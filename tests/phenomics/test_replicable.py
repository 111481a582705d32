import numpy as np
import pytest

from molphenix_jax.phenomics.replicable import ReplicableError, replicable_axes


def screen(n=400, wells=3, d=12, effects=(6.0, 3.0, 1.0), noise=1.0, seed=0):
    """Effects along the first axes of a random basis, noise along all, of unequal size."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    effect = np.zeros((n, d))
    effect[:, : len(effects)] = rng.normal(size=(n, len(effects))) * effects
    scale = np.exp(0.5 * rng.normal(size=d))
    group = np.repeat(np.arange(n), wells)
    x = effect[group] @ basis.T + noise * rng.normal(size=(n * wells, d)) * scale
    return x, group, basis


def test_coordinates_are_those_of_effects_in_units_of_the_noise():
    x, group, _ = screen(n=4_000)
    axes, correlation = replicable_axes(x, group, correlation=0.3)
    assert 2 <= axes.shape[1] <= 3
    assert (np.diff(correlation) <= 0).all()
    y = x @ axes
    first, second = y[::3], y[1::3]
    # Two wells of a perturbation correlate by what is said, as counted without the formula.
    said = [
        2 * np.mean(a * b) / np.mean(a * a + b * b) for a, b in zip(first.T, second.T, strict=True)
    ]
    np.testing.assert_allclose(said, correlation, atol=0.03)
    within = (first - second) / np.sqrt(2)
    np.testing.assert_allclose(np.cov(within.T), np.eye(y.shape[1]), atol=0.1)


def test_of_noise_alone_nothing_repeats():
    x, group, _ = screen(effects=())
    with pytest.raises(ReplicableError, match="correlate by 0.3; the best is 0"):
        replicable_axes(x, group, correlation=0.3)


def test_few_wells_of_a_perturbation_do_not_pass_for_effects():
    """Means of few wells vary by their noise, which is no variance between perturbations."""
    x, group, _ = screen(n=3_000, wells=2, effects=())
    with pytest.raises(ReplicableError):
        replicable_axes(x, group, correlation=0.1)


def test_without_noise_distances_stay_as_they_are():
    x, group, _ = screen(noise=0.0)
    x = np.repeat(x[::3], 3, axis=0)  # to the last bit
    axes, correlation = replicable_axes(x, group, correlation=0.9)
    np.testing.assert_array_equal(correlation, 1.0)
    y = x @ axes
    for a in (0, 5, 30):
        raw = np.linalg.norm(x - x[a], axis=1)
        np.testing.assert_allclose(np.linalg.norm(y - y[a], axis=1), raw, atol=1e-9)


def test_one_well_each_tells_no_noise():
    x, _, _ = screen(wells=1)
    with pytest.raises(ReplicableError, match="no perturbation has two wells"):
        replicable_axes(x, np.arange(len(x)), correlation=0.5)
