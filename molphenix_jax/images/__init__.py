"""Microscope images: where people keep them, and how they become a wells table."""

from molphenix_jax.images.embedding import EmbedConfig
from molphenix_jax.images.encoders import IMAGE_ENCODERS, ImageEncoderSpec
from molphenix_jax.images.fields import Field, FieldTable, ImagesError, Take
from molphenix_jax.images.files import Source
from molphenix_jax.images.found import FoundFields, ImageSource, find_fields
from molphenix_jax.images.layouts import LAYOUTS
from molphenix_jax.images.stack import stack_images
from molphenix_jax.images.wells_table import CropEncoder, EmbedJob, embed_images

__all__ = [
    "IMAGE_ENCODERS",
    "LAYOUTS",
    "EmbedConfig",
    "EmbedJob",
    "CropEncoder",
    "Field",
    "FieldTable",
    "FoundFields",
    "ImageEncoderSpec",
    "ImageSource",
    "ImagesError",
    "Source",
    "Take",
    "embed_images",
    "find_fields",
    "stack_images",
]
