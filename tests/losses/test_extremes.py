"""Logits at their limits: nothing overflows, nothing is NaN, in either precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses import make_loss
from tests.losses import cases


def batches():
    rng = np.random.default_rng(0)
    apart = cases.unit(rng.normal(size=(8, 4)))
    same = np.tile(cases.unit(np.ones((1, 4))), (8, 1))
    return {
        "matched": (apart, apart),
        "opposite": (apart, -apart),
        "identical": (same, same),
        "one row": (apart[:1], apart[:1]),
    }


# Streams are shared by a family: one of each here, all in `make soak`.
FAMILIES = ("cwcl", "cloome", "s2l-mixture")
CHECKS = [
    pytest.param(
        case,
        execution,
        marks=pytest.mark.slow if execution == "dense" or case in FAMILIES else pytest.mark.soak,
    )
    for case in cases.CASES
    for execution in ("dense", "chunked", "ring")
]


@pytest.mark.long
@pytest.mark.parametrize(("case", "execution"), CHECKS)
def test_finite(case, execution):
    name, options = cases.CASES[case]
    mesh = cases.ring_of(1) if execution == "ring" else None
    chunk_size = 0 if execution == "dense" else 3
    loss = make_loss(name, execution=execution, chunk_size=chunk_size, mesh=mesh, **options)

    @jax.jit
    def step(z_x, z_m, scale, bias, profile, mask):
        def value(*inputs):
            return loss(
                *inputs[:2],
                scale=inputs[2],
                bias=inputs[3],
                profile=profile,
                null_constant=6.0,
                mask=mask,
            )

        return jax.value_and_grad(value, argnums=(0, 1, 2, 3), has_aux=True)(z_x, z_m, scale, bias)

    for dtype in (jnp.float32, jnp.bfloat16):
        z, scalar = jnp.zeros((8, 4), dtype), jnp.zeros(())
        inputs = (z, z, scalar, scalar, z.astype(jnp.float32), jnp.ones(8, bool))
        compiled = step.lower(*inputs).compile(compiler_options=cases.QUICK)
        # One compiled function for all: fewer rows than eight are padding.
        for label, (z_x, z_m) in batches().items():
            n = len(z_x)
            mask = jnp.arange(8) < n
            pad = ((0, 8 - n), (0, 0))
            for scale, bias in ((100.0, 0.0), (100.0, -100.0), (100.0, 100.0), (1e-3, 0.0)):
                result = compiled(
                    jnp.asarray(np.pad(z_x, pad), dtype),
                    jnp.asarray(np.pad(z_m, pad), dtype),
                    jnp.float32(scale),
                    jnp.float32(bias),
                    jnp.asarray(np.pad(z_x, pad)),
                    mask,
                )
                for leaf in jax.tree.leaves(result):
                    assert np.isfinite(np.asarray(leaf, np.float32)).all(), (label, dtype, scale)
                if n == 1 and name in ("dcl", "infoloob", "cloome"):
                    assert float(result[0][0]) == 0.0  # nothing to be told apart from


def test_a_batch_of_padding_alone_is_zero():
    z = jnp.ones((4, 3)) / np.sqrt(3.0)
    for name in ("clip", "dcl", "siglip", "hopfield_clip"):
        loss = jax.jit(functools.partial(make_loss(name), scale=10.0, bias=0.0))
        assert float(loss(z, z, mask=jnp.zeros(4, bool))[0]) == 0.0


def test_confident_siglip_pairs_keep_their_small_loss():
    """-log σ(l) at l = 20 is 2e-9; computed as 1 - σ it would be 0."""
    z = jnp.ones((1, 1))
    value, _ = make_loss("siglip")(z, z, scale=20.0, bias=0.0)
    assert float(value) == pytest.approx(np.exp(-20.0), rel=1e-5)
