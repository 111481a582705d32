"""Products are counted as often as they run, on all devices."""

import jax
import jax.numpy as jnp
import pytest

from molphenix_jax.bench import step
from molphenix_jax.pods.products import product_flops
from molphenix_jax.runtime import mesh as meshes

SQUARE = jnp.zeros((8, 8))
ONE = 2 * 8**3


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda a: a @ a, 1),
        (lambda a: a + a, 0),
        (lambda a: jax.lax.fori_loop(0, 5, lambda _, b: a @ b, a), 5),
        (lambda a: jax.lax.fori_loop(0, a[0, 0].astype(int), lambda _, b: a @ b, a), 1),
        (lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a), 2),
        (jax.jit(jax.grad(lambda a: (a @ SQUARE).sum())), 1 + 1),
        (jax.checkpoint(lambda a: a @ a), 1),
        (lambda a: jax.vmap(lambda b: a @ b)(jnp.stack([a, a])), 2),
    ],
)
def test_they_are_counted(function, products):
    assert product_flops(jax.make_jaxpr(function)(SQUARE)) == products * ONE


def test_every_device_counts():
    spread = jax.sharding.PartitionSpec(meshes.DATA_AXIS)
    local = jax.shard_map(
        lambda a: a @ a.T @ a, mesh=meshes.make_mesh(4), in_specs=spread, out_specs=spread
    )
    assert product_flops(jax.make_jaxpr(local)(jnp.zeros((8, 8)))) == 4 * 2 * (2 * 2 * 2 * 8)


def test_a_convolution_is_its_products():
    image, kernel = jnp.zeros((2, 10, 10, 3)), jnp.zeros((3, 3, 3, 7))

    def convolve(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert product_flops(jax.make_jaxpr(convolve)(image)) == 2 * (2 * 10 * 10) * (3 * 3 * 3) * 7


def test_a_step_has_what_is_counted_from_its_weights():
    setting = step.StepCase(batch=64, size="small", profile_width=64)
    config = step.make_config(setting)
    run = step.make_run(setting, config)
    params = jax.eval_shape(run.init, jax.random.key(0))
    counted = product_flops(
        jax.make_jaxpr(
            jax.grad(lambda p: run.loss(p, run.batch(0), run.tables, jax.random.key(0))[0])
        )(params)
    )
    assert counted == pytest.approx(1e12 * step.step_tflop(params, run, config), rel=0.02)
