"""Flax Linen modules: residual heads, concentration encodings, the two-tower model."""

from molphenix_jax.models.concentration import (
    CONCENTRATIONS,
    ConcentrationEncoding,
    ConcentrationSpec,
)
from molphenix_jax.models.heads import HEADS
from molphenix_jax.models.molphenix import (
    Embeddings,
    EncodedMolPhenix,
    MolPhenix,
    TowerConfig,
    joint_embedding,
    normalise,
    row_norm,
)

__all__ = [
    "CONCENTRATIONS",
    "HEADS",
    "ConcentrationEncoding",
    "ConcentrationSpec",
    "Embeddings",
    "EncodedMolPhenix",
    "MolPhenix",
    "TowerConfig",
    "joint_embedding",
    "normalise",
    "row_norm",
]
