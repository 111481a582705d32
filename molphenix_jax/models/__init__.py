"""Flax Linen modules: residual heads, concentration encodings, the two-tower model."""

from molphenix_jax.models.concentration import KINDS as CONCENTRATION_KINDS
from molphenix_jax.models.concentration import ConcentrationEncoding
from molphenix_jax.models.heads import ResidualBlock, ResidualHead
from molphenix_jax.models.molphenix import (
    Embeddings,
    MolPhenix,
    TowerConfig,
    joint_embedding,
    normalise,
)

__all__ = [
    "CONCENTRATION_KINDS",
    "ConcentrationEncoding",
    "Embeddings",
    "MolPhenix",
    "ResidualBlock",
    "ResidualHead",
    "TowerConfig",
    "joint_embedding",
    "normalise",
]
