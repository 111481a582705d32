"""What `standardise=auto` means for a screen: all of its fields are brought to 8 bits alike."""

import dataclasses

import numpy as np

from molphenix_jax.images.fields import FieldReader
from molphenix_jax.phenomics import CropConfig


def crop_for(read: FieldReader, crop: CropConfig) -> tuple[CropConfig, str]:
    """Settles "auto" by the fields that were looked at, and says how.

    Fields of 8 bits are taken as they are, and a field of more bits among them is rejected from now
    on: stretched, it would not compare. Where fields have more bits, or some of them, all are
    stretched.

    Args:
        read: Has looked at some fields.
        crop: How a field becomes crops.

    Returns:
        The same with "auto" settled, and a sentence.
    """
    kinds = read.pixels
    told = ", ".join(f"{kind} in {n:,}" for kind, n in kinds.items())
    mixed = f"the fields looked at differ in their pixels ({told}): " if len(kinds) > 1 else ""
    if crop.standardise == "image":
        return crop, f"{mixed}each channel of each field is stretched to 8 bits"
    if crop.standardise == "none":
        how = "8 bits are taken as they are, and of 16 the upper 8; other pixels are rejected"
        return crop, f"{mixed}{how}"
    if set(kinds) == {"uint8"}:
        read.only_8_bits = True
        return crop, (
            "pixels have 8 bits and are taken as they are; images of 16 bits would be stretched, "
            "and compare with these under --standardise=image alone"
        )
    what = mixed or f"pixels are {told.split(' in ')[0]}: "
    return dataclasses.replace(crop, standardise="image"), (
        f"{what}each channel of each field is stretched to 8 bits, those of 8 bits too (the "
        f"highest value looked at is {read.highest:,g}); they compare with images of 8 bits under "
        "--standardise=image alone"
    )


def is_mixed(read: FieldReader) -> bool:
    """Whether fields of 8 bits stand beside others; earlier versions stretched these alone."""
    return len(read.pixels) > 1 and str(np.dtype(np.uint8)) in read.pixels
