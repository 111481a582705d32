"""A whole tiny MAE run: it learns, continues, reports, and its encoder can be used."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import train
from molphenix_jax.models.vit import embed_crops
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.optimizer import make_optimizer
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.step import make_init
from molphenix_jax.runtime.workdir.metrics import read_metrics
from molphenix_jax.tasks.mae_pretraining import make
from molphenix_jax.tasks.mae_pretraining import run as mae_run
from molphenix_jax.tasks.mae_pretraining.config import default_config
from molphenix_jax.trained.encoders.image_encoder import load_image_encoder
from tests import pictures

pytestmark = pytest.mark.long

N, CHANNELS, SIDE = 16, 2, 16


def blobs(path, *, seed=0):
    """A bright disc always at the same place, and another where chance will have it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.zeros((N, CHANNELS, SIDE, SIDE))
    for i in range(N):
        cy, cx = rng.uniform(0, SIDE, 2)
        images[i] += 150 * np.exp(-((y - 4) ** 2 + (x - 5) ** 2) / 18)
        images[i] += 60 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8)
    images[:, 1] = 0.5 * images[:, 1] + 10
    np.savez(path, images=np.clip(images, 0, 255).astype(np.uint8))
    table = {
        "plate": [f"P{i // 8}" for i in range(N)],
        "well": [f"A{i // 2 % 4}" for i in range(N)],
        "treatment": [("control", "control", "x", "y")[i // 2 % 4] for i in range(N)],
    }
    pd.DataFrame(table).to_csv(path.with_name(f"{path.stem}_meta.csv"), index=False)


def config(path, **changes):
    c = default_config(images=str(path), size="tiny")
    fields = {
        "data.crop": 16,
        "data.augment": False,
        "data.folds": 2,
        "model.encoder.width": 16,
        "model.encoder.depth": 1,
        "model.encoder.patch": 4,
        "model.width": 16,
        "train.steps": 40,
        "train.warmup_steps": 4,
        "train.batch_size": 8,
        "train.learning_rate": 1e-2,
        "train.prefetch": 0,
        "train.devices": 1,
        "train.log_every": 10,
        "train.validate_every": 20,
        "train.checkpoint_every": 20,
        "eval.n_painted": 1,
        "eval.n_bootstrap": 20,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    c.update_from_flattened_dict(fields)
    return c


def run(c, workdir):
    with console.capture() as said:
        train.train_and_evaluate(c, workdir)
    return said.get()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("mae")
    blobs(folder / "blobs.npz")
    with pictures.drawn():
        said = run(config(folder / "blobs.npz"), folder / "run")
    return folder, said


def test_it_learns_to_paint_better_than_nothing(finished):
    folder, _ = finished
    for fold in range(2):
        rows = list(read_metrics(folder / "run" / f"fold_{fold}" / "metrics.jsonl"))
        mse = [row["validation_mse"] for row in rows if "validation_mse" in row]
        nothing = [r["validation_mse_of_nothing"] for r in rows if "validation_mse" in r]
        assert mse[-1] < 0.9 * min(nothing)
        assert mse[-1] < mse[0]


def test_the_record_has_every_model_with_its_seeds(finished):
    folder, said = finished
    record = json.loads((folder / "run" / "evaluation.json").read_text())
    models = {(r["question"], r["subset"], r["model"]): r for r in record["results"]}
    for model in ("mae", "untrained", "intensity", "chance"):
        assert ("treatment", "all", model) in models
    assert len(models["treatment", "all", "mae"]["seeds"]) == 2
    assert models["treatment", "unseen", "mae"]["n_queries"] == N
    # The two folds begin with other parameters and end with others.
    assert "which treatment? neighbours on other plates" in said
    page = (folder / "run" / "report" / "index.html").read_text()
    assert page.count("data:image/png;base64,") >= 4  # it is one file
    for name in ("neighbours.png", "map.png", "reconstructions.png", "training.png"):
        assert (folder / "run" / "report" / name).stat().st_size > 5_000
    assert "mae" in (folder / "run" / "report" / "results.md").read_text()


def test_channels_can_be_embedded_side_by_side(finished, monkeypatch):
    folder, _ = finished
    c = config(folder / "blobs.npz", eval__channelwise=True)
    with console.capture():
        run = make(c, meshes.make_mesh(1), folder / "run").run(0, folder / "run" / "fold_0")
        joint = make(config(folder / "blobs.npz"), meshes.make_mesh(1), folder).run(0, folder)
    params = run.untrained()
    z = run.embed(params)
    monkeypatch.setattr(mae_run, "_EMBED_BATCH", 5)
    mean = joint.embed(params)
    assert z.shape == (N, CHANNELS * 16)
    np.testing.assert_allclose(z.reshape(N, CHANNELS, 16).mean(1), mean, rtol=1e-4, atol=1e-5)


def test_the_encoder_of_a_fold_embeds_any_number_of_channels(finished):
    folder, _ = finished
    encoder = load_image_encoder(folder / "run" / "fold_1")
    assert "40 updates" in encoder.source
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 24), dtype=np.uint8)
    embed = jax.jit(lambda params, x: embed_crops(encoder.config, params, x))
    z = np.asarray(embed(encoder.params, images))
    assert z.shape == (3, 16)
    assert np.isfinite(z).all()
    alone = np.asarray(embed(encoder.params, images[:1]))
    np.testing.assert_allclose(z[:1], alone, rtol=1e-4, atol=1e-5)


def test_the_untrained_encoder_is_the_one_that_training_began_with(finished, tmp_path):
    folder, _ = finished
    c = config(folder / "blobs.npz")
    with console.capture():
        task = make(c, meshes.make_mesh(1), tmp_path)
        first, second = (task.run(fold, tmp_path / str(fold)) for fold in range(2))
    tx = make_optimizer(c.train, jax.eval_shape(first.init, jax.random.key(0)))
    begun = jax.jit(make_init(first, tx, members=1, seed=c.seed))().params
    ours, other = jax.tree.leaves(first.untrained()), jax.tree.leaves(second.untrained())
    # Two programs draw them, so they owe each other no equal bits.
    for a, b in zip(ours, jax.tree.leaves(begun), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-5, atol=1e-7)
    # Folds are seeds, too.
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(ours, other, strict=True))


