"""Frozen encoders of images by name: what `molphenix embed-images --encoder=NAME` takes."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from molphenix_jax.parts import Parts, define, of_type, register
from molphenix_jax.phenomics import intensity_features


@dataclasses.dataclass(frozen=True)
class ImageEncoderSpec:
    """An encoder as a function.

    Attributes:
        embed: (params, crops [b, c, s, s] from 0 to 255) to embeddings [b, d], each of its own crop
            alone; in JAX, and jitted over all devices.
        version: Raised when the same crops would get other embeddings.
        load: Gives `params`; called once, when the encoder is used.
    """

    embed: Callable[[Any, Array], Array]
    version: str = "1"
    load: Callable[[], Any] = tuple


IMAGE_ENCODERS: Parts[ImageEncoderSpec] = define("image_encoder", of_type(ImageEncoderSpec))
register("image_encoder", "intensity", ImageEncoderSpec(lambda _, crops: intensity_features(crops)))
