"""MiniMol's network (arXiv 2404.14986): GINE layers and a state of the molecule beside the atoms.

Parity with the published weights: `tests/golden/minimol`. States of bonds stay what they are first,
a function of the few codes that a bond has, so each layer multiplies that table and not the bonds.
"""

import math
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.encoder import Encoded
from molphenix_jax.models.mpnn.first_states import POSITIONAL_WIDTH, CodesDense
from molphenix_jax.models.mpnn.graphs import (
    GraphsTuple,
    Topology,
    max_nodes,
    pool_nodes,
    sum_at,
    topology,
)
from molphenix_jax.models.mpnn.layers import EPSILON, activate

_POSITIONAL_HIDDEN = 64
# Channels of the atoms before the first layer, and of the MLP of the bonds.
_FIRST_WIDTH = 128


class GINEEncoder(nn.Module):
    """From a padded batch to one vector per molecule: the maximum over its atoms.

    Attributes:
        config: Its sizes; `network` is minimol. Norms, positions, pooling and virtual node are
            MiniMol's whatever their fields say.
        dtype: Computation type; embeddings leave as float32.
    """

    config: MPNNConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, graphs: GraphsTuple, *, train: bool = False) -> Encoded:
        """Embeds the molecules of one padded batch; see `MoleculeEncoder`.

        Args:
            graphs: Of the convention "minimol".
            train: Switches on dropout (stream `dropout`).
        """
        c, d = self.config, self.dtype
        t = topology(graphs)
        nodes, edges = cast(Any, graphs.nodes), cast(Any, graphs.edges)
        position = _Laplacian(d, name="laplacian")(nodes["lap_vectors"], nodes["lap_values"])
        position = position + _Walks(d, name="rwse")(nodes["rwse"])
        x = _First(c.node_codes, 2 * _FIRST_WIDTH, _FIRST_WIDTH, c.dropout, d, name="nodes_in")(
            nodes["codes"], position, train=train
        )
        bonds = _First(c.edge_codes, _FIRST_WIDTH, c.edge_width, c.dropout, d, name="edges_in")(
            _all_codes(c.edge_codes), None, train=train
        )
        bond = _number(edges["codes"], c.edge_codes)
        molecules = jnp.zeros((t.n_graphs, c.width), d)
        layer = nn.remat(_Layer, static_argnums=(5,)) if c.remat else _Layer
        layers, before = {}, None
        for i in range(c.depth):
            last = i == c.depth - 1
            out_width = c.out_width if last else c.width
            h = layer(c, out_width, d, name=f"layer_{i}")(x, bonds, bond, t, train)
            # What the molecule's state adds is read by the next layer, and not carried further.
            x = h if before is None or last else h + before
            layers[f"layer_{i}"] = pool_nodes(x, t, how="mean").astype(jnp.float32)
            if not last:
                before = x
                molecules, told = _Molecule(c, d, name=f"molecule_{i}")(x, molecules, t, train)
                x = x + told[t.graph_of_node]
        embedding = max_nodes(x, t).astype(jnp.float32)
        layers["graph"] = embedding
        return Encoded(x, embedding, layers, t.node_mask, t.graph_mask)


def _all_codes(sizes: tuple[int, ...]) -> UInt8[Array, "b c"]:
    """Every row of codes that there can be, in the order of `_number`."""
    places = jnp.indices(sizes, dtype=jnp.uint8)
    return places.reshape(len(sizes), -1).T


def _number(codes: UInt8[Array, "e c"], sizes: tuple[int, ...]) -> Int[Array, " e"]:
    """Which row of `_all_codes` each row of codes is."""
    steps = jnp.asarray([math.prod(sizes[i + 1 :]) for i in range(len(sizes))], jnp.int32)
    return (jnp.asarray(codes).astype(jnp.int32) * steps[None, :]).sum(axis=1)


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
    # The variance in two passes, as PyTorch: in one, large means cost digits.
    return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, use_fast_variance=False, name=name)


