"""Every loss at every scale that a run reaches, against float64: logarithms of almost nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses import make_loss
from molphenix_jax.losses.sigmoid import mixture_pairs
from tests.losses import cases, reference

N, D = 7, 3
SCALES = ((1.0, 0.0), (30.0, -10.0), (100.0, 0.0), (100.0, -100.0))
CASES = {
    **cases.CASES,
    "s2l-0": ("s2l", {"threshold": 0.0}),
    "s2l-mixture-0": ("s2l", {"form": "mixture", "threshold": 0.0}),
}
FIRST = [("dense", "s2l-mixture-0"), ("eager", "s2l-mixture-0")]  # where it was wrong
# Compiling dominates: half precision, eager, and the ring of one device, which streams as chunks
# do, for what differs in kind; the rest in `make soak`.
KINDS = ("clip", "cloome", "s2l", "s2l-mixture-0")


def marked(execution, case, dtype):
    if (execution, case) in FIRST and dtype == jnp.float32:
        return pytest.param(execution, case, dtype)
    often = case in KINDS or (execution in ("dense", "chunked") and dtype == jnp.float32)
    return pytest.param(
        execution, case, dtype, marks=pytest.mark.slow if often else pytest.mark.soak
    )


CHECKS = [
    marked(execution, case, dtype)
    for dtype in (jnp.float32, jnp.bfloat16)
    for execution in ("dense", "chunked", "ring", "eager")
    for case in CASES
]


def batch(dtype):
    """Profiles beyond the null median (w = 0), twice the same (w = 1), and molecules at odds."""
    rng = np.random.default_rng(0)
    profile = 2.0 * rng.normal(size=(N, 6))
    profile[0] *= 20.0
    profile[5] = profile[4]
    x = cases.unit(rng.normal(size=(N, D)))
    m = cases.unit(x + 0.3 * rng.normal(size=(N, D)))
    m[3], m[4] = -x[3], -x[5]
    x, m = (np.asarray(jnp.asarray(a, dtype), np.float32) for a in (x, m))
    return x, m, profile.astype(np.float32)


@functools.cache
def expected(case, dtype, scale, bias):
    name, options = CASES[case]
    x, m, profile = (a.astype(np.float64) for a in batch(dtype))
    given = {"scale": scale, "bias": bias, "profile": profile, "null_constant": 6.0, **options}
    return reference.evaluate(name, x, m, **given), reference.gradients(name, x, m, **given)


@pytest.mark.long
@pytest.mark.parametrize(("execution", "case", "dtype"), CHECKS)
def test_value_and_gradients(execution, case, dtype):
    name, options = CASES[case]
    x, m, profile = batch(dtype)
    plan = {
        "ring": {"execution": "ring", "mesh": cases.ring_of(1), "chunk_size": 3},
        "chunked": {"execution": "chunked", "chunk_size": 3},
    }.get(execution, {})
    loss = make_loss(name, **plan, **options)

    def value(z_x, z_m, scale, bias):
        return loss(
            z_x, z_m, scale=scale, bias=bias, profile=jnp.asarray(profile), null_constant=6.0
        )[0]

    step = jax.value_and_grad(value, argnums=(0, 1, 2, 3))
    if execution != "eager":
        step = jax.jit(step)
    for scale, bias in SCALES:
        want, want_gradients = expected(case, dtype, scale, bias)
        got, gradients = step(
            jnp.asarray(x, dtype), jnp.asarray(m, dtype), jnp.float32(scale), jnp.float32(bias)
        )
        assert float(got) == pytest.approx(want, rel=2e-5, abs=1e-6), (scale, bias)
        rtol = 2e-3 if dtype == jnp.float32 else 2e-2
        for a, b in zip(gradients, want_gradients, strict=True):
            atol = rtol * max(np.abs(b).max(), 1e-3)
            np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
def test_a_logit_of_exactly_zero_has_a_slope(w):
    """-log[w σ(l) + (1 - w) σ(-l)] has slope 1/2 - w at l = 0."""
    slope = jax.grad(lambda logit: mixture_pairs(logit, jnp.full((1, 1), w)).sum())(
        jnp.zeros((1, 1))
    )
    assert float(slope[0, 0]) == pytest.approx(0.5 - w)