def test_a_repeat_holds_the_same_part_back_and_draws_anew(finished, tmp_path):
    folder, _ = finished
    with console.capture():
        task = make(config(folder / "blobs.npz", data__repeats=2), meshes.make_mesh(1), tmp_path)
        assert task.n_folds == 4
        first, other, again = (task.run(k, tmp_path / str(k)) for k in range(3))
    np.testing.assert_array_equal(first.held, again.held)
    assert not (first.held & other.held).any()
    assert (first.batch(0) != again.batch(0)).any()
    pairs = zip(jax.tree.leaves(first.untrained()), jax.tree.leaves(again.untrained()), strict=True)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)


def test_a_stopped_run_continues_bit_for_bit(finished, tmp_path):
    folder, _ = finished
    c = config(folder / "blobs.npz", data__folds=1, train__steps=20, train__checkpoint_every=10)
    mesh = meshes.make_mesh(1)
    with console.capture():
        task = make(c, mesh, tmp_path)
        whole = train.fit(task.run(0, tmp_path / "a"), c, mesh, tmp_path / "a")
        # As if it had been stopped before its last checkpoint.
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        shutil.rmtree(tmp_path / "b" / "checkpoints" / "step_20")
        again = train.fit(task.run(0, tmp_path / "b"), c, mesh, tmp_path / "b")
    lines = [list(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("a", "b")]
    assert lines[0] == lines[1]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_images_under_an_old_run_are_refused(finished, tmp_path):
    folder, _ = finished
    blobs(tmp_path / "blobs.npz", seed=1)
    mesh = meshes.make_mesh(1)
    with console.capture():
        old = make(config(folder / "blobs.npz"), mesh, tmp_path).run(0, tmp_path / "old")
        new = make(config(tmp_path / "blobs.npz"), mesh, tmp_path).run(0, tmp_path / "new")
    with pytest.raises(ConfigError, match="changed since this run began"):
        new.adopt(old.assets)
    old.adopt(old.assets)


def test_a_mask_that_hides_everything_is_refused(finished, tmp_path):
    folder, _ = finished
    c = config(folder / "blobs.npz", model__mask_ratio=0.99, data__crop=8)
    with console.capture(), pytest.raises(ConfigError, match="leaves none of 8 patches"):
        make(c, meshes.make_mesh(1), tmp_path).run(0, tmp_path)
