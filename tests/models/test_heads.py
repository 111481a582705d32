import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models import MolPhenix, TowerConfig, joint_embedding
from molphenix_jax.tasks.align.config import SIZES


@pytest.fixture(scope="module")
def model():
    tower = TowerConfig(width=32, n_blocks=2, input_dropout=0.1, dropout=0.1)
    return MolPhenix(phenomics=tower, molecules=tower, dim=16, bias_init=-3.0)


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0), jnp.ones((2, 10)), jnp.ones((2, 7)))


@functools.partial(jax.jit, static_argnames=("model", "method", "train"))
def apply(model, params, *inputs, method=None, train=False, rngs=None):
    options = {"train": train} if train else {}
    return model.apply(params, *inputs, method=method, rngs=rngs, **options)


@pytest.mark.slow
def test_embeddings_are_unit_vectors(model, params):
    x = jax.random.normal(jax.random.key(1), (5, 10))
    out = apply(model, params, x, x[:, :7])
    for z in (out.z_x, out.z_m):
        assert z.shape == (5, 16)
        np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1.0, atol=1e-5)
    assert float(out.scale) == pytest.approx(10.0)
    assert float(out.bias) == pytest.approx(-3.0)


@pytest.mark.slow
def test_an_embedding_depends_on_its_own_input_alone(model, params):
    x = jax.random.normal(jax.random.key(2), (6, 10))
    together = apply(model, params, x, method="embed_profiles")
    alone = jnp.concatenate(
        [apply(model, params, x[i : i + 1], method="embed_profiles") for i in range(6)]
    )
    others = x.at[1:].set(jax.random.normal(jax.random.key(3), (5, 10)) * 100)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(
        apply(model, params, others, method="embed_profiles")[0], together[0], atol=1e-6
    )


@pytest.mark.slow
def test_dropout_works_in_training_only(model, params):
    x = jnp.ones((3, 10))
    keys = jax.random.split(jax.random.key(4))
    a, b = (apply(model, params, x, x[:, :7], train=True, rngs={"dropout": k}).z_x for k in keys)
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(
        apply(model, params, x, x[:, :7]).z_x, apply(model, params, x, x[:, :7]).z_x
    )


@pytest.mark.slow
def test_scale_is_clamped_at_100(model, params):
    high = {"params": {**params["params"], "log_scale": jnp.float32(20.0)}}
    assert float(apply(model, high, jnp.ones((1, 10)), jnp.ones((1, 7))).scale) == 100.0


@pytest.mark.slow
def test_bfloat16_heads_keep_float32_parameters_and_outputs():
    tower = TowerConfig(width=32, n_blocks=1)
    model = MolPhenix(phenomics=tower, molecules=tower, dim=16, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(5), (4, 10))
    params = jax.jit(model.init)(jax.random.key(0), x, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    full = apply(MolPhenix(phenomics=tower, molecules=tower, dim=16), params, x, x)
    half = apply(model, params, x, x)
    assert half.z_x.dtype == jnp.float32
    np.testing.assert_allclose(half.z_x, full.z_x, atol=0.05)


def at_scale(params, log_scale):
    return {"params": {**params["params"], "log_scale": jnp.float32(log_scale)}}


@pytest.mark.slow
def test_a_scale_at_its_clamp_can_come_down_again(model, params):
    """The clamp acts on the parameter after an update; in the loss it would freeze it."""
    x = jax.random.normal(jax.random.key(1), (5, 10))
    scale = lambda p: apply(model, p, x, x[:, :7]).scale  # noqa: E731
    grown = model.bounded(at_scale(params, 5.3))
    assert float(scale(grown)) == pytest.approx(100.0, rel=1e-6)
    slope = jax.jit(jax.grad(scale))(grown)["params"]["log_scale"]
    assert float(slope) == pytest.approx(100.0, rel=1e-6)
    lower = model.bounded(at_scale(params, float(grown["params"]["log_scale"]) - 0.1 * 0.5))
    assert float(scale(lower)) == pytest.approx(100.0 * np.exp(-0.05), rel=1e-5)


def test_bounding_changes_nothing_below_the_clamp(model, params):
    same = model.bounded(params)
    assert jax.tree.structure(same) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_old_checkpoint_beyond_the_clamp_has_the_clamped_scale(model, params):
    x = jax.random.normal(jax.random.key(1), (5, 10))
    out = apply(model, at_scale(params, 5.3), x, x[:, :7])
    assert float(out.scale) == pytest.approx(100.0, rel=1e-6)


def test_paper_size_is_near_38_7_million():
    size = SIZES["paper"]
    model = MolPhenix(
        phenomics=TowerConfig(*size["phenomics"]),
        molecules=TowerConfig(*size["molecules"]),
        dim=size["dim"],
    )
    # Phenom1's 1,024 features; Morgan 2048 + MACCS 167 + RDKit 2048 bits and 8 one-hot doses.
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.ones((2, 1024)), jnp.ones((2, 4263 + 8))
    )
    n = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert n == pytest.approx(38.7e6, rel=0.01)


def test_joint_embedding_averages_cosines():
    rng = np.random.default_rng(0)
    x, m = rng.normal(size=(2, 3, 5, 8))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    m /= np.linalg.norm(m, axis=-1, keepdims=True)
    joined = joint_embedding(jnp.asarray(x)) @ joint_embedding(jnp.asarray(m)).T
    np.testing.assert_allclose(joined, np.einsum("eid,ejd->eij", x, m).mean(0), atol=1e-5)
