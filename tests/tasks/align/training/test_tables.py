"""Tables on one device, on eight, and streamed from memory or disk: the same data, same results."""

import re

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.sampling import Batch
from molphenix_jax.screens.screen import ScreenError
from molphenix_jax.tasks.align.training.tables import choose_placement, gather
from tests import tiny
from tests.screens.saving import save_screen

pytestmark = pytest.mark.long


def make_run(cache, folder, *, wells="", **changes):
    config = tiny.config(cache, data__wells=wells, molecules__blocks="maccs,physchem", **changes)
    task, _ = tiny.make(config, folder)
    with console.capture() as said:
        run = task.run(0, folder)
    return run, config, said.get()


def fit(run, config, folder) -> list[dict]:
    with console.capture():
        train.fit(run, config, run.mesh, folder / "run")
    return list(read_metrics(folder / "run" / METRICS_FILE))


def assert_close(ours: list[dict], theirs: list[dict]) -> None:
    """Of two programs on the same data: sums round in another order, and Adam divides by them."""
    assert len(ours) == len(theirs) > 4
    for a, b in zip(ours, theirs, strict=True):
        assert (a.pop("kind"), a.pop("step")) == (b["kind"], b["step"])
        assert a == pytest.approx({name: b[name] for name in a}, rel=1e-4, abs=1e-6)
        assert len(a) == len(b) - 2


@pytest.fixture(scope="module")
def device_run(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    run, config, said = make_run(cache, folder)
    assert "live there" in said
    return run, fit(run, config, folder)


def test_shuffled_pairs_have_each_others_molecules_and_doses(cache, tmp_path):
    run, _, said = make_run(cache, tmp_path / "a", data__shuffle_pairs=True)
    assert "control: training perturbations have each other's molecules" in said
    screen, visited, tables = run.screen, run.visited, run.tables
    true = np.stack([screen.molecule, screen.concentration_um])
    told = np.stack([tables.molecule, tables.concentration_um])
    others = np.setdiff1d(np.arange(screen.n_perturbations), visited)
    np.testing.assert_array_equal(told[:, others], true[:, others])
    np.testing.assert_array_equal(
        np.unique(told[:, visited], axis=1), np.unique(true[:, visited], axis=1)
    )
    assert np.mean((told[:, visited] == true[:, visited]).all(axis=0)) < 0.2
    other, _, _ = make_run(
        cache, tmp_path / "b", data__shuffle_pairs=True, data__placement="stream"
    )
    assert_same_pairs(run, other)


def assert_same_pairs(run, other) -> None:
    """The loss sees the same bits, from wherever they come; moving data rounds nothing."""
    for step in (0, 3):
        ours, theirs = (gather(r.batch(step), r.tables, meshes.make_mesh(1)) for r in (run, other))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def prepared(device_run, tmp_path_factory):
    """The same screen as a folder."""

    folder = tmp_path_factory.mktemp("prepared") / "screen"
    save_screen(device_run[0].screen, folder, rejected=pd.DataFrame({"row": []}))
    return folder


def test_streaming_gives_the_data_and_the_metrics_of_tables(device_run, cache, tmp_path):
    run, config, said = make_run(cache, tmp_path, data__placement="stream")
    assert run.place_tables(run.mesh) == ()
    assert "stay on the host" in said
    assert_same_pairs(run, device_run[0])
    assert_close(fit(run, config, tmp_path), device_run[1])


@pytest.mark.parametrize("placement", ["device", "stream"])
def test_a_screen_on_disk_gives_the_metrics_of_one_in_memory(
    placement, device_run, prepared, cache, tmp_path
):
    run, config, _ = make_run(cache, tmp_path, wells=str(prepared), data__placement=placement)
    assert_same_pairs(run, device_run[0])
    metrics = fit(run, config, tmp_path)
    if placement == "device":  # the same program on the same data
        assert metrics == device_run[1]
    assert_close(metrics, device_run[1])
    ids = run.split.test[::-1]
    np.testing.assert_array_equal(run.screen.profiles(ids), device_run[0].screen.profiles(ids))


def test_wells_on_disk_come_in_the_order_asked_for(device_run, prepared, cache, tmp_path):
    run, _, _ = make_run(cache, tmp_path, wells=str(prepared))
    rows = np.random.default_rng(0).permutation(run.screen.n_wells)[:50]
    np.testing.assert_array_equal(
        run.screen.replicates[rows], device_run[0].screen.replicates[rows]
    )


def test_a_prepared_screen_without_the_wanted_features(prepared, cache, tmp_path):
    config = tiny.config(cache, data__wells=str(prepared), molecules__blocks="maccs,morgan")
    with pytest.raises(ScreenError, match=r"no molecule features morgan; set molecules\.blocks"):
        tiny.make(config, tmp_path)


def test_eight_devices_hold_an_eighth_each_and_gather_the_same(cache, tmp_path):
    run, _, _ = make_run(cache, tmp_path, train__devices=8)
    tables = run.place_tables(run.mesh)
    full = run.tables
    for placed, whole in (
        (tables.replicates, full.replicates),
        (tables.profile, full.profile),
        *((tables.blocks[name], full.blocks[name]) for name in run.blocks),
    ):
        held = [shard.data.nbytes for shard in placed.addressable_shards]
        assert len(held) == 8
        # Padded to a multiple of eight rows.
        assert set(held) == {-(-len(whole) // 8) * whole[0].nbytes}
    batch = jax.device_put(run.batch(3), meshes.rows(run.mesh))
    step = jax.jit(lambda b, t: gather(b, t, run.mesh))
    alone = gather(Batch(*map(np.asarray, batch)), full, meshes.make_mesh(1))
    spread = step(batch, tables)
    for ours, theirs in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Nothing of the size of a whole table or of the global batch's rows is ever on one device.
    text = step.lower(batch, tables).compile().as_text()
    assert "collective-permute" in text
    assert f"f32[{len(full.replicates)}," not in text
    b, r = batch.replicate.shape
    assert f"f32[{b // 8},{r},{run.screen.width}]" in text
    assert f"f32[{b},{r},{run.screen.width}]" not in text


@pytest.mark.parametrize(
    ("wanted", "gib", "placement", "words"),
    [
        ("auto", 4.0, "device", "1 GiB of .* live there"),
        ("auto", 1.5, "stream", r"1 GiB .* 1 device with 1\.5 GiB are more than 50% of the memory"),
        ("device", 1.5, "device", "data.placement=device"),
        ("stream", 4.0, "stream", "data.placement=stream"),
        ("auto", 0.0, "device", "live there"),
    ],
)
def test_tables_that_do_not_fit_stream_and_it_is_said(wanted, gib, placement, words):
    found, sentence = choose_placement(wanted, 2**30, meshes.make_mesh(1), device_memory_gib=gib)
    assert found == placement
    assert re.search(words, sentence)
