"""Images to patches and back, self-standardisation, fixed position encodings: no parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

NORM_EPS = 1e-5  # of torch's InstanceNorm2d


def standardise(images: Shaped[Array, "n c h w"]) -> Float[Array, "n c h w"]:
    """Every channel of every image to mean 0 and variance 1, from 8-bit intensities.

    Division by 255 comes first, as in OpenPhenom, so that the epsilon weighs the same: a channel of
    one value becomes zeros.
    """
    x = images.astype(jnp.float32) / 255.0
    x -= x.mean((2, 3), keepdims=True)
    # The mean of many bright pixels is off by their rounding, which a flat channel is all that is
    # left of; the mean of what is left is not.
    x -= x.mean((2, 3), keepdims=True)
    variance = jnp.square(x).mean((2, 3), keepdims=True)
    return x * jax.lax.rsqrt(variance + NORM_EPS)


def patchify(images: Float[Array, "n c h w"], *, patch: int) -> Float[Array, "n t p"]:
    """Patches [n, c·h/patch·w/patch, patch²]: channel after channel, rows of patches in each.

    Raises:
        ValueError: Height or width is no multiple of the patch size.
    """
    n, c, h, w = images.shape
    if h % patch or w % patch:
        raise ValueError(f"images of {h} × {w} pixels do not divide into patches of {patch}")
    x = images.reshape(n, c, h // patch, patch, w // patch, patch)
    return x.transpose(0, 1, 2, 4, 3, 5).reshape(n, -1, patch * patch)


def unpatchify(
    patches: Float[Array, "n t p"], *, channels: int, height: int, width: int
) -> Float[Array, "n c h w"]:
    """The images whose patches these are."""
    n, _, square = patches.shape
    patch = round(square**0.5)
    x = patches.reshape(n, channels, height // patch, width // patch, patch, patch)
    return x.transpose(0, 1, 2, 4, 3, 5).reshape(n, channels, height, width)


@functools.lru_cache
def position_encoding(width: int, rows: int, columns: int) -> Float[np.ndarray, "t width"]:
    """Fixed sine and cosine encoding of the patches of one channel: [sin y, cos y, sin x, cos x].

    Args:
        width: Of the tokens, a multiple of 4.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
    """
    n = width // 4
    frequency = 1.0 / 10_000.0 ** (np.arange(n, dtype=np.float32) / n)
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    phase_y, phase_x = (np.outer(a.ravel().astype(np.float32), frequency) for a in (y, x))
    parts = [np.sin(phase_y), np.cos(phase_y), np.sin(phase_x), np.cos(phase_x)]
    return np.concatenate(parts, axis=1).astype(np.float32)
