"""MiniMol as an encoder that is trained on, from its own weights: in alignment, on properties."""

import re
import shutil

import jax
import numpy as np
import pytest

from molphenix_jax.models.mpnn.minimol.checkpoint import CHECKPOINT
from molphenix_jax.molecules import featurise
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks.align.config import config_from_arg
from molphenix_jax.tasks.molecule_encoder import load_encoder
from molphenix_jax.tasks.property_pretraining import default_config
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.encoders.minimol import (
    LICENCE_FILE,
    convert_minimol,
    minimol_folder,
)
from molphenix_jax.trained.folder import ModelError
from tests import tiny, torch_file
from tests.models.mpnn import minimol as made
from tests.tasks.property_pretraining import tiny_labels

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A cache folder that has MiniMol, with random weights and 2 of its 16 layers."""
    folder = tmp_path_factory.mktemp("minimol")
    file = folder / CHECKPOINT
    file.parent.mkdir(parents=True)
    torch_file.save(file, made.random_weights(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLPHENIX_CACHE", str(folder / "cache"))
        convert_minimol(file, minimol_folder(), say=lambda _: None)
    return folder / "cache"


@pytest.fixture
def minimol(weights, monkeypatch):
    monkeypatch.setenv("MOLPHENIX_CACHE", str(weights))
    return minimol_folder()


def config(cache, **changes):
    c = config_from_arg("encoder=minimol", loss="s2l")
    kept = {name: c.model.encoder[name] for name in c.model.encoder}
    fields = {**tiny.FIELDS, "data.cache": str(cache / "screens")}
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    c.update_from_flattened_dict(fields)
    assert {name: c.model.encoder[name] for name in kept} == kept
    return c


def newest(folder):
    return max((folder / "checkpoints").glob("step_*"), key=lambda p: int(p.name[5:]))


def test_the_contrastive_loss_trains_it_from_its_own_weights(cache, minimol, tmp_path):
    c = config(cache, molecules__blocks="maccs")
    assert (c.model.encoder.network, c.model.encoder.depth) == ("minimol", 2)
    assert c.molecules.pretrained == str(minimol)
    task, _ = tiny.make(c, tmp_path / "first")
    run = task.run(0, tmp_path / "first")
    first = jax.jit(run.init)(jax.random.key(0))["params"]["encoder"]
    theirs = load_encoder(minimol).params["params"]
    jax.tree.map(np.testing.assert_array_equal, first, theirs)
    # Before the first update it gives the fingerprints of the frozen block.
    members = jax.tree.map(lambda leaf: leaf[None], {"params": first})
    found = GraphEmbedder(run.mpnn, run.graphs(run.screen), batch_size=64)(members, ("graph",))[0]
    frozen = featurise(run.screen.molecules["smiles"].tolist(), "minimol")
    assert frozen.std() > 0.1
    np.testing.assert_allclose(found, frozen, atol=1e-4)

    folder = tmp_path / "run"
    tiny.train_here(c, folder)
    after = load_encoder(folder).params["params"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after, theirs)
    # Four updates of at most 1e-4, one in its warm-up; the step of Adam does not grow with them.
    assert 0 < max(jax.tree.leaves(moved)) < 5e-4
    assert np.mean([moved > 0 for moved in jax.tree.leaves(moved)]) > 0.9
    assert "Graphcore" in (folder / "model" / LICENCE_FILE).read_text()

    # Killed, and MiniMol gone meanwhile, it comes to the same bits.
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed)
    shutil.rmtree(newest(killed))
    (killed / "evaluation.json").unlink()
    away = minimol.rename(minimol.with_name("away"))
    try:
        assert "continuing after update 2" in tiny.train_here(c, killed)
    finally:
        away.rename(minimol)
    ours, same = ((f / "model" / "weights.safetensors").read_bytes() for f in (killed, folder))
    assert ours == same


def test_property_pretraining_starts_from_it(cache, minimol, tmp_path):
    labels = tiny_labels.table(tmp_path / "labels.parquet", with_atoms=False)
    c = default_config(labels=str(labels), start="minimol")
    fields = {n: v for n, v in tiny_labels.FIELDS.items() if not n.startswith("model.encoder.")}
    del fields["train.lr_rules"]
    c.update_from_flattened_dict({**fields, "data.cache": str(cache / "graphs")})
    assert c.model.pretrained == str(minimol)
    folder = tmp_path / "run"
    task, _ = tiny.make(c, folder)
    with console.capture():
        run = task.run(0, folder)
    params = jax.jit(jax.vmap(run.init))(jax.random.split(jax.random.key(0), 1))
    task.keep_model(run, params, folder)
    before, theirs = (load_encoder(of).params["params"] for of in (folder / "model", minimol))
    jax.tree.map(np.testing.assert_array_equal, before, theirs)
    assert (folder / "model" / LICENCE_FILE).exists()
    # Its heads learn at the rate of the config.
    rates = [factor for pattern, factor in c.train.lr_rules if re.search(pattern, "/encoder/x")]
    assert rates[0] * c.train.learning_rate == pytest.approx(1e-4)
    assert not any(re.search(pattern, "/head_graph/out/kernel") for pattern, _ in c.train.lr_rules)
    # An alignment can train that one on.
    again = config_from_arg(f"pretrained={folder / 'model'}", loss="s2l")
    assert (again.model.encoder.network, again.model.encoder.depth) == ("minimol", 2)


def test_what_cannot_be_is_a_sentence(minimol, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="leave pretrained=x out"):
        config_from_arg("encoder=minimol,pretrained=x", loss="s2l")
    with pytest.raises(ConfigError, match="leave size and width out"):
        default_config(start="minimol", size="10m")
    monkeypatch.setenv("MOLPHENIX_CACHE", str(tmp_path))
    for make in (
        lambda: config_from_arg("encoder=minimol", loss="s2l"),
        lambda: default_config(start="minimol"),
    ):
        with pytest.raises(ModelError, match="`molphenix pretrained minimol` takes its wheel"):
            make()
