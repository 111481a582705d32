"""ResNets: shapes, independence of the batch, and the symmetries of augmentation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models import TowerConfig
from molphenix_jax.models.resnet import RESNETS, ImageMolPhenix, ResNet, ResNetConfig, augment
from molphenix_jax.runtime.step import count_parameters

TINY = ResNetConfig((1, 1), bottleneck=True, width=8)


def images(n: int, size: int = 16, channels: int = 3) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (n, channels, size, size))


@pytest.mark.slow
def test_an_embedding_does_not_depend_on_its_neighbours():
    x = images(4)
    model: Any = ResNet(TINY)
    params = jax.jit(model.init)(jax.random.key(0), x)
    apply = jax.jit(model.apply)
    alone = jnp.concatenate([apply(params, x[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(apply(params, x), alone, rtol=1e-4, atol=1e-5)
    assert set(params) == {"params"}  # no running statistics
    assert alone.shape == (4, 64)


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet18", 11.17), ("resnet34", 21.27), ("resnet50", 23.50)]
)
def test_sizes_are_those_of_the_named_networks(name, millions):
    # torchvision's counts without the classifier: the norms have as many parameters.
    shape = jax.eval_shape(ResNet(RESNETS[name]).init, jax.random.key(0), jnp.zeros((1, 3, 64, 64)))
    assert count_parameters(shape) / 1e6 == pytest.approx(millions, abs=0.015)


@pytest.mark.slow
def test_the_model_embeds_images_to_unit_vectors():
    tower = TowerConfig(8, 1)
    model: Any = ImageMolPhenix(phenomics=tower, molecules=tower, dim=5, images=TINY)
    x, m = images(3), jnp.ones((3, 7))
    params = jax.jit(model.init)(jax.random.key(0), x, m)
    assert "phenomic_head" not in params["params"]
    out = jax.jit(model.apply)(params, x, m)
    np.testing.assert_allclose(jnp.linalg.norm(out.z_x, axis=1), 1, rtol=1e-5)
    assert out.z_m.shape == (3, 5)


def test_augmentation_takes_all_eight_ways_and_nothing_else():
    x = jnp.tile(images(1, size=4), (400, 1, 1, 1))
    turned = np.asarray(augment(x, jax.random.key(3)))
    one = np.asarray(x[0])
    ways = [np.rot90(f, k, axes=(1, 2)) for f in (one, one[:, ::-1]) for k in range(4)]
    which = [[np.array_equal(t, way) for way in ways].index(True) for t in turned]
    assert set(which) == set(range(8))
    wide = jnp.zeros((2, 1, 4, 6))
    assert augment(wide, jax.random.key(0)).shape == wide.shape
