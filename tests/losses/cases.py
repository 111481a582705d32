"""A small batch for the losses: related profiles, padded rows that hold rubbish."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from molphenix_jax.losses import make_loss
from tests.losses import reference

SCALE, BIAS, NULL_CONSTANT = 9.0, -3.0, 6.0
# Most of the time of these tests would be LLVM's; numbers do not depend on it.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
CASES = {
    "clip": ("clip", {}),
    "hopfield_clip": ("hopfield_clip", {}),
    "infoloob": ("infoloob", {}),
    "cloome": ("cloome", {"beta": 5.0}),
    "dcl": ("dcl", {}),
    "cwcl": ("cwcl", {}),
    "siglip": ("siglip", {}),
    "s2l": ("s2l", {"threshold": 0.4}),
    "s2l-pair": ("s2l", {"threshold": 0.4, "null": "pair"}),
    "s2l-mixture": ("s2l", {"form": "mixture", "threshold": 0.4}),
}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs in float32, and which rows are real."""

    z_x: np.ndarray
    z_m: np.ndarray
    profile: np.ndarray
    mask: np.ndarray

    def real(self) -> "Batch":
        rows = self.mask
        return Batch(self.z_x[rows], self.z_m[rows], self.profile[rows], self.mask[rows])


def unit(a):
    return (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32)


def make_batch(n=24, padded=(3, 17, 23), d=6, p=5, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, p)) * 1.5
    profile = centres[rng.integers(0, 6, n)] + 0.4 * rng.normal(size=(n, p)) + 2.0
    z_x = unit(rng.normal(size=(n, d)))
    z_m = unit(0.7 * z_x + 0.6 * rng.normal(size=(n, d)) / np.sqrt(d))
    mask = np.ones(n, bool)
    mask[list(padded)] = False
    batch = Batch(z_x, z_m, profile.astype(np.float32), mask)
    batch.z_x[~mask] = np.nan
    batch.z_m[~mask] = 1e30
    batch.profile[~mask] = np.inf
    return batch


@functools.lru_cache
def expected(case: str):
    """Value and gradients of the padded batch by the float64 reference."""
    name, options = CASES[case]
    batch = make_batch()
    real = batch.real()
    x, m, profile = (np.asarray(a, np.float64) for a in (real.z_x, real.z_m, real.profile))
    given = {
        "scale": SCALE,
        "bias": BIAS,
        "profile": profile,
        "null_constant": NULL_CONSTANT,
        **options,
    }
    value = reference.evaluate(name, x, m, **given)
    g_x, g_m, g_scale, g_bias = reference.gradients(name, x, m, **given)
    padded_x, padded_m = np.zeros(batch.z_x.shape), np.zeros(batch.z_m.shape)
    padded_x[batch.mask], padded_m[batch.mask] = g_x, g_m
    return value, (padded_x, padded_m, g_scale, g_bias)


def ring_of(devices: int):
    return jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )


def value_and_grad(case: str, batch: Batch, *, masked=True, dtype=np.float32, **execution):
    """((value, metrics), gradients in z_x, z_m, scale, bias) of a loss on a batch, jitted."""
    name, options = CASES[case]
    loss = make_loss(name, **execution, **options)

    def run(z_x, z_m, scale, bias, profile, mask):
        return loss(
            z_x,
            z_m,
            scale=scale,
            bias=bias,
            profile=profile,
            null_constant=NULL_CONSTANT,
            mask=mask if masked else None,
        )

    step = jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2, 3), has_aux=True))
    inputs = (
        jnp.asarray(batch.z_x, dtype),
        jnp.asarray(batch.z_m, dtype),
        jnp.float32(SCALE),
        jnp.float32(BIAS),
        jnp.asarray(batch.profile),
        jnp.asarray(batch.mask),
    )
    return jax.device_get(step.lower(*inputs).compile(compiler_options=QUICK)(*inputs))
