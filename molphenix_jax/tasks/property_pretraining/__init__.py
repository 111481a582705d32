"""Property pretraining of the molecule encoder: `configs/molgps.py`."""

from molphenix_jax.tasks import TaskSpec
from molphenix_jax.tasks.property_pretraining.config import PATHS, check, default_config
from molphenix_jax.tasks.property_pretraining.task import make

TASK = TaskSpec(default_config, make, check, paths=PATHS)

__all__ = ["TASK", "default_config", "make"]
