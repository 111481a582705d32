"""Eight (simulated) devices train as one does, and one continues what eight began."""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from molphenix_jax import tasks, train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny

pytestmark = pytest.mark.slow

# Sums over a batch come in another order on eight devices: float32 agrees to about 1e-6 in a step,
# and Adam divides small gradients by small gradients.
RTOL = 1e-4


def fit(cache, folder: pathlib.Path, *, devices: int, execution: str) -> tuple[np.ndarray, str]:
    """Loss of each update, and what was said."""
    config = tiny.config(
        cache, train__devices=devices, train__batch_size=16, loss__execution=execution
    )
    mesh = meshes.make_mesh(devices)
    folder.mkdir(parents=True, exist_ok=True)
    with console.capture() as said:
        run = tasks.make(config, mesh, folder).run(0, folder)
        params = train.fit(run, config, mesh, folder)
    assert all(leaf.sharding.num_devices == devices for leaf in jax.tree.leaves(params))
    lines = [line for line in read_metrics(folder / METRICS_FILE) if line["kind"] == "train"]
    return np.array([[line["loss"], line["grad_norm"]] for line in lines]), said.get()


@pytest.fixture(scope="module")
def one(cache, tmp_path_factory) -> np.ndarray:
    """Loss and gradient norm of each update on one device."""
    curve, _ = fit(cache, tmp_path_factory.mktemp("one"), devices=1, execution="dense")
    assert curve.shape == (4, 2)
    assert len(np.unique(curve[:, 0])) == 4
    return curve


@pytest.fixture(scope="module")
def eight(cache, tmp_path_factory) -> tuple[np.ndarray, pathlib.Path]:
    """The same on eight devices, and the folder of that run."""
    folder = tmp_path_factory.mktemp("eight")
    return fit(cache, folder, devices=8, execution="ring")[0], folder


def test_the_ring_on_eight_devices_gives_the_curve_of_one(one, eight):
    np.testing.assert_allclose(eight[0], one, rtol=RTOL)


def test_a_dense_loss_on_eight_devices_gives_the_curve_of_one(one, cache, tmp_path):
    curve, _ = fit(cache, tmp_path, devices=8, execution="dense")
    np.testing.assert_allclose(curve, one, rtol=RTOL)


def test_one_device_continues_what_eight_began(one, eight, cache, tmp_path):
    folder = shutil.copytree(eight[1], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "step_4")
    curve, said = fit(cache, folder, devices=1, execution="dense")
    assert "continuing after update 2" in said
    # The first two were written by eight, the others computed by one.
    np.testing.assert_array_equal(curve[:2], eight[0][:2])
    np.testing.assert_allclose(curve, one, rtol=RTOL)


def test_more_devices_than_there_are():
    with pytest.raises(ConfigError, match=r"train\.devices=999, but there are \d+ devices"):
        meshes.make_mesh(999)
