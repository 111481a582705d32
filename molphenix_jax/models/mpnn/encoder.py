"""The molecule encoder: a padded batch of graphs to one vector per molecule."""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molphenix_jax.models.mpnn.attention import dense_view
from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.first_states import FirstStates
from molphenix_jax.models.mpnn.graphs import GraphsTuple, pool_nodes, topology
from molphenix_jax.models.mpnn.layers import MLP
from molphenix_jax.models.mpnn.message_passing import Features, Layer


class Encoded(NamedTuple):
    """What the encoder gives for a batch; rows of padding mean nothing.

    Attributes:
        nodes: States of the atoms after the last layer.
        graphs: Embeddings of the molecules.
        layers: By name, what `molphenix embed --layers` can write: `layer_<i>`, the mean over a
            molecule's atoms after layer i, and `graph`, the embedding.
        node_mask: True for real atoms.
        graph_mask: True for real molecules.
    """

    nodes: Float[Array, "n d"]
    graphs: Float[Array, "g k"]
    layers: dict[str, Float[Array, "g k"]]
    node_mask: Bool[Array, " n"]
    graph_mask: Bool[Array, " g"]


def layer_names(config: MPNNConfig) -> tuple[str, ...]:
    """Names of the layers that an embedding can be taken from."""
    return (*(f"layer_{i}" for i in range(config.depth)), "graph")


class MoleculeEncoder(nn.Module):
    """MPNN++ over the atoms and bonds of molecules.

    A molecule's embedding does not depend on the order of its atoms, on the other molecules of the
    batch or on the padding.

    Attributes:
        config: Its size and make.
        dtype: Computation type; embeddings leave as float32.
    """

    config: MPNNConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graphs: GraphsTuple, *, train: bool = False) -> Encoded:
        """Embeds the molecules of one padded batch.

        Args:
            graphs: `nodes` has `codes` [n, c], `rwse` [n, k], `lap_vectors` and `lap_values`
                [n, k]; `edges` has `codes` [e, c].
            train: Switches on dropout and random eigenvector signs (stream `dropout`).
        """
        c = self.config
        t = topology(graphs)
        atoms, bonds = FirstStates(c, self.dtype, name="first")(
            cast(Any, graphs.nodes), cast(Any, graphs.edges), t, train=train
        )
        # A molecule starts from nothing and reads its atoms in the first layer.
        molecules = jnp.zeros((t.n_graphs, c.width), self.dtype) if c.virtual_node else None
        x = Features(atoms, bonds, molecules)
        view = dense_view(t, max_nodes=c.attention_max_nodes) if c.attention_heads else None
        layer = nn.remat(Layer, static_argnums=(4,)) if c.remat else Layer
        layers = {}
        for i in range(c.depth):
            x = layer(c, self.dtype, name=f"layer_{i}")(x, t, view, train)
            layers[f"layer_{i}"] = pool_nodes(x.nodes, t, how="mean").astype(jnp.float32)
        pooled = pool_nodes(x.nodes, t, how=c.pooling)
        parts = [pooled] if x.graphs is None else [pooled, x.graphs]
        embedding = MLP(
            2 * c.width,
            c.out_width,
            c.activation,
            "layer",
            dropout=0.0,
            hidden_dropout=c.dropout,
            dtype=self.dtype,
            name="graph_out",
        )([(part, None) for part in parts], jnp.arange(t.n_graphs), t.n_graphs, train=train).astype(
            jnp.float32
        )
        layers["graph"] = embedding
        return Encoded(x.nodes, embedding, layers, t.node_mask, t.graph_mask)
