"""Alignment of molecules and images, end to end: CLOOME's baseline with the same evaluation."""

from molphenix_jax.tasks.align_images.config import default_config, validate
from molphenix_jax.tasks.align_images.task import make

__all__ = ["default_config", "make", "validate"]