class _Walks(nn.Module):
    """MLP over the return probabilities, a norm before each dense layer and after the last."""

    dtype: Any

    @nn.compact
    def __call__(self, rwse: Float[Array, "n k"]) -> Float[Array, "n p"]:
        h = _norm(self.dtype, "norm_in")(rwse)
        h = nn.Dense(_POSITIONAL_HIDDEN, dtype=self.dtype, name="hidden")(h)
        h = nn.relu(_norm(self.dtype, "norm")(h))
        h = nn.Dense(POSITIONAL_WIDTH, dtype=self.dtype, name="out")(h)
        return nn.relu(_norm(self.dtype, "norm_out")(h))


class _Laplacian(nn.Module):
    """DeepSet over (eigenvalue, component) pairs; absent ones, all zero, count as well."""

    dtype: Any

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "n k"], values: Float[Array, "n k"]
    ) -> Float[Array, "n p"]:
        h = jnp.stack([values, vectors], axis=2)
        for name in ("pair", "hidden"):
            h = nn.Dense(_POSITIONAL_HIDDEN, dtype=self.dtype, name=name)(h)
        h = nn.Dense(_POSITIONAL_HIDDEN, dtype=self.dtype, name="out")(nn.relu(h)).sum(axis=1)
        return nn.Dense(POSITIONAL_WIDTH, dtype=self.dtype, name="post")(h)


class _First(nn.Module):
    """Codes and position → dense → norm → relu → dense → norm."""

    sizes: tuple[int, ...]
    hidden_width: int
    out_width: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self, codes: UInt8[Array, "n c"], position: Float[Array, "n p"] | None, *, train: bool
    ) -> Float[Array, "n d"]:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        h = CodesDense(self.sizes, self.hidden_width, self.dtype, name="codes")(codes)
        bias = self.param("bias", nn.initializers.zeros, (self.hidden_width,))
        h = h + bias.astype(self.dtype)[None, :]
        if position is not None:
            dense = nn.Dense(self.hidden_width, use_bias=False, dtype=self.dtype, name="position")
            h = h + dense(position)
        h = nn.relu(drop(_norm(self.dtype, "norm")(h)))
        return drop(
            _norm(self.dtype, "norm_out")(nn.Dense(self.out_width, dtype=self.dtype, name="out")(h))
        )


class _Layer(nn.Module):
    """GINE (arXiv 1905.12265): an MLP over (1 + ε) x and what neighbours say through bonds."""

    config: MPNNConfig
    out_width: int
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n d"],
        bonds: Float[Array, "b k"],
        bond: Int[Array, " e"],
        t: Topology,
        train: bool,
    ) -> Float[Array, "n c"]:
        """New states of the atoms, without residuals; `bond` is each bond's row of `bonds`."""
        width = x.shape[1]
        drop = nn.Dropout(self.config.dropout, deterministic=not train)
        eps = self.param("eps", nn.initializers.zeros, ())
        through = nn.Dense(width, dtype=self.dtype, name="bond")(bonds)[bond]
        said = sum_at(nn.relu(x[t.senders] + through), t.receivers, t.n_nodes)
        h = nn.Dense(width, dtype=self.dtype, name="hidden")(
            (1 + eps.astype(self.dtype)) * x + said
        )
        h = activate(drop(_norm(self.dtype, "norm_hidden")(h)), self.config.activation)
        h = nn.Dense(self.out_width, dtype=self.dtype, name="out")(h)
        return drop(activate(_norm(self.dtype, "norm")(h), self.config.activation))


class _Molecule(nn.Module):
    """A molecule's state, and what its atoms are told of it."""

    config: MPNNConfig
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], state: Float[Array, "g d"], t: Topology, train: bool
    ) -> tuple[Float[Array, "g d"], Float[Array, "g d"]]:
        """The next state, and what is added to each atom."""
        drop = nn.Dropout(self.config.dropout, deterministic=not train)
        size = jnp.log(jnp.maximum(t.n_node, 1).astype(self.dtype))
        pooled = pool_nodes(x, t, how="mean") * size[:, None]
        h = nn.Dense(self.config.width, dtype=self.dtype, name="state")(state + pooled)
        h = activate(drop(_norm(self.dtype, "norm")(h)), self.config.activation)
        state = state + h
        return state, nn.Dense(self.config.width, dtype=self.dtype, name="told")(state)
