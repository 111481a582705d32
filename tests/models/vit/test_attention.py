"""Attention whose backward pass is written by hand, against JAX's own and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models.vit.attention import attend

HEADS = 4


def reference(q, k, v):
    split = lambda a: a.reshape(*a.shape[:-1], HEADS, -1)  # noqa: E731
    return jax.nn.dot_product_attention(split(q), split(k), split(v)).reshape(q.shape)


@pytest.fixture
def operands():
    """Queries, keys, values (more keys than queries), and the gradient of the output."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(3, 7, 32), (3, 11, 32), (3, 11, 32), (3, 7, 32)]
    return [2.0 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 3e-2)])
def test_output_and_gradients_equal_those_of_jax(operands, dtype, tolerance):
    *qkv, g = (a.astype(dtype) for a in operands)
    want, want_back = jax.vjp(reference, *(a.astype(jnp.float32) for a in qkv))
    got, got_back = jax.vjp(lambda q, k, v: attend(q, k, v, heads=HEADS), *qkv)
    pairs = [(got, want), *zip(got_back(g), want_back(g.astype(jnp.float32)), strict=True)]
    for ours, theirs in pairs:
        assert ours.dtype == dtype
        worst = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs)).max()
        assert worst <= tolerance * np.abs(theirs).max()


def test_large_scores_neither_overflow_nor_invent_a_gradient(operands):
    q, k, v, g = operands

    def gradients(of):
        return jax.jit(lambda g, *qkv: jax.vjp(of, *qkv)[1](g))(g, 1e3 * q, k, v)

    ours, theirs = gradients(lambda q, k, v: attend(q, k, v, heads=HEADS)), gradients(reference)
    # With nearly all weight on one key the gradients of queries and keys nearly vanish; what is
    # left is the rounding of products of these sizes, here some 30 times 1e-7 each.
    for a, b, size in zip(ours, theirs, (1.0, 1e3, 1.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-5 * size)
