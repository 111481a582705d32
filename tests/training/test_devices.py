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
from molphenix_jax.runtime.step import place_state
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny

pytestmark = pytest.mark.slow

# Sums over a batch come in another order on eight devices: float32 agrees to about 1e-6 in a step,
# and Adam divides small gradients by small gradients.
RTOL = 1e-4


def fit(
    cache, folder: pathlib.Path, *, devices: int, execution: str, **fields
) -> tuple[np.ndarray, str]:
    """Loss of each update, and what was said."""
    config = tiny.config(
        cache, train__devices=devices, train__batch_size=16, loss__execution=execution, **fields
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


@pytest.mark.long
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


@pytest.fixture(scope="module")
def spread(cache, tmp_path_factory) -> tuple[np.ndarray, pathlib.Path]:
    """Eight devices that each hold an eighth of the state."""
    folder = tmp_path_factory.mktemp("spread")
    fields = {"train__shard_state": True, "train__members": 2}
    return fit(cache, folder, devices=8, execution="ring", **fields)[0], folder


@pytest.fixture(scope="module")
def two_members(cache, tmp_path_factory) -> np.ndarray:
    """The same with a whole state on one device."""
    folder = tmp_path_factory.mktemp("two")
    return fit(cache, folder, devices=1, execution="dense", train__members=2)[0]


def test_a_kernel_and_its_moments_lie_along_their_largest_axis_that_divides():
    mesh = meshes.make_mesh(8)
    shapes = {"kernel": (2, 16, 24), "odd": (2, 30, 16), "bias": (2, 5), "step": ()}
    state = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}
    placed = place_state(state, mesh, sharded=True)
    assert {name: place.shard_shape(shapes[name]) for name, place in placed.items()} == {
        "kernel": (2, 16, 3),
        "odd": (2, 30, 2),
        "bias": (2, 5),
        "step": (),
    }
    whole = place_state(state, mesh, sharded=False)
    assert all(place.is_fully_replicated for place in whole.values())


@pytest.mark.long
def test_a_spread_state_gives_the_curve_of_one(spread, two_members):
    np.testing.assert_allclose(spread[0], two_members, rtol=RTOL)


@pytest.mark.long
@pytest.mark.parametrize(("devices", "sharded"), [(1, False), (2, True), (4, True)])
def test_fewer_devices_continue_a_spread_state(
    devices, sharded, spread, two_members, cache, tmp_path
):
    folder = shutil.copytree(spread[1], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "step_4")
    fields = {"train__shard_state": sharded, "train__members": 2}
    curve, said = fit(
        cache, folder, devices=devices, execution="ring" if devices > 1 else "dense", **fields
    )
    assert "continuing after update 2" in said
    np.testing.assert_array_equal(curve[:2], spread[0][:2])
    np.testing.assert_allclose(curve, two_members, rtol=RTOL)


def test_more_devices_than_there_are():
    with pytest.raises(ConfigError, match=r"train\.devices=999, but there are \d+ devices"):
        meshes.make_mesh(999)
