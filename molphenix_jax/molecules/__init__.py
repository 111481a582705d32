"""SMILES to checked molecules and their feature blocks; the one importer of RDKit."""

from molphenix_jax.molecules.clusters import cluster_butina
from molphenix_jax.molecules.embeddings import EmbeddingsFile, load_embeddings
from molphenix_jax.molecules.fingerprints import (
    FEATURISER_VERSION,
    FINGERPRINTS,
    MoleculeEncoderSpec,
    column_names,
    descriptors,
    encoder_versions,
    featurise,
    featurise_blocks,
    is_embedding,
    nearest_by_tanimoto,
    tanimoto,
    trained_encoders,
)
from molphenix_jax.molecules.shipped import shipped_smiles
from molphenix_jax.molecules.standard import check_smiles, describe_changes, standardise
from molphenix_jax.molecules.substructures import match_substructures

__all__ = [
    "EmbeddingsFile",
    "FEATURISER_VERSION",
    "FINGERPRINTS",
    "MoleculeEncoderSpec",
    "check_smiles",
    "cluster_butina",
    "column_names",
    "describe_changes",
    "descriptors",
    "encoder_versions",
    "featurise",
    "featurise_blocks",
    "is_embedding",
    "load_embeddings",
    "match_substructures",
    "shipped_smiles",
    "standardise",
    "nearest_by_tanimoto",
    "tanimoto",
    "trained_encoders",
]
