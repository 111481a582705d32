"""From the featuriser's arrays to the first states of atoms and bonds (docs/method.md §10).

Codes are one-hot vectors of a small vocabulary; positional encodings say where in the molecule an
atom sits: return probabilities of random walks (RWSE) and eigenvectors of the Laplacian. Their two
encodings are summed and stand beside the atom's codes.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.graphs import Topology
from molphenix_jax.models.mpnn.layers import EPSILON, activate

POSITIONAL_WIDTH = 32
_POSITIONAL_HIDDEN = 64


class CodesDense(nn.Module):
    """A dense layer over one-hot codes side by side, as a sum of kernel rows.

    Attributes:
        sizes: How many values each column of codes can take.
        features: Output size.
        dtype: Computation type.
    """

    sizes: tuple[int, ...]
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, codes: UInt8[Array, "n c"]) -> Float[Array, "n d"]:
        """Sums one row of the kernel for each code."""
        # Each row of the one-hot input holds exactly one 1 per column: that is its fan-in.
        std = len(self.sizes) ** -0.5
        kernel = self.param(
            "kernel", nn.initializers.truncated_normal(std), (sum(self.sizes), self.features)
        )
        one_hot = jnp.concatenate(
            [
                jax.nn.one_hot(codes[:, column], size, dtype=self.dtype)
                for column, size in enumerate(self.sizes)
            ],
            axis=1,
        )
        return one_hot @ kernel.astype(self.dtype)


class RandomWalkEncoder(nn.Module):
    """MLP over the return probabilities of random walks: hidden 64, layer norm, out 32."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rwse: Float[Array, "n k"]) -> Float[Array, "n p"]:
        """Encodes the probabilities of n atoms after 1 to k steps."""
        h = nn.Dense(_POSITIONAL_HIDDEN, dtype=self.dtype, name="hidden")(rwse)
        h = nn.relu(nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(h))
        return nn.Dense(POSITIONAL_WIDTH, dtype=self.dtype, name="out")(h)


class LaplacianEncoder(nn.Module):
    """DeepSet over eigenvectors: (component, eigenvalue) pairs through one MLP, summed, a layer.

    An eigenvector's sign means nothing. In training it is drawn anew for each molecule; otherwise
    the MLP's output is the mean over both signs, which is the expectation of what training saw.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        vectors: Float[Array, "n k"],
        values: Float[Array, "n k"],
        graph: Int[Array, " n"],
        n_graphs: int,
        *,
        train: bool,
    ) -> Float[Array, "n p"]:
        """Encodes n atoms by their components in k eigenvectors; absent ones are all zero."""
        hidden = _PairsDense(_POSITIONAL_HIDDEN, self.dtype, name="hidden")
        # The eigenvalue 0 has a constant vector; an eigenvalue above 0 marks one that is there.
        present = (values > 1e-6).astype(self.dtype)

        def encode(v: Array) -> Array:
            return (nn.relu(hidden(v, values)) * present[:, :, None]).sum(axis=1)

        if train:
            shape = (n_graphs, vectors.shape[1])
            signs = jax.random.rademacher(self.make_rng("dropout"), shape, vectors.dtype)
            summed = encode(vectors * signs[graph])
        else:
            summed = (encode(vectors) + encode(-vectors)) / 2
        # The MLP's second layer is linear: once over the sum, in place of once for each vector.
        out = _SummedDense(POSITIONAL_WIDTH, self.dtype, name="out")(
            summed, present.sum(axis=1, keepdims=True)
        )
        return nn.Dense(POSITIONAL_WIDTH, dtype=self.dtype, name="post")(nn.relu(out))


class _PairsDense(nn.Module):
    """A dense layer over pairs of numbers, as arithmetic: a product with two inputs is too thin."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: Float[Array, "n k"], b: Float[Array, "n k"]) -> Float[Array, "n k d"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (2, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        a, b, kernel, bias = (x.astype(self.dtype) for x in (a, b, kernel, bias))
        a, b = a[:, :, None], b[:, :, None]
        return a * kernel[None, None, 0] + b * kernel[None, None, 1] + bias[None, None, :]


class _SummedDense(nn.Module):
    """The sum of a dense layer over several inputs, from their sum and number."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, total: Float[Array, "n k"], number: Float[Array, "n 1"]) -> Array:
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (total.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return total @ kernel.astype(self.dtype) + number * bias.astype(self.dtype)[None, :]


class _FirstState(nn.Module):
    """Codes and encodings → dense → norm → activation → dense (graphium's pre_nn)."""

    sizes: tuple[int, ...]
    hidden_width: int
    out_width: int
    activation: str
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, codes: Array, position: Float[Array, "n p"] | None, *, train: bool
    ) -> Float[Array, "n d"]:
        h = CodesDense(self.sizes, self.hidden_width, self.dtype, name="codes")(codes)
        if position is not None:
            h = h + nn.Dense(self.hidden_width, dtype=self.dtype, name="position")(position)
        h = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(h)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return nn.Dense(self.out_width, dtype=self.dtype, name="out")(activate(h, self.activation))


class FirstStates(nn.Module):
    """First states of atoms and bonds.

    Attributes:
        config: Of the encoder.
        dtype: Computation type.
    """

    config: MPNNConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, nodes: Mapping[str, Array], edges: Mapping[str, Array], t: Topology, *, train: bool
    ) -> tuple[Float[Array, "n d"], Float[Array, "e k"]]:
        """Encodes the featuriser's arrays of a batch."""
        c = self.config
        encodings = []
        if "rwse" in c.positional:
            encodings.append(RandomWalkEncoder(self.dtype, name="rwse")(nodes["rwse"]))
        if "laplacian" in c.positional:
            encodings.append(
                LaplacianEncoder(self.dtype, name="laplacian")(
                    nodes["lap_vectors"],
                    nodes["lap_values"],
                    t.graph_of_node,
                    t.n_graphs,
                    train=train,
                )
            )
        position = sum(encodings[1:], encodings[0]) if encodings else None
        first = functools.partial(
            _FirstState, activation=c.activation, dropout=c.dropout, dtype=self.dtype
        )
        atoms = first(c.node_codes, 2 * c.width, c.width, name="nodes_in")(
            nodes["codes"], position, train=train
        )
        bonds = first(c.edge_codes, 2 * c.edge_width, c.edge_width, name="edges_in")(
            edges["codes"], None, train=train
        )
        return atoms, bonds
