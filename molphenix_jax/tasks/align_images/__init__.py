"""Alignment of molecules and images, end to end: CLOOME's baseline with the same evaluation."""

from molphenix_jax.tasks import TaskSpec
from molphenix_jax.tasks.align_images.config import PATHS, check, default_config, unused
from molphenix_jax.tasks.align_images.task import make

TASK = TaskSpec(default_config, make, check, unused, PATHS)

__all__ = ["TASK", "default_config", "make"]
