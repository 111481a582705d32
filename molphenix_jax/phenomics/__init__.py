"""Wells to corrected, averaged profiles with a replicate-consistency p-value."""

from molphenix_jax.phenomics.activity import ReplicateConsistency, replicate_consistency
from molphenix_jax.phenomics.aggregation import aggregate
from molphenix_jax.phenomics.completeness import complete_features
from molphenix_jax.phenomics.correction import Correction, Method, fit_correction
from molphenix_jax.phenomics.crops import (
    STANDARDISE,
    CropConfig,
    CropError,
    block_mean,
    crops_shape,
    field_crops,
)
from molphenix_jax.phenomics.intensity import intensity_features

__all__ = [
    "STANDARDISE",
    "Correction",
    "CropConfig",
    "CropError",
    "Method",
    "ReplicateConsistency",
    "aggregate",
    "block_mean",
    "complete_features",
    "crops_shape",
    "field_crops",
    "fit_correction",
    "intensity_features",
    "replicate_consistency",
]
