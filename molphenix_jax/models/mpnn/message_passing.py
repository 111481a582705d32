"""The MPNN++ layer and its GPS wrapper (GPS++, arXiv 2212.02229; docs/method.md §10).

`MessagePassing` is graphium's `MPNNPlusPyg` and, with a virtual node, the global update of GPS++;
`Layer` is `GPSLayerPyg` with the outer residuals of graphium's stack. Parity with both is tested on
golden arrays.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.models.mpnn.attention import BiasedAttention, DenseView
from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.graphs import Topology, pool_edges, pool_nodes, sum_at
from molphenix_jax.models.mpnn.layers import EPSILON, MLP, Norm


class Features(NamedTuple):
    """States of the atoms, the directed bonds and, with a virtual node, the molecules."""

    nodes: Float[Array, "n d"]
    edges: Float[Array, "e k"]
    graphs: Float[Array, "g d"] | None


class MessagePassing(nn.Module):
    """One round: bonds from their atoms, atoms from bonds and neighbours, molecules from both.

    Attributes:
        config: Of the encoder.
        dtype: Computation type.
    """

    config: MPNNConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Features, t: Topology, *, train: bool) -> Features:
        """Returns new states, without residuals; a bond is updated once for each direction."""
        c = self.config
        of_edge = [] if x.graphs is None else [(x.graphs, t.graph_of_edge)]
        edges = MLP(
            c.expansion * c.edge_width,
            c.edge_width,
            c.activation,
            c.norm,
            c.edge_dropout,
            dtype=self.dtype,
            name="edge_model",
        )(
            [(x.nodes, t.receivers), (x.nodes, t.senders), (x.edges, None), *of_edge],
            t.graph_of_edge,
            t.n_graphs,
            train=train,
        )
        of_node = [] if x.graphs is None else [(x.graphs, t.graph_of_node)]
        nodes = MLP(
            c.expansion * c.width,
            c.width,
            c.activation,
            c.norm,
            c.dropout,
            dtype=self.dtype,
            name="node_model",
        )(
            [
                (sum_at(edges, t.receivers, t.n_nodes), None),
                (sum_at(x.nodes[t.senders], t.receivers, t.n_nodes), None),
                (sum_at(edges, t.senders, t.n_nodes), None),
                (sum_at(x.nodes[t.receivers], t.senders, t.n_nodes), None),
                (x.nodes, None),
                *of_node,
            ],
            t.graph_of_node,
            t.n_graphs,
            train=train,
        )
        if x.graphs is None:
            return Features(nodes, edges, None)
        graphs = MLP(
            c.width, c.width, c.activation, "layer", c.dropout, dtype=self.dtype, name="graph_model"
        )(
            [
                (x.graphs, None),
                (pool_nodes(nodes, t, how="sum"), None),
                (pool_edges(edges, t), None),
            ],
            jnp.arange(t.n_graphs),
            t.n_graphs,
            train=train,
        )
        return Features(nodes, edges, graphs)


class Layer(nn.Module):
    """Message passing, optional attention, a feed-forward MLP, and residuals around all.

    Attributes:
        config: Of the encoder.
        dtype: Computation type.
        residual: Whether the states of before are added at the end.
    """

    config: MPNNConfig
    dtype: Any = jnp.float32
    residual: bool = True

    @nn.compact
    def __call__(self, x: Features, t: Topology, view: DenseView | None, train: bool) -> Features:
        """Returns the states after the layer; `view` is the molecules' dense form, if attended."""
        c = self.config
        out = MessagePassing(c, self.dtype, name="mpnn")(x, t, train=train)
        h = nn.Dropout(c.dropout, deterministic=not train)(out.nodes)
        h = Norm(c.norm, self.dtype, name="norm_local")(h, t.graph_of_node, t.n_graphs)
        if view is not None:
            attended = BiasedAttention(c.attention_heads, c.dropout, self.dtype, name="attention")(
                x.nodes, view, train=train
            )
            attended = nn.Dropout(c.dropout, deterministic=not train)(attended)
            h = h + Norm(c.norm, self.dtype, name="norm_attention")(
                x.nodes + attended, t.graph_of_node, t.n_graphs
            )
        h = h + MLP(
            c.expansion * c.width,
            c.width,
            c.activation,
            "",
            c.dropout,
            c.dropout,
            self.dtype,
            name="feed_forward",
        )([(h, None)], t.graph_of_node, t.n_graphs, train=train)
        h = nn.Dense(c.width, dtype=self.dtype, name="out")(h)
        h = nn.relu(nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm_out")(h))
        if not self.residual:
            return Features(h, out.edges, out.graphs)
        graphs = None if x.graphs is None or out.graphs is None else x.graphs + out.graphs
        return Features(x.nodes + h, x.edges + out.edges, graphs)
