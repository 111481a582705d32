"""Blocks of the encoder and the decoders. Both attend within one image, never across a batch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.models.activation import gelu
from molphenix_jax.models.vit.attention import attend

LAYER_NORM_EPS = 1e-6


def layer_norm(name: str, dtype: Any) -> nn.LayerNorm:
    """LayerNorm as all of this model has it."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPS, dtype=dtype, name=name)


class ParallelBlock(nn.Module):
    """Attention and MLP side by side from one projection (ViT-22B; timm's ParallelScalingBlock).

    One matrix gives [mlp | q | k | v]. Its bias follows timm 0.9.7, whose order is another: the
    vector (zeros of 3·width, `mlp_bias`) is added to (mlp, q, k, v), so the bias reaches the last
    quarter of the MLP units and q, k, v. OpenPhenom was trained so.

    Attributes:
        width: Of the tokens.
        heads: Attention heads.
        expansion: Hidden width of the MLP over `width`.
        drop_path: Share of samples whose block is skipped in training.
        scale_init: Initial factor on the block's output.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    heads: int
    expansion: int = 4
    drop_path: float = 0.0
    scale_init: float = 1e-4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n t w"], train: bool = False) -> Float[Array, "n t w"]:
        """Adds the block's output to its input."""
        width, hidden = self.width, self.expansion * self.width
        y = layer_norm("in_norm", self.dtype)(x)
        y = nn.Dense(hidden + 3 * width, use_bias=False, dtype=self.dtype, name="in_proj")(y)
        bias = self.param("mlp_bias", nn.initializers.zeros, (hidden,))
        y += jnp.concatenate([jnp.zeros(3 * width), bias]).astype(self.dtype)[None, None]
        mlp, q, k, v = jnp.split(y, [hidden, hidden + width, hidden + 2 * width], axis=-1)

        def per_head(a: Array, name: str) -> Array:
            heads = a.reshape(*a.shape[:-1], self.heads, -1)
            return layer_norm(name, self.dtype)(heads).reshape(a.shape)

        attention = attend(per_head(q, "q_norm"), per_head(k, "k_norm"), v, heads=self.heads)
        out = nn.Dense(width, dtype=self.dtype, name="attn_out")(attention)
        out += nn.Dense(width, dtype=self.dtype, name="mlp_out")(gelu(mlp))
        scale = self.param("scale", nn.initializers.constant(self.scale_init), (width,))
        out *= scale.astype(out.dtype)[None, None]
        keep = 1.0 - self.drop_path
        if train and self.drop_path > 0:
            kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (x.shape[0], 1, 1))
            out = jnp.where(kept, out / keep, 0.0)
        return x + out


class Block(nn.Module):
    """Attention, then MLP, each after a norm and added to its input: the usual ViT block.

    Attributes:
        width: Of the tokens.
        heads: Attention heads.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n t w"]) -> Float[Array, "n t w"]:
        """One block."""
        y = nn.Dense(3 * self.width, dtype=self.dtype, name="qkv")(
            layer_norm("norm1", self.dtype)(x)
        )
        q, k, v = jnp.split(y, 3, axis=-1)
        x = x + nn.Dense(self.width, dtype=self.dtype, name="attn_out")(
            attend(q, k, v, heads=self.heads)
        )
        return x + MLP(self.width, self.dtype, name="mlp")(layer_norm("norm2", self.dtype)(x))


class MLP(nn.Module):
    """Dense to four times the width, GELU, Dense back.

    Attributes:
        width: Of the tokens.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n t w"]) -> Float[Array, "n t w"]:
        """Token by token."""
        h = nn.Dense(4 * self.width, dtype=self.dtype, name="up")(x)
        return nn.Dense(self.width, dtype=self.dtype, name="down")(gelu(h))


class CrossAttention(nn.Module):
    """Queries of one channel look at the tokens of all channels.

    Attributes:
        width: Of the tokens.
        heads: Attention heads.
        dtype: Computation type; parameters stay float32.
    """

    width: int
    heads: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t w"], context: Float[Array, "n s w"]
    ) -> Float[Array, "n t w"]:
        """What t tokens read from s tokens."""
        q = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="q")(x)
        kv = nn.Dense(2 * self.width, use_bias=False, dtype=self.dtype, name="kv")(context)
        k, v = jnp.split(kv, 2, axis=-1)
        return nn.Dense(self.width, dtype=self.dtype, name="out")(attend(q, k, v, heads=self.heads))
