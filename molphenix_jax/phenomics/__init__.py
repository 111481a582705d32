"""Wells to corrected, averaged profiles with a replicate-consistency p-value."""

from molphenix_jax.phenomics.activity import (
    ReplicateDraw,
    activity_against_controls,
    activity_within_conditions,
    consistency_of,
    draw_replicates,
    mean_pairwise_cosine,
    null_statistics,
    replicate_consistency,
)
from molphenix_jax.phenomics.aggregation import aggregate
from molphenix_jax.phenomics.completeness import complete_features
from molphenix_jax.phenomics.correction import (
    CORRECTION_VERSION,
    Correction,
    Method,
    fit_correction,
)
from molphenix_jax.phenomics.images.crops import (
    STANDARDISE,
    CropConfig,
    CropError,
    block_mean,
    crops_shape,
    field_crops,
    field_image,
)
from molphenix_jax.phenomics.images.intensity import intensity_features
from molphenix_jax.phenomics.null_profiles import NullProfiles, draw_controls
from molphenix_jax.phenomics.outliers import (
    ABSURD,
    DISTANCE_LIMIT,
    FEATURE_LIMIT,
    Judged,
    judge_wells,
)
from molphenix_jax.tables.rows import Rows, RowsOnDisk

__all__ = [
    "ABSURD",
    "CORRECTION_VERSION",
    "DISTANCE_LIMIT",
    "FEATURE_LIMIT",
    "STANDARDISE",
    "Correction",
    "CropConfig",
    "CropError",
    "Judged",
    "Method",
    "NullProfiles",
    "ReplicateDraw",
    "Rows",
    "RowsOnDisk",
    "activity_against_controls",
    "activity_within_conditions",
    "aggregate",
    "block_mean",
    "complete_features",
    "consistency_of",
    "crops_shape",
    "draw_controls",
    "draw_replicates",
    "field_crops",
    "field_image",
    "fit_correction",
    "intensity_features",
    "judge_wells",
    "mean_pairwise_cosine",
    "null_statistics",
    "replicate_consistency",
]
