"""The encoder with a head for each group of labels, of molecules or of atoms."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.encoder import Encoded
from molphenix_jax.models.mpnn.graphs import GraphsTuple
from molphenix_jax.models.mpnn.layers import EPSILON, Readout, activate
from molphenix_jax.models.mpnn.networks import molecule_encoder

# Widths that learning rates are given for (see `config`): of what a head reads, and of its MLP.
BASE_INPUT, BASE_HEAD = 512, 256


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """One head.

    Attributes:
        name: Of its label group.
        level: graph or node.
        n_outputs: Labels times classes.
        width: Of the MLP before the readout; 0 for none.
        dropout: Within that MLP.
    """

    name: str
    level: str
    n_outputs: int
    width: int
    dropout: float


class Head(nn.Module):
    """Norm, one hidden layer, readout."""

    config: HeadConfig
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, "n k"], *, train: bool) -> Float[Array, "n o"]:
        """Predicts the labels of a group."""
        c = self.config
        h = nn.LayerNorm(epsilon=EPSILON, name="norm")(x.astype(jnp.float32))
        if c.width:
            h = activate(nn.Dense(c.width, name="hidden")(h), self.activation)
            h = nn.Dropout(c.dropout, deterministic=not train)(h)
        ratio = c.width / BASE_HEAD if c.width else x.shape[1] / BASE_INPUT
        return Readout(c.n_outputs, ratio, name="readout")(h)


class PropertyModel(nn.Module):
    """Predicts properties of molecules and of their atoms.

    Attributes:
        encoder: Of the molecules.
        heads: One for each group of labels.
        dtype: Computation type of the encoder.
    """

    encoder: MPNNConfig
    heads: tuple[HeadConfig, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, graphs: GraphsTuple, *, train: bool = False
    ) -> tuple[Encoded, dict[str, Float[Array, "n o"]]]:
        """Embeds a padded batch and predicts.

        Args:
            graphs: As `MoleculeEncoder` takes them; `globals["blocks"]` [g, k], if there, is what
                the heads of molecules see beside the embedding.
            train: Switches on dropout and random eigenvector signs (stream `dropout`).
        """
        encoded = molecule_encoder(self.encoder, self.dtype, name="encoder")(graphs, train=train)
        of_molecule = encoded.graphs
        globals_: Any = graphs.globals or {}
        blocks = globals_.get("blocks")
        if blocks is not None:
            of_molecule = jnp.concatenate([of_molecule, blocks.astype(jnp.float32)], axis=1)
        predictions = {}
        for head in self.heads:
            x = of_molecule if head.level == "graph" else encoded.nodes
            module = Head(head, self.encoder.activation, name=f"head_{head.name}")
            predictions[head.name] = module(x, train=train)
        return encoded, predictions


def property_lr_rules(
    width: int, out_width: int, encoder_rules: tuple[tuple[str, float], ...]
) -> tuple[tuple[str, float], ...]:
    """The encoder's learning-rate rules, and those of the heads that read its embedding."""
    return (
        *encoder_rules,
        (r"/head_graph[^/]*/hidden/kernel$", BASE_INPUT / out_width),
        (r"/head_node[^/]*/hidden/kernel$", BASE_INPUT / 4 / width),
    )
