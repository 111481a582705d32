"""Fields to crops, and the features of intensity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.phenomics import (
    CropConfig,
    CropError,
    block_mean,
    field_crops,
    intensity_features,
)
from molphenix_jax.phenomics.images.crops import centre, crops, grid_starts, to_uint8


def image(h: int, w: int, c: int = 2, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (c, h, w)).astype(dtype)


@pytest.mark.parametrize(
    ("length", "size", "starts"),
    [(512, 256, [0, 256]), (520, 256, [0, 256, 264]), (696, 256, [0, 256, 440]), (8, 8, [0])],
)
def test_the_last_crop_ends_at_the_edge(length, size, starts):
    assert grid_starts(length, size) == starts


def test_crops_cover_the_field_row_by_row():
    x = image(5, 7)
    cut = crops(x, 4)
    assert cut.shape == (4, 2, 4, 4)
    np.testing.assert_array_equal(cut[1], x[:, :4, 3:])
    np.testing.assert_array_equal(cut[2], x[:, 1:, :4])


def test_a_512_core_of_a_larger_field_gives_four_crops():
    x = image(600, 640)
    cut = field_crops(x, CropConfig(256, core=512))
    assert cut.shape == (4, 2, 256, 256)
    np.testing.assert_array_equal(cut[0], x[:, 44:300, 64:320])


def test_block_means_are_means_and_leave_out_what_fills_no_block():
    x = image(5, 6, dtype=np.uint16)
    mean = block_mean(x, 2)
    assert mean.dtype == np.uint16
    assert mean.shape == (2, 2, 3)
    assert mean[1, 1, 2] == np.rint(x[1, 2:4, 4:6].mean())


def test_sixteen_bits_are_stretched_and_eight_are_left_alone():
    x = image(64, 64)
    assert to_uint8(x, "auto") is x
    deep = (1000 + 3 * x.astype(np.uint16)).astype(np.uint16)
    np.testing.assert_allclose(to_uint8(deep, "auto"), to_uint8(x, "image"), atol=1)
    assert to_uint8(deep, "auto").max() == 255
    np.testing.assert_array_equal(to_uint8(deep, "none"), deep >> 8)


def test_a_channel_of_one_value_becomes_zero():
    assert not to_uint8(np.full((1, 8, 8), 7, np.uint16), "auto").any()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: crops(image(8, 300), 16), "side of 8 pixels is smaller than a crop of 16"),
        (lambda: centre(image(8, 300), 16), "8x300 pixels are smaller than the core of 16x16"),
        (lambda: block_mean(image(3, 3), 4), "hold no 4x4 block"),
        (lambda: to_uint8(np.full((1, 2, 2), np.nan), "auto"), "NaN or infinite"),
        (lambda: to_uint8(np.zeros((1, 2, 2)), "none"), "standardise=none cannot take"),
    ],
)
def test_what_cannot_be_cropped_says_why(make, reason):
    with pytest.raises(CropError, match=reason):
        make()


@pytest.mark.slow
def test_intensity_features_are_those_of_the_pixels():
    x = image(16, 16, c=3)[None]
    out = np.asarray(intensity_features(jnp.asarray(x)))
    assert out.shape == (1, 33)
    np.testing.assert_allclose(out[0, 10], x[0, 1].mean() / 255, rtol=1e-5)
    np.testing.assert_allclose(out[0, 11], x[0, 1].std() / 255, rtol=1e-5)
    np.testing.assert_allclose(out[0, 15], np.quantile(x[0, 1] / 255, 0.5), rtol=1e-4)
    np.testing.assert_allclose(
        out[0, 31], np.corrcoef(x[0, 0].ravel(), x[0, 2].ravel())[0, 1], atol=1e-4
    )
    # A turned image has the same features.
    turned = intensity_features(jnp.asarray(np.rot90(x, axes=(2, 3)).copy()))
    np.testing.assert_allclose(out, np.asarray(turned), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("value", [7, 254])
def test_a_flat_channel_has_no_spread_and_correlates_with_nothing(value):
    x = np.random.default_rng(0).integers(0, 255, (1, 2, 256, 256)).astype(np.uint8)
    x[:, 1] = value
    for run in (intensity_features, jax.jit(intensity_features)):
        out = np.asarray(run(jnp.asarray(x)))
        np.testing.assert_allclose(out[0, 10], value / 255, rtol=1e-6)
        np.testing.assert_allclose(out[0, [11, 20]], 0, atol=1e-7)
