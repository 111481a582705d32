"""Softmax attention with a backward pass of its own.

The usual one costs XLA transposed copies of the scores, an array of every query by every key, and
more passes over it than needed. Here the scores stay as they lie: the products of the backward
pass transpose the small operand, and the softmax's denominator is applied to small arrays.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attend(
    q: Float[Array, "n t w"], k: Float[Array, "n s w"], v: Float[Array, "n s w"], *, heads: int
) -> Float[Array, "n t w"]:
    """Softmax attention of t queries to s keys, in `heads` heads; scores are float32."""

    def split(a: Array) -> Array:
        return a.reshape(*a.shape[:-1], heads, -1).swapaxes(1, 2)

    scale = (q.shape[-1] // heads) ** -0.5
    return _attend(split(q) * scale, split(k), split(v)).swapaxes(1, 2).reshape(q.shape)


@jax.custom_vjp
def _attend(
    q: Float[Array, "n h t d"], k: Float[Array, "n h s d"], v: Float[Array, "n h s d"]
) -> Float[Array, "n h t d"]:
    return _forward(q, k, v)[0]


def _forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
    scores = _product(q, k, 3, 3)
    e = jnp.exp(scores - scores.max(-1, keepdims=True))
    total = e.sum(-1, keepdims=True)
    e = e.astype(q.dtype)
    out = (_product(e, v, 3, 2) / total).astype(q.dtype)
    return out, (q, k, v, e, total, out)


def _backward(saved: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    q, k, v, e, total, out = saved
    # What the softmax takes off every score's gradient: Σ_s p·dp, which is Σ_d g·out.
    mean = jnp.sum(g.astype(jnp.float32) * out, axis=-1, keepdims=True)
    scaled = (g / total).astype(q.dtype)
    d_scores = (e * (_product(scaled, v, 3, 3) - mean / total)).astype(q.dtype)
    d_q = _product(d_scores, k, 3, 2)
    d_k = _product(q, d_scores, 2, 2).swapaxes(2, 3)
    d_v = _product(scaled, e, 2, 2).swapaxes(2, 3)
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype)


_attend.defvjp(_forward, _backward)


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Sums over one axis of each, image by image and head by head, in float32."""
    axes = (((axis_a,), (axis_b,)), ((0, 1), (0, 1)))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)
