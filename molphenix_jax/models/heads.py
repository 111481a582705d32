"""Residual projection heads: both towers are stacks of pre-norm residual MLP blocks.

Sources and sizes: docs/method.md §4. No layer looks across the batch, so an embedding depends on
its own input alone.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.parts import Parts, define, register

_ATTRIBUTES = ("width", "n_blocks", "dim", "input_dropout", "dropout", "dtype")


class ResidualBlock(nn.Module):
    """LayerNorm → Dense → GELU → dropout → Dense, plus the input (docs/method.md §14 row 24).

    Attributes:
        width: Size of the input and the output.
        expansion: Hidden size over `width`.
        dropout: Share of hidden units dropped in training.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    expansion: int = 2
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n w"], *, train: bool) -> Float[Array, "n w"]:
        """Returns the input plus its transformation."""
        h = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        h = nn.Dense(self.expansion * self.width, dtype=self.dtype, name="up")(h)
        h = nn.gelu(h)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + nn.Dense(self.width, dtype=self.dtype, name="down")(h)


class ResidualHead(nn.Module):
    """Input dropout, Dense to `width`, `n_blocks` residual blocks, LayerNorm, Dense to `dim`.

    Attributes:
        width: Size of the residual stream.
        n_blocks: Number of residual blocks.
        dim: Size of the output embedding.
        expansion: Hidden size of a block over `width`.
        input_dropout: Share of input features dropped in training.
        dropout: Share of hidden units dropped in training.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    n_blocks: int
    dim: int
    expansion: int = 2
    input_dropout: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n k"], *, train: bool) -> Float[Array, "n d"]:
        """Maps features [n, k] to embeddings [n, dim], not yet normalised."""
        h = nn.Dropout(self.input_dropout, deterministic=not train)(x.astype(self.dtype))
        h = nn.Dense(self.width, dtype=self.dtype, name="project_in")(h)
        for i in range(self.n_blocks):
            h = ResidualBlock(
                self.width, self.expansion, self.dropout, self.dtype, name=f"block_{i}"
            )(h, train=train)
        h = nn.LayerNorm(dtype=self.dtype, name="norm")(h)
        return nn.Dense(self.dim, dtype=self.dtype, name="project_out")(h)


def _problem(spec: Any) -> str:
    module = isinstance(spec, type) and issubclass(spec, nn.Module)
    has = {field.name for field in dataclasses.fields(spec)} if module else set()
    if module and not {*_ATTRIBUTES} - has:
        return ""
    return f"must be a class of Flax modules with the attributes {', '.join(_ATTRIBUTES)}"


# Each is called as `ResidualHead` is: features [n, k] and `train` to [n, dim], row by row.
HEADS: Parts[type[nn.Module]] = define("head", _problem)
register("head", "residual", ResidualHead)
