"""A trained model in use: molecules and profiles into the joint space."""

from molphenix_jax.retrieval.hits import Hits
from molphenix_jax.retrieval.model import Model, load

__all__ = ["Hits", "Model", "load"]
