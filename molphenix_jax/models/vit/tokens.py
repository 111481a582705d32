"""Images to patches and back, self-standardisation, fixed position encodings: no parameters."""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

NORM_EPS = 1e-5  # of torch's InstanceNorm2d

Positions = Literal["computed", "slice"]
_TABLE_PIXELS = 256  # side of the images that Recursion's table of positions is for


def standardise_channels(images: Shaped[Array, "n c h w"]) -> Float[Array, "n c h w"]:
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


def token_positions(
    kind: Positions, width: int, *, patch: int, channels: int, rows: int, columns: int
) -> Float[np.ndarray, "t width"]:
    """The position encoding of all patch tokens of an image, channel after channel.

    `computed` tells each patch its row and column, whatever the size of the image. `slice` is what
    Recursion's OpenPhenom does: it holds one table for images of 256 pixels, once for each channel,
    and takes its first rows. Both agree at 256 × 256 pixels; of other sizes `slice` tells a patch
    the place that the token of its number has at 256, and a channel another place than the last.

    Args:
        kind: computed or slice.
        width: Of the tokens, a multiple of 4.
        patch: Side of a patch in pixels.
        channels: Of the images.
        rows: Patches from top to bottom.
        columns: Patches from left to right.

    Raises:
        ValueError: An unknown kind, or a slice with patches that do not divide 256.
    """
    if kind not in get_args(Positions):
        raise ValueError(f"positions are {' or '.join(get_args(Positions))}, got {kind!r}")
    if kind == "computed":
        return np.tile(position_encoding(width, rows, columns), (channels, 1))
    if _TABLE_PIXELS % patch:
        raise ValueError(
            f"positions=slice needs patches that divide {_TABLE_PIXELS} pixels, not {patch}"
        )
    side = _TABLE_PIXELS // patch
    table = position_encoding(width, side, side)
    return table[np.arange(channels * rows * columns) % len(table)]
