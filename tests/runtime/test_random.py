import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.runtime.random import unrolled

DRAWS = {
    "bits": lambda key: jax.random.bits(key, (7, 33)),
    "one": lambda key: jax.random.bits(key, ()),
    "none": lambda key: jax.random.bits(key, (0, 3)),
    "bits of 8": lambda key: jax.random.bits(key, (5,), "uint8"),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.2, (1000,)),
    "normal": lambda key: jax.random.normal(key, (3, 5)),
    "permutation": lambda key: jax.random.permutation(key, 50),
    "split": lambda key: jax.vmap(lambda k: jax.random.bits(k, (4,)))(jax.random.split(key, 3)),
    "fold_in": lambda key: jax.random.uniform(jax.random.fold_in(key, 11), (4,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("seed", [0, 1234567])
def test_every_draw_is_jax_own(draw, seed):
    key = jax.random.fold_in(jax.random.key(seed), 7)
    own, ours = (jax.jit(DRAWS[draw])(k) for k in (key, unrolled(key)))
    assert own.dtype == ours.dtype
    if jnp.issubdtype(own.dtype, jnp.integer) or own.dtype == bool:
        np.testing.assert_array_equal(own, ours)
    else:  # the same bits; two programs may make floats of them differently
        np.testing.assert_allclose(own, ours, rtol=1e-6)


def test_neighbouring_draws_differ():
    keys = jax.random.split(unrolled(jax.random.key(0)), 2)
    a, b = (np.asarray(jax.random.bits(key, (1000,))) for key in keys)
    assert np.mean(a == b) < 0.01


def test_another_generator_is_refused():
    with pytest.raises(ValueError, match="expected keys of threefry2x32, got rbg"):
        unrolled(jax.random.key(0, impl="rbg"))
    assert jnp.issubdtype(unrolled(jax.random.key(0)).dtype, jax.dtypes.prng_key)


def test_dropout_in_a_module_drops_the_same_units():
    layer, x = nn.Dropout(0.2, deterministic=False), jnp.ones((40, 50))
    key = jax.random.key(5)
    own, ours = (layer.apply({}, x, rngs={"dropout": k}) for k in (key, unrolled(key)))
    np.testing.assert_array_equal(own, ours)
    assert 0.1 < np.mean(np.asarray(own) == 0.0) < 0.3
