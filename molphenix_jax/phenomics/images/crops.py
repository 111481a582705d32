"""Microscope fields to encoder inputs: block mean, core, 8 bits, crops.

Arrays are [channels, height, width]. Encoders of the OpenPhenom family standardise every channel of
every crop themselves (instance norm, docs/method.md §9), so here images only have to come as 8
bits.
"""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Num, UInt8

Standardise = Literal["auto", "image", "none"]
STANDARDISE: tuple[str, ...] = get_args(Standardise)

# Darkest and brightest pixels of a channel that become 0 and 255: dust and dead pixels lie beyond.
PERCENTILES = (0.1, 99.9)


class CropError(ValueError):
    """An image that cannot be cropped as asked."""


@dataclasses.dataclass(frozen=True)
class CropConfig:
    """How a field becomes crops.

    Attributes:
        size: Side of a crop in pixels, after `downsample`.
        core: Side of the central square that is used; 0 takes the whole field.
        downsample: Pixels on a side whose mean becomes one pixel.
        standardise: "image" stretches each channel of each field to 8 bits between its percentiles
            0.1 and 99.9; "auto" does so unless the field is 8-bit already; "none" keeps the upper 8
            bits of 16-bit images.
    """

    size: int
    core: int = 0
    downsample: int = 1
    standardise: Standardise = "auto"


def field_crops(
    image: Num[np.ndarray, "c h w"], config: CropConfig
) -> UInt8[np.ndarray, "k c s s"]:
    """All crops of one field, row by row.

    Raises:
        CropError: The image is smaller than a crop, or its numbers cannot be brought to 8 bits.
    """
    return crops(field_image(image, config), config.size)


def field_image(image: Num[np.ndarray, "c h w"], config: CropConfig) -> UInt8[np.ndarray, "c y x"]:
    """The field before it is cropped: block mean, core, 8 bits.

    Raises:
        CropError: The image is smaller than the core, or cannot be brought to 8 bits.
    """
    image = block_mean(image, config.downsample)
    if config.core:
        image = centre(image, config.core)
    return to_uint8(image, config.standardise)


def crops_shape(shape: tuple[int, ...], config: CropConfig) -> tuple[int, int, int, int]:
    """Shape [k, c, s, s] of the crops of a field of shape [c, h, w].

    Raises:
        CropError: The field is smaller than a crop.
    """
    # Costs no memory: all pixels of such an array are one number.
    return field_crops(np.broadcast_to(np.uint8(0), shape), config).shape


def block_mean(image: Num[np.ndarray, "c h w"], factor: int) -> Num[np.ndarray, "c h2 w2"]:
    """Means of blocks of factor x factor pixels, in the type of the input, integers rounded.

    Rows and columns at the end that fill no block are left out.
    """
    if factor == 1:
        return image
    c, h, w = image.shape[0], image.shape[1] // factor, image.shape[2] // factor
    if not h or not w:
        raise CropError(f"{image.shape[1]}x{image.shape[2]} pixels hold no {factor}x{factor} block")
    blocks = image[:, : h * factor, : w * factor].reshape(c, h, factor, w, factor)
    mean = blocks.mean(axis=(2, 4), dtype=np.float32)
    return np.rint(mean).astype(image.dtype) if image.dtype.kind in "ui" else mean


def centre(image: Num[np.ndarray, "c h w"], side: int) -> Num[np.ndarray, "c s s"]:
    """The central square.

    Raises:
        CropError: The image is smaller.
    """
    h, w = image.shape[1:]
    if min(h, w) < side:
        raise CropError(f"{h}x{w} pixels are smaller than the core of {side}x{side}")
    top, left = (h - side) // 2, (w - side) // 2
    return image[:, top : top + side, left : left + side]


def to_uint8(
    image: Num[np.ndarray, "c h w"], standardise: Standardise
) -> UInt8[np.ndarray, "c h w"]:
    """Brings an image to 8 bits: see `CropConfig.standardise`.

    Raises:
        CropError: NaN or infinite pixels, or a type that has no upper 8 bits.
    """
    if image.dtype == np.uint8 and standardise != "image":
        return image
    if standardise == "none":
        if image.dtype != np.uint16:
            raise CropError(f"pixels are {image.dtype}, which standardise=none cannot take")
        return (image >> 8).astype(np.uint8)
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise CropError("pixels are NaN or infinite")
    low, high = np.percentile(values, PERCENTILES, axis=(1, 2), keepdims=True).astype(np.float32)
    # A channel of one value has no contrast: it becomes 0, not 0/0.
    span = np.where(high > low, high - low, np.float32(1))
    return np.rint(np.clip((values - low) / span, 0, 1) * 255).astype(np.uint8)


def grid_starts(length: int, size: int) -> list[int]:
    """Where crops begin along one side: side by side, the last one aligned to the edge."""
    if length < size:
        raise CropError(f"a side of {length} pixels is smaller than a crop of {size}")
    starts = list(range(0, length - size + 1, size))
    return starts if starts[-1] == length - size else [*starts, length - size]


def crops(image: Num[np.ndarray, "c h w"], size: int) -> Num[np.ndarray, "k c s s"]:
    """The grid of square crops, row by row; the last ones overlap where the side is no multiple.

    Raises:
        CropError: The image is smaller than a crop.
    """
    rows, columns = (grid_starts(length, size) for length in image.shape[1:])
    return np.stack([image[:, y : y + size, x : x + size] for y in rows for x in columns])
