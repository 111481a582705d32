"""A molecule encoder of one's own, trained with the heads: what it reads, learns and keeps."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import molphenix_jax
from molphenix_jax import tasks
from molphenix_jax.evaluate import load_params
from molphenix_jax.molecules import MoleculeEncoderSpec
from molphenix_jax.parts import forget
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks.align.config import config_from_arg
from molphenix_jax.trained.folder import ModelError
from tests import tiny

pytestmark = pytest.mark.long
LENGTH = 40


def codes(smiles):
    return [[ord(letter) % 64 for letter in text[:LENGTH].ljust(LENGTH)] for text in smiles]


class Letters(nn.Module):
    """Letters to vectors, their mean to the embedding."""

    @nn.compact
    def __call__(self, x, *, train):
        letters = nn.Embed(64, 8, name="letters")(x.astype(jnp.int32))
        return nn.Dropout(0.1)(nn.Dense(6)(letters.mean(axis=1)), deterministic=not train)


SPEC = MoleculeEncoderSpec(codes, width=LENGTH, network=Letters)


@pytest.fixture(scope="module", autouse=True)
def registered():
    molphenix_jax.register("molecule_encoder", "spelled", SPEC)
    yield
    forget([("molecule_encoder", "spelled")])


def config_of(cache, **changes):
    """By field alone, as a command line has it."""
    fields = {"molecules__blocks": "maccs", "molecules__encoder": "spelled"}
    return tiny.config(cache, **{**fields, **changes})


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run of two members, and its parameters."""
    workdir = tmp_path_factory.mktemp("spelled") / "run"
    config = config_of(cache, train__members=2)
    tiny.train_here(config, workdir)
    task, _ = tiny.make(config, workdir)
    with console.capture():
        run = task.run(0, workdir)
        _, params = load_params(run, config, meshes.make_mesh(1), workdir, checkpoint=None)
    return workdir, run, params


def test_it_learns_with_the_heads(whole):
    _, run, params = whole
    encoder = params["params"]["encoder"]
    assert encoder["letters"]["embedding"].shape == (2, 64, 8)
    start = jax.vmap(run.init)(jax.random.split(jax.random.key(0), 2))["params"]["encoder"]
    used = np.unique(codes(run.screen.molecules["smiles"]))
    never = np.setdiff1d(np.arange(64), used)
    assert len(never) > 10
    gradient = jax.grad(lambda p: run.loss(p, run.batch(0), run.tables, jax.random.key(1))[0])
    own = gradient(jax.tree.map(lambda a: a[0], params))["params"]["encoder"]["letters"]
    assert np.abs(own["embedding"][used]).max() > 0
    assert not np.asarray(own["embedding"][never]).any()
    assert start["Dense_0"]["kernel"].shape == encoder["Dense_0"]["kernel"].shape


def test_a_stream_gives_it_what_the_device_would(whole, cache, tmp_path):
    _, run, params = whole
    config = config_of(cache, train__members=2, data__placement="stream")
    task, said = tiny.make(config, tmp_path)
    with console.capture():
        streamed = task.run(0, tmp_path)
    assert streamed.feed.placement == "stream"
    mesh, key, one = meshes.make_mesh(1), jax.random.key(1), jax.tree.map(lambda a: a[0], params)
    of = [
        jax.value_and_grad(lambda p, r=r: r.loss(p, r.batch(3), r.place_tables(mesh), key)[0])(one)
        for r in (run, streamed)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *of)
    ids = np.arange(20)
    z = [r.embed_perturbations(params, r.screen, ids) for r in (run, streamed)]
    np.testing.assert_allclose(*z, atol=1e-6)


def test_its_input_is_neither_scaled_nor_a_block_beside(whole):
    _, run, _ = whole
    assert run.molecule_side.blocks == ("maccs",)
    assert run.molecule_side.taken == ("maccs", "spelled")
    raw = run.feed.rows("spelled", np.arange(5))
    np.testing.assert_array_equal(raw, codes(run.screen.molecules["smiles"][:5]))
    assert run.assets.molecule.mean.shape[-1] == 167


def test_the_model_folder_embeds_as_the_run_and_needs_the_plugin(whole):
    workdir, run, params = whole
    model = molphenix_jax.load(workdir)
    ids = np.arange(20)
    smiles = run.screen.molecules["smiles"].to_numpy(str)[run.screen.molecule[ids]]
    z = model.embed_molecules(smiles, concentration_um=run.screen.concentration_um[ids])
    np.testing.assert_allclose(z, run.embed_perturbations(params, run.screen, ids), atol=2e-6)
    assert "maccs, spelled" in repr(model)
    alone = model.embed_molecules(smiles[:1], concentration_um=run.screen.concentration_um[:1])
    np.testing.assert_allclose(alone, z[:1], atol=2e-6)
    forget([("molecule_encoder", "spelled")])
    try:
        with pytest.raises(ModelError, match="encoder 'spelled', which is not registered"):
            molphenix_jax.load(workdir)
        other = MoleculeEncoderSpec(codes, width=LENGTH, version="2", network=Letters)
        molphenix_jax.register("molecule_encoder", "spelled", other)
        with pytest.raises(ModelError, match="spelled 1.*spelled 2"):
            molphenix_jax.load(workdir).embed_molecules(smiles[:1], concentration_um=1.0)
    finally:
        forget([("molecule_encoder", "spelled")])
        molphenix_jax.register("molecule_encoder", "spelled", SPEC)


def test_configs_know_it_and_refuse_what_makes_no_sense(cache):
    config = config_from_arg("encoder=spelled,size=tiny", loss="siglip")
    assert config.molecules.encoder == "spelled"
    with pytest.raises(ConfigError, match="'words' is unknown; choose one of none, mpnn, spelled"):
        config_from_arg("encoder=words", loss="siglip")
    with pytest.raises(ConfigError, match="spelled is the input of molecules.encoder=spelled"):
        tasks.validate(config_of(cache, molecules__blocks="spelled"))
    with pytest.raises(ConfigError, match="pretrained is set but molecules.encoder=spelled"):
        tasks.validate(config_of(cache, molecules__pretrained="runs/molgps"))
