"""The encoder that a config names."""

from typing import Any

import jax.numpy as jnp

from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.encoder import MoleculeEncoder
from molphenix_jax.models.mpnn.minimol.network import GINEEncoder


def molecule_encoder(
    config: MPNNConfig, dtype: Any = jnp.float32, *, name: str | None = None
) -> MoleculeEncoder | GINEEncoder:
    """The module of `config.network`; both take the same batches and give `Encoded`.

    Args:
        config: Its sizes.
        dtype: Computation type.
        name: Of the module, within another.
    """
    make = GINEEncoder if config.network == "minimol" else MoleculeEncoder
    return make(config, dtype, name=name)
