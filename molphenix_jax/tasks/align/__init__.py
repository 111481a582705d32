"""Alignment of molecules and phenomics, the task that the paper is about: `configs/s2l.py`."""

import pathlib

import jax

from molphenix_jax.runtime.config import Config
from molphenix_jax.tasks import TaskSpec
from molphenix_jax.tasks.align.checks import check
from molphenix_jax.tasks.align.config import PATHS, default_config, unused
from molphenix_jax.tasks.align.making import make
from molphenix_jax.tasks.align.several.task import SeveralTask, make_several
from molphenix_jax.tasks.align.task import AlignTask
from molphenix_jax.tasks.named_screens import named_screens


def _make(
    config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path
) -> AlignTask | SeveralTask:
    of = make_several if named_screens(config.data.wells) else make
    return of(config, mesh, workdir)


TASK = TaskSpec(default_config, _make, check, unused, PATHS)

__all__ = ["TASK", "AlignTask", "default_config", "make"]
