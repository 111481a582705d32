"""Wells to corrected, averaged profiles with a replicate-consistency p-value."""

from molphenix_jax.phenomics.activity import (
    ReplicateConsistency,
    ReplicateDraw,
    consistency_of,
    draw_replicates,
    null_statistics,
    replicate_consistency,
)
from molphenix_jax.phenomics.aggregation import aggregate
from molphenix_jax.phenomics.completeness import complete_features
from molphenix_jax.phenomics.correction import Correction, Method, fit_correction
from molphenix_jax.phenomics.rows import Rows, RowsOnDisk

__all__ = [
    "Correction",
    "Method",
    "ReplicateConsistency",
    "ReplicateDraw",
    "Rows",
    "RowsOnDisk",
    "aggregate",
    "complete_features",
    "consistency_of",
    "draw_replicates",
    "fit_correction",
    "null_statistics",
    "replicate_consistency",
]
