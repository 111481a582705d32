"""Property pretraining of the molecule encoder: `configs/molgps.py`."""

from molphenix_jax.tasks.property_pretraining.config import default_config, validate
from molphenix_jax.tasks.property_pretraining.task import PropertyTask, make

__all__ = ["PropertyTask", "default_config", "make", "validate"]
