"""Parts that the layers share: a dense layer over gathered inputs, MLP, norms, the muP readout."""

import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from molphenix_jax.models.activation import gelu

# PyTorch's, so that graphium's layers come out the same.
EPSILON = 1e-5

_ACTIVATIONS = {
    "relu": nn.relu,
    "gelu": gelu,
}

# A part of a concatenated input: rows, and where each output row takes its own from (None: as is).
Part = tuple[Float[Array, "_ _"], Int[Array, " _"] | None]


def activate(x: Array, name: str) -> Array:
    """Applies an activation by its name in the config."""
    return _ACTIVATIONS[name](x)


class GatherDense(nn.Module):
    """A dense layer over the concatenation of gathered parts.

    A part is multiplied by its slice of the kernel first and gathered then: with two atoms to a
    bond that is half the arithmetic of gathering first, and the same result. Neighbouring parts
    that are taken as they are go into one product, since thin ones are slow.

    Attributes:
        features: Output size.
        dtype: Computation type; parameters stay float32.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, parts: Sequence[Part]) -> Float[Array, "n d"]:
        """Returns concat(x[index] for each part) @ kernel + bias."""
        n_inputs = sum(x.shape[-1] for x, _ in parts)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (n_inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel.astype(self.dtype)
        total, start = bias.astype(self.dtype)[None, :], 0
        for x, indices in _joined(parts):
            width = x.shape[-1]
            kernels = [kernel[start + i * width :][:width] for i in range(len(indices))]
            product = x.astype(self.dtype) @ jnp.concatenate(kernels, axis=1)
            for each, index in zip(jnp.split(product, len(indices), axis=1), indices, strict=True):
                total = total + (each if index is None else each[index])
            start += width * len(kernels)
        return total


def _joined(parts: Sequence[Part]) -> list[tuple[Array, Sequence[Array | None]]]:
    """Inputs of one product each: neighbours taken as they are, or the same rows gathered twice."""
    joined: list[tuple[Array, Sequence[Array | None]]] = []
    for _, group in itertools.groupby(parts, key=lambda p: None if p[1] is None else id(p[0])):
        xs, indices = zip(*group, strict=True)
        as_is = indices[0] is None
        joined.append((jnp.concatenate(xs, axis=1), [None]) if as_is else (xs[0], indices))
    return joined


class Norm(nn.Module):
    """Layer norm of each row, or graph norm over the rows of each molecule (arXiv 2009.03294).

    Neither sees another molecule or padding: padding rows belong to graphs of their own.

    Attributes:
        kind: layer or graph.
        dtype: Type of the output; statistics are float32.
    """

    kind: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], graph: Int[Array, " n"], n_graphs: int
    ) -> Float[Array, "n d"]:
        """Normalises rows that belong to the molecules `graph` (sorted)."""
        if self.kind == "layer":
            return nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name="norm")(x)
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        x = x.astype(jnp.float32)
        ones = jnp.ones((x.shape[0], 1))
        count = jnp.maximum(_segment_sum(ones, graph, n_graphs), 1)
        mean = _segment_sum(x, graph, n_graphs) / count
        # How much of the mean is taken away is learnt.
        centred = x - _Scale(name="mean")(mean)[graph]
        variance = _segment_sum(centred**2, graph, n_graphs) / count
        normal = centred * jax.lax.rsqrt(variance + EPSILON)[graph]
        return (normal * scale[None, :] + bias[None, :]).astype(self.dtype)


class _Scale(nn.Module):
    """A learnt factor for each column."""

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return x * self.param("scale", nn.initializers.ones, (x.shape[-1],))[None, :]


def _segment_sum(x: Array, segments: Array, n: int) -> Array:
    return jax.ops.segment_sum(x, segments, n, indices_are_sorted=True)


class MLP(nn.Module):
    """Dense → norm → activation → dense → dropout, as graphium's MLP of depth 2.

    Attributes:
        hidden_width: Width in between.
        out_width: Output width.
        activation: Between the two.
        norm: Kind of norm after the first dense layer; empty for none.
        dropout: After the last dense layer.
        hidden_dropout: After the first one's norm.
        dtype: Computation type.
    """

    hidden_width: int
    out_width: int
    activation: str
    norm: str = "layer"
    dropout: float = 0.0
    hidden_dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, parts: Sequence[Part], graph: Int[Array, " n"], n_graphs: int, *, train: bool
    ) -> Float[Array, "n d"]:
        """Maps the concatenated parts, whose rows belong to the molecules `graph`."""
        h = GatherDense(self.hidden_width, self.dtype, name="hidden")(parts)
        if self.norm:
            h = Norm(self.norm, self.dtype, name="norm")(h, graph, n_graphs)
        h = nn.Dropout(self.hidden_dropout, deterministic=not train)(h)
        h = activate(h, self.activation)
        h = nn.Dense(self.out_width, dtype=self.dtype, name="out")(h)
        return nn.Dropout(self.dropout, deterministic=not train)(h)


class Readout(nn.Module):
    """The last dense layer under muP: its output shrinks as the width grows (`config`).

    Attributes:
        features: Output size, which does not grow.
        width_ratio: Width over the base width.
    """

    features: int
    width_ratio: float

    @nn.compact
    def __call__(self, x: Float[Array, "n k"]) -> Float[Array, "n d"]:
        """Float32 in any case: losses are computed on it."""
        init = nn.initializers.variance_scaling(self.width_ratio, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x.astype(jnp.float32) @ kernel / self.width_ratio + bias[None, :]
