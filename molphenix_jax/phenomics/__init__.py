"""Wells to corrected, averaged profiles with a replicate-consistency p-value."""

from molphenix_jax.phenomics.activity import ReplicateConsistency, replicate_consistency
from molphenix_jax.phenomics.aggregation import aggregate
from molphenix_jax.phenomics.completeness import complete_features
from molphenix_jax.phenomics.correction import Correction, Method, fit_correction

__all__ = [
    "Correction",
    "Method",
    "ReplicateConsistency",
    "aggregate",
    "complete_features",
    "fit_correction",
    "replicate_consistency",
]
