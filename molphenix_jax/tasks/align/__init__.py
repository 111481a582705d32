"""Alignment of molecules and phenomics, the task that the paper is about: `configs/s2l.py`."""

from molphenix_jax.tasks.align.config import default_config, validate
from molphenix_jax.tasks.align.task import AlignTask, make

__all__ = ["AlignTask", "default_config", "make", "validate"]
