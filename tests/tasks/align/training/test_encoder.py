"""Alignment whose molecule encoder learns: at random, from a pretrained run, on several devices."""

import jax
import numpy as np
import pytest

import molphenix_jax
from molphenix_jax.evaluate import evaluate, load_params
from molphenix_jax.retrieval import molecules
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks.molecule_encoder import PretrainedError, encoder_fields_of, load_encoder
from molphenix_jax.trained.folder import ModelError
from tests import tiny
from tests.tasks.property_pretraining import tiny_labels

pytestmark = pytest.mark.long

ENCODER = {
    "molecules__encoder": "mpnn",
    "model__encoder__width": 16,
    "model__encoder__depth": 1,
    "model__encoder__out_width": 16,
    "model__encoder__expansion": 2,
    "model__encoder__positional": ("rwse",),
}


def first_and_last(config, workdir):
    """The encoder's parameters before and after training, as flat arrays."""
    workdir.mkdir(parents=True, exist_ok=True)
    tiny.train_here(config, workdir)
    task, _ = tiny.make(config, workdir / "again")
    run = task.run(0, workdir / "again")
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    before = jax.jit(run.init)(jax.random.split(key, 1)[0])["params"]["encoder"]
    return jax.tree.leaves(before), jax.tree.leaves(load_encoder(workdir).params["params"])


def test_the_contrastive_loss_trains_the_encoder(cache, tmp_path, monkeypatch):
    config = tiny.config(cache, **ENCODER, molecules__blocks="")
    before, after = first_and_last(config, tmp_path)
    moved = [np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.9
    assert (tmp_path / "evaluation.json").exists()
    # Loaded without its screen it gives what the run gives.
    task, _ = tiny.make(config, tmp_path / "third")
    with console.capture():
        run = task.run(0, tmp_path / "third")
        _, params = load_params(run, config, meshes.make_mesh(1), tmp_path, checkpoint=None)
    ids = np.arange(run.screen.n_perturbations)
    smiles = run.screen.molecules["smiles"].to_numpy(str)[run.screen.molecule]
    monkeypatch.setattr(molecules, "GRAPHS_AT_ONCE", 17)
    model = molphenix_jax.load(tmp_path)
    z = model.embed_molecules(smiles, concentration_um=run.screen.concentration_um)
    np.testing.assert_allclose(z, run.embed_perturbations(params, run.screen, ids), atol=1e-5)
    with pytest.raises(ModelError, match="1 of 1 molecules"):
        model.embed_molecules("C" * 200, concentration_um=1.0)


def test_it_starts_from_a_pretrained_run(cache, tmp_path):
    labels = tiny_labels.table(tmp_path / "labels.parquet", with_atoms=False)
    pretrained = tmp_path / "pretrained"
    fields = {"model__encoder__positional": ENCODER["model__encoder__positional"]}
    tiny.train_here(tiny_labels.config(labels, cache / "graphs", **fields), pretrained)
    assert encoder_fields_of(str(pretrained)).width == 16
    config = tiny.config(cache, **ENCODER, molecules__pretrained=str(pretrained))
    before, after = first_and_last(config, tmp_path / "run")
    for a, b in zip(before, jax.tree.leaves(load_encoder(pretrained).params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True))

    # The checkpoint has the weights: nothing of a run that began asks for the pretrained one again.
    pretrained.rename(tmp_path / "elsewhere")
    with console.capture():
        table = evaluate(None, tmp_path / "run") / "evaluation.json"
    assert table.read_bytes() == (tmp_path / "run/evaluation.json").read_bytes()
    config.train.steps += 1
    tiny.train_here(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="pretrained/config.json is missing"):
        tiny.train_here(config, tmp_path / "anew")
    (tmp_path / "elsewhere").rename(pretrained)

    other = tiny.config(
        cache,
        **{**ENCODER, "model__encoder__width": 24},
        molecules__pretrained=str(pretrained),
    )
    task, _ = tiny.make(other, tmp_path / "other")
    with pytest.raises(PretrainedError, match=r"params/layer_0/out/kernel: \(16, 16\) there"):
        task.run(0, tmp_path / "other")


def test_two_devices_embed_a_batch_as_one_does(cache, tmp_path):
    outs = []
    for devices in (1, 2):
        config = tiny.config(cache, **ENCODER, train__devices=devices)
        task, _ = tiny.make(config, tmp_path / str(devices))
        run = task.run(0, tmp_path / str(devices))
        params, batch = jax.jit(run.init)(jax.random.key(0)), run.batch(0)
        outs.append(jax.jit(run._encode)(params, batch, jax.random.key(1)))
    np.testing.assert_allclose(outs[0], outs[1], atol=1e-4)


def test_a_molecule_at_many_doses_is_encoded_once(cache, tmp_path):
    task, _ = tiny.make(tiny.config(cache, **ENCODER, train__batch_size=100_000), tmp_path)
    run = task.run(0, tmp_path)
    batch, params = run.batch(0), jax.jit(run.init)(jax.random.key(0))
    molecule = run.screen.molecule[batch.pairs.perturbation]
    distinct, place = np.unique(molecule, return_inverse=True)
    assert len(distinct) < len(molecule)
    assert batch.graphs.n_node.shape == (1, len(distinct) + 1)
    encoded = np.asarray(jax.jit(run._encode)(params, batch, jax.random.key(1)))
    assert len(np.unique(encoded.round(4), axis=0)) == len(distinct)
    first = np.array([np.flatnonzero(place == i)[0] for i in range(len(distinct))])
    np.testing.assert_array_equal(encoded, encoded[first][place])


def test_pretrained_weights_without_an_encoder_are_a_contradiction(cache):
    from molphenix_jax import tasks

    with pytest.raises(ConfigError, match="molecules.pretrained is set but"):
        tasks.validate(tiny.config(cache, molecules__pretrained="runs/x"))
