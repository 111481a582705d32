"""CLOOME from images, on a small screen whose images show the molecule."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli, tasks, train
from molphenix_jax.evaluate import load_params
from molphenix_jax.evaluation import rank_of_positive
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.tasks.align_images import default_config
from molphenix_jax.tasks.align_images.wells import ImageWellsError
from molphenix_jax.trained import sides
from tests import tiny
from tests.tasks.align_images import screen

pytestmark = pytest.mark.long

FIELDS = {
    "data.psi": 1.0,
    "data.n_null": 200,
    "data.correction": "centerscale",
    "data.test_fraction": 0.25,
    "data.validation_fraction": 0.25,
    "data.unseen_images_fraction": 0.5,
    "images.layout": "table",
    "molecules.blocks": "maccs",
    "model.resnet": "resnet10",
    "model.resnet_width": 4,
    "model.molecules.width": 32,
    "model.molecules.input_dropout": 0.0,
    "model.molecules.dropout": 0.0,
    "model.dim": 16,
    "train.steps": 120,
    "train.warmup_steps": 5,
    "train.learning_rate": 2e-3,
    "train.devices": 1,
    "train.batch_size": 12,
    "train.log_every": 1,
    "train.validate_every": 40,
    "train.checkpoint_every": 40,
    "eval.baselines": "knn",
    "eval.n_bootstrap": 20,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("images")
    screen.write(folder)
    command = ["embed-images", "--layout=table", f"--images={folder / 'images.npz'}"]
    command += [f"--index={folder / 'index.csv'}", "--encoder=intensity", "--crop=24"]
    with console.capture():
        assert cli.main([*command, f"--out={folder / 'wells.parquet'}"]) == 0
    return folder


def config(data: pathlib.Path, **changes) -> Config:
    c = default_config(wells=str(data / "wells.parquet"))
    fields = {
        **FIELDS,
        "data.cache": str(data / "cache"),
        "images.path": str(data / "images.npz"),
        "images.index": str(data / "index.csv"),
    }
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    c.update_from_flattened_dict(fields)
    tasks.validate(c)
    return c


@pytest.fixture(scope="module")
def whole(cache, data, tmp_path_factory) -> pathlib.Path:
    del cache  # compiles with little effort
    workdir = tmp_path_factory.mktemp("whole")
    tiny.train_here(config(data), workdir)
    return workdir


def test_the_loss_falls_and_seen_images_find_their_molecule(whole, data, monkeypatch):
    loss = [m["loss"] for m in read_metrics(whole / METRICS_FILE) if m["kind"] == "train"]
    assert np.mean(loss[-10:]) < 0.5 * np.mean(loss[:10])
    c = config(data)
    task, _ = tiny.make(c, whole / "again")
    with console.capture():
        run = task.run(0, whole / "again")
        _, params = load_params(run, c, meshes.make_mesh(1), whole, checkpoint=None)
    ids = run.split.train
    query = {"ids": ids, "wells": ~run.split.withheld}
    z_x = run.embed_queries(params, np.zeros((len(ids), 1)), **query)
    monkeypatch.setattr(sides, "_IMAGE_CHUNK", 11)
    in_chunks = run.embed_queries(params, np.zeros((len(ids), 1)), **query)
    np.testing.assert_allclose(in_chunks, z_x, atol=1e-5)
    rank = rank_of_positive(
        z_x, run.embed_perturbations(params, run.screen, ids), np.arange(len(ids))
    ).pessimistic
    # By chance the median rank is half of their number.
    assert np.median(rank) < len(ids) / 4
    np.testing.assert_allclose(np.linalg.norm(z_x, axis=1), 1, rtol=1e-4)


def test_the_evaluation_has_the_same_table_as_a_run_on_profiles(whole):
    results = json.loads((whole / "evaluation.json").read_text())["results"]
    assert {r["model"] for r in results} == {"molphenix", "knn", "chance"}
    assert {"unseen_molecules", "unseen_images"} <= {r["split"] for r in results}


def test_a_restart_continues_bit_by_bit(whole, data, tmp_path):
    """What was killed before its last checkpoint."""
    c = config(data)
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "step_120")
    task, _ = tiny.make(c, tmp_path / "prepared")
    with console.capture() as said:
        run = task.run(0, folder)
        again = train.fit(run, c, meshes.make_mesh(1), folder)
        _, params = load_params(run, c, meshes.make_mesh(1), whole, checkpoint=None)
    assert "continuing after update 80" in said.get()
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), again, params
    )
    assert (folder / METRICS_FILE).read_bytes() == (whole / METRICS_FILE).read_bytes()


def test_streamed_images_give_the_same_batches(data, tmp_path):
    runs = []
    for placement in ("device", "stream"):
        task, _ = tiny.make(config(data, images__placement=placement), tmp_path / placement)
        with console.capture():
            runs.append(task.run(0, tmp_path / placement))
    for step in (0, 7):
        rows, pixels = (run.batch(step).image for run in runs)
        np.testing.assert_array_equal(runs[0].stack[rows], pixels)
        perturbation = runs[0].batch(step).pairs.perturbation
        shown = runs[0].seen
        of_row = dict(zip(shown.rows.tolist(), shown.of_perturbation.tolist(), strict=True))
        assert [of_row[row] for row in rows.tolist()] == perturbation.tolist()


def test_channels_are_standardised_by_their_deviation_not_their_mean(data, tmp_path):
    task, _ = tiny.make(config(data), tmp_path)
    with console.capture():
        run = task.run(0, tmp_path)
    rows = run.seen.rows[np.isin(run.seen.of_perturbation, run.visited)]
    x = np.asarray(run.image_side.standardised(run.stack[rows]))
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(x.std((0, 2, 3)), 1, atol=1e-3)


def test_a_replicate_is_shown_by_its_own_images(data, tmp_path):
    task, _ = tiny.make(config(data), tmp_path)
    index = pd.read_csv(data / "index.csv")
    smiles = index["smiles"].to_numpy()[task.images.rows]
    inchikey = task.screen.molecules["inchikey"].to_numpy()
    of_image = inchikey[task.screen.molecule[task.images.of_perturbation]]
    assert len(set(zip(smiles, of_image, strict=True))) == 48
    assert len(task.images.rows) == 48 * screen.N_WELLS


def test_wells_without_images_are_an_error_that_names_both(data, tmp_path):
    index = pd.read_csv(data / "index.csv").assign(plate="Q")
    index.to_csv(tmp_path / "other.csv", index=False)
    c = config(data, images__index=str(tmp_path / "other.csv"))
    with pytest.raises(ImageWellsError, match="no treated well has an image.*'Q'"):
        tiny.make(c, tmp_path / "work")


def test_what_the_config_refuses():
    c = default_config()
    c.model.resnet, c.model.resnet_width, c.images.layout = "resnet99", 0, "heap"
    c.data.averaging = "full"
    with pytest.raises(ConfigError) as error:
        tasks.validate(c)
    for field in ("model.resnet", "model.resnet_width", "images.layout", "data.averaging"):
        assert field in str(error.value)
    with pytest.raises(ConfigError, match="images and their wells are needed"):
        tasks.make(default_config(), meshes.make_mesh(1), pathlib.Path())
