"""Channel-agnostic vision transformer and its masked autoencoder (OpenPhenom, Phenom1 family)."""

from molphenix_jax.models.vit.config import PRESETS, EncoderConfig, MAEConfig
from molphenix_jax.models.vit.encoder import Encoder, embed_crops
from molphenix_jax.models.vit.mae import MAE, Mask, Reconstruction, mae_loss, random_mask
from molphenix_jax.models.vit.tokens import patchify, standardise_channels, unpatchify

__all__ = [
    "MAE",
    "PRESETS",
    "Encoder",
    "EncoderConfig",
    "MAEConfig",
    "Mask",
    "Reconstruction",
    "embed_crops",
    "mae_loss",
    "patchify",
    "random_mask",
    "standardise_channels",
    "unpatchify",
]
