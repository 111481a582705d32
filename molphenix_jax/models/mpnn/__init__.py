"""MPNN++, MolGPS's molecule encoder (docs/method.md §10), as modules over padded graph batches."""

from molphenix_jax.models.mpnn.config import (
    ACTIVATIONS,
    BASE_WIDTH,
    LAYER_RULE,
    NETWORKS,
    NORMS,
    POOLINGS,
    SIZES,
    MPNNConfig,
    mup_lr_rules,
)
from molphenix_jax.models.mpnn.encoder import MoleculeEncoder, layer_names
from molphenix_jax.models.mpnn.graphs import GraphsTuple
from molphenix_jax.models.mpnn.layers import Readout
from molphenix_jax.models.mpnn.message_passing import Features, Layer, MessagePassing
from molphenix_jax.models.mpnn.networks import molecule_encoder
from molphenix_jax.models.mpnn.properties import HeadConfig, PropertyModel, property_lr_rules

__all__ = [
    "ACTIVATIONS",
    "BASE_WIDTH",
    "NETWORKS",
    "NORMS",
    "POOLINGS",
    "SIZES",
    "Features",
    "LAYER_RULE",
    "GraphsTuple",
    "HeadConfig",
    "Layer",
    "MPNNConfig",
    "MessagePassing",
    "MoleculeEncoder",
    "PropertyModel",
    "Readout",
    "layer_names",
    "molecule_encoder",
    "mup_lr_rules",
    "property_lr_rules",
]
