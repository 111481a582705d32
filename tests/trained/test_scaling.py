import numpy as np
import pytest

from molphenix_jax.trained.scaling import CLIP_SD, fit_scaling

RNG = np.random.default_rng(0)


def correlated(n: int = 400, d: int = 12) -> np.ndarray:
    """Columns that share a few strong directions, so that the components differ in variance."""
    mixing = RNG.normal(size=(d, d)) * np.geomspace(3, 0.3, d)[:, None]
    return (RNG.normal(size=(n, d)) @ mixing + 5).astype(np.float32)


@pytest.mark.parametrize("whiten", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("components", [0, 5])
def test_outputs_have_unit_variance_on_average(components, whiten):
    x = correlated()
    out = np.asarray(fit_scaling([x], components=components, whiten=whiten)(x))
    assert out.shape == (400, components or 12)
    np.testing.assert_allclose(out.mean(0), 0, atol=0.02)
    assert out.var(0).mean() == pytest.approx(1, rel=0.02)


def test_without_components_the_columns_stay_and_each_has_unit_variance():
    x = correlated()
    out = np.asarray(fit_scaling([x], components=0, whiten=0.5)(x))
    np.testing.assert_allclose(out.var(0), 1, rtol=0.02)
    for column in range(12):
        assert np.corrcoef(out[:, column], x[:, column])[0, 1] > 0.999


def test_whitening_equalises_by_degrees():
    x = correlated()
    ratios = []
    for whiten in (0.0, 0.5, 1.0):
        variance = np.asarray(fit_scaling([x], components=6, whiten=whiten)(x)).var(0)
        ratios.append(variance.max() / variance.min())
    assert ratios[0] > 2
    assert ratios[1] == pytest.approx(np.sqrt(ratios[0]), rel=0.01)
    assert ratios[2] == pytest.approx(1, rel=0.01)


def test_outputs_are_uncorrelated_components():
    x = correlated()
    out = np.asarray(fit_scaling([x], components=6, whiten=0.5)(x))
    correlation = np.corrcoef(out.T)
    np.testing.assert_allclose(correlation, np.eye(6), atol=1e-3)


@pytest.mark.parametrize("components", [0, 4])
def test_only_the_fitted_rows_count(components):
    x = correlated()
    scaling = fit_scaling([x[:200]], components=components, whiten=0.5)
    shifted = x[200:] + 100
    assert np.asarray(scaling(x[:200])).var(0).mean() == pytest.approx(1, rel=0.02)
    # Far from the training rows a value stays within the clip.
    assert np.abs(np.asarray(fit_scaling([x], components=0, whiten=0.5)(shifted))).max() <= CLIP_SD
    np.testing.assert_allclose(scaling.mean, x[:200].mean(0), rtol=1e-5)


def test_blocks_have_equal_total_variance():
    small, large = correlated(d=4), correlated(d=40)
    out = np.asarray(
        fit_scaling([small, large], components=0, whiten=0.5)(np.hstack([small, large]))
    )
    assert out[:, :4].var(0).sum() == pytest.approx(out[:, 4:].var(0).sum(), rel=0.02)
    assert out.var(0).mean() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("components", [0, 5])
def test_constant_columns_and_a_constant_block_stay_finite(components):
    x = correlated()
    x[:, 3] = 7.0
    flags = np.ones((400, 3), np.uint8)
    out = np.asarray(
        fit_scaling([x, flags], components=components, whiten=1.0)(np.hstack([x, flags]))
    )
    assert np.isfinite(out).all()
    if not components:
        assert (out[:, [3, 12, 13, 14]] == 0).all()


def test_more_components_than_rows_allow():
    x = correlated(n=6)
    scaling = fit_scaling([x], components=50, whiten=0.5)
    assert scaling.width == 5
    assert np.isfinite(np.asarray(scaling(x))).all()


def test_the_clip_is_in_standard_deviations_of_the_column_in_every_block():
    """A column of a small block counts more, but is not cut earlier."""
    small, large = correlated(d=4), correlated(d=40)
    scaling = fit_scaling([small, large], components=0, whiten=0.5)
    x = np.hstack([small, large])
    for sds, expected in ((4.0, 4.0), (9.0, CLIP_SD)):
        out = np.asarray(scaling((x.mean(0) + sds * x.std(0))[None]))[0]
        np.testing.assert_allclose(out / np.asarray(scaling(x)).std(0), expected, rtol=0.02)
