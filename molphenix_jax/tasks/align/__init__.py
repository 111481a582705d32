"""Alignment of molecules and phenomics, the task that the paper is about: `configs/s2l.py`."""

from molphenix_jax.tasks import TaskSpec
from molphenix_jax.tasks.align.checks import check
from molphenix_jax.tasks.align.config import PATHS, default_config, unused
from molphenix_jax.tasks.align.task import AlignTask, make

TASK = TaskSpec(default_config, make, check, unused, PATHS)

__all__ = ["TASK", "AlignTask", "default_config", "make"]
