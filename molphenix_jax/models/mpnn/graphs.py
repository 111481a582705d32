"""What a layer needs to know of a batch of graphs; the one file of this room that imports jraph.

A batch is a padded `jraph.GraphsTuple`: real graphs first, then the padding graphs of
`jraph.pad_with_graphs`, which own all padding atoms and bonds, so that nothing flows from them into
a molecule. Everything here is pure and has static shapes.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float, Int

GraphsTuple = jraph.GraphsTuple


class Topology(NamedTuple):
    """Who is whose neighbour, in n atoms, e directed bonds and g molecules (padding included)."""

    senders: Int[Array, " e"]
    receivers: Int[Array, " e"]
    graph_of_node: Int[Array, " n"]
    graph_of_edge: Int[Array, " e"]
    n_node: Int[Array, " g"]
    node_mask: Bool[Array, " n"]
    graph_mask: Bool[Array, " g"]

    @property
    def n_graphs(self) -> int:
        """Molecules in the batch, padding included."""
        return self.n_node.shape[0]

    @property
    def n_nodes(self) -> int:
        """Atoms in the batch, padding included."""
        return self.graph_of_node.shape[0]


def topology(graphs: GraphsTuple) -> Topology:
    """Reads indices and masks from a padded batch."""
    # jraph's masks break on a mix of numpy and traced arrays.
    graphs = jax.tree.map(jnp.asarray, graphs)
    n_nodes = jax.tree.leaves(graphs.nodes)[0].shape[0]
    senders, receivers = _indices(graphs)
    ids = jnp.arange(graphs.n_node.shape[0])
    return Topology(
        senders=senders,
        receivers=receivers,
        graph_of_node=jnp.repeat(ids, graphs.n_node, total_repeat_length=n_nodes),
        graph_of_edge=jnp.repeat(ids, graphs.n_edge, total_repeat_length=senders.shape[0]),
        n_node=graphs.n_node,
        node_mask=cast(Any, jraph.get_node_padding_mask(graphs)),
        graph_mask=cast(Any, jraph.get_graph_padding_mask(graphs)),
    )


def _indices(graphs: GraphsTuple) -> tuple[Any, Any]:
    if graphs.senders is None or graphs.receivers is None:
        raise ValueError("a molecular graph has senders and receivers, if of length 0")
    return graphs.senders, graphs.receivers


def pool_nodes(x: Float[Array, "n d"], topology: Topology, *, how: str) -> Float[Array, "g d"]:
    """Sum or mean over the atoms of each molecule."""
    total = jraph.segment_sum(x, topology.graph_of_node, topology.n_graphs, indices_are_sorted=True)
    return total if how == "sum" else total / jnp.maximum(topology.n_node, 1)[:, None]


def max_nodes(x: Float[Array, "n d"], topology: Topology) -> Float[Array, "g d"]:
    """Maximum over the atoms of each molecule; zeros for one without atoms."""
    largest = jraph.segment_max(
        x, topology.graph_of_node, topology.n_graphs, indices_are_sorted=True
    )
    return jnp.where(topology.n_node[:, None] > 0, largest, 0.0)


def pool_edges(x: Float[Array, "e d"], topology: Topology) -> Float[Array, "g d"]:
    """Sum over the directed bonds of each molecule."""
    return jraph.segment_sum(x, topology.graph_of_edge, topology.n_graphs, indices_are_sorted=True)


def sum_at(x: Float[Array, "e d"], nodes: Int[Array, " e"], n_nodes: int) -> Float[Array, "n d"]:
    """Sum of the rows that arrive at each atom."""
    return jraph.segment_sum(x, nodes, n_nodes)
