"""Attention between all atoms of a molecule, biased by their distance along bonds.

GPS++ biases its attention by 3-D distances through Gaussian kernels. Conformers are no part of what
this project prepares, so the bias here is by the number of bonds on the shortest path between two
atoms: one learnt number for each head and distance (Graphormer, arXiv 2106.05234).
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from molphenix_jax.models.mpnn.graphs import Topology

# Paths of more bonds than this share one bias.
MAX_PATH = 8


class DenseView(NamedTuple):
    """Molecules as rows of m atoms, for attention; made once for all layers.

    Attributes:
        node: Atom at each place.
        place: Row-major place of each atom; what lies beyond m atoms has the last place.
        mask: True where there is an atom.
        path: Bonds between two places, 0 to MAX_PATH; MAX_PATH + 1 for more or no path.
    """

    node: Int[Array, "g m"]
    place: Int[Array, " n"]
    mask: Bool[Array, "g m"]
    path: Int[Array, "g m m"]


def dense_view(t: Topology, *, max_nodes: int) -> DenseView:
    """Lays the molecules out densely and finds the shortest paths.

    Args:
        t: The batch.
        max_nodes: Atoms of the largest real molecule, at least.
    """
    starts = jnp.cumsum(t.n_node) - t.n_node
    within = jnp.arange(max_nodes)
    real = t.n_node * t.graph_mask
    mask = within[None, :] < real[:, None]
    node = jnp.where(mask, starts[:, None] + within[None, :], t.n_nodes - 1)
    position = jnp.minimum(jnp.arange(t.n_nodes) - starts[t.graph_of_node], max_nodes - 1)
    place = t.graph_of_node * max_nodes + position

    # Padding bonds join padding atoms, whose places are masked wherever paths are used.
    step = jnp.zeros((t.n_graphs, max_nodes, max_nodes), jnp.float32)
    step = step.at[t.graph_of_edge, position[t.senders], position[t.receivers]].max(1.0)
    reached = jnp.broadcast_to(jnp.eye(max_nodes)[None], step.shape)
    path = jnp.zeros(step.shape, jnp.int32)
    for _ in range(MAX_PATH + 1):
        path = path + (reached == 0)
        reached = jnp.minimum(reached + reached @ step, 1.0)
    return DenseView(node, place, mask, path)


class _PathBias(nn.Module):
    """One number for each path length and head."""

    n_heads: int

    @nn.compact
    def __call__(self, path: Int[Array, "g m m"]) -> Float[Array, "g h m m"]:
        table = self.param("bias", nn.initializers.zeros, (MAX_PATH + 2, self.n_heads))
        return jnp.moveaxis(table[path], -1, 1)


class BiasedAttention(nn.Module):
    """Multi-head attention within each molecule.

    Attributes:
        n_heads: Divides the width.
        dropout: Of the attention weights in training.
        dtype: Computation type; the softmax is float32.
    """

    n_heads: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], view: DenseView, *, train: bool
    ) -> Float[Array, "n d"]:
        """Returns what each atom gathers; padding atoms get values that mean nothing."""
        width = x.shape[1]
        head = width // self.n_heads
        g, m = view.node.shape
        qkv = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(x)[view.node]
        q, k, v = jnp.split(qkv.reshape(g, m, 3 * self.n_heads, head), 3, axis=2)
        # 1/head and not its root: muP, as graphium's MultiheadAttentionMup.
        logits = jnp.einsum("gqhc,gkhc->ghqk", q, k).astype(jnp.float32) / head
        logits = logits + _PathBias(self.n_heads, name="path")(view.path)
        logits = jnp.where(view.mask[:, None, None, :], logits, -1e30)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
        gathered = jnp.einsum("ghqk,gkhc->gqhc", weights, v).reshape(g * m, width)[view.place]
        return nn.Dense(width, dtype=self.dtype, name="out")(gathered)
