"""Contrastive losses as pure functions of embeddings (paper section 3).

loss = make_loss("s2l", execution="chunked", **S2L_PRESETS["fingerprint"])
value, metrics = loss(z_x, z_m, scale=scale, bias=bias, profile=profile, null_constant=c)
"""

from molphenix_jax.losses.properties import PROPERTY_LOSSES
from molphenix_jax.losses.registry import LOSSES, S2L_PRESETS, Loss, LossSpec, make_loss
from molphenix_jax.losses.similarity import null_constant
from molphenix_jax.losses.streaming import Execution

__all__ = [
    "LOSSES",
    "PROPERTY_LOSSES",
    "S2L_PRESETS",
    "Execution",
    "Loss",
    "LossSpec",
    "make_loss",
    "null_constant",
]
