"""Models by name: of the package, of the cache of the hub, and what is said of others."""

import pathlib
import shutil
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

import molphenix_jax
from molphenix_jax.extras import MissingExtraError
from molphenix_jax.retrieval import molecules
from molphenix_jax.trained import finding, hub
from molphenix_jax.trained.folder import ModelError
from tests.retrieval.ranking import made

SMILES = ["CCO", "CC(=O)Oc1ccccc1C(=O)O"]
DIGEST = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def run(tmp_path) -> pathlib.Path:
    return made.write_run(tmp_path / "run", train=SMILES)


@pytest.fixture
def cached(run, tmp_path, monkeypatch) -> pathlib.Path:
    """The model in the hub's cache layout, without a network."""
    repo = tmp_path / "hub" / "models--me--mine"
    snapshot = repo / "snapshots" / DIGEST
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(run / "model", snapshot)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(DIGEST)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.parametrize("name", finding.shipped())
def test_a_model_of_the_package_is_small_and_works(name):
    folder = finding.find_model(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    model = molphenix_jax.load(name)
    assert f"model of {name}," in repr(model)
    told = {name: levels[0] for name, levels in model.conditions.items()}
    z = model.embed_molecules(SMILES, concentration_um=5, conditions=told)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    card = (folder / "README.md").read_text()
    for part in ("CC BY 4.0", "Dahlin", f"load('{name}')", "| molphenix |", "| chance |"):
        assert part in card
    assert not any(str(each) in (folder / "config.json").read_text() for each in ("/tmp", "/work"))


def test_there_is_a_public_model():
    assert finding.shipped() == ("public-u2os",)


def test_another_version_with_the_same_features_is_taken(monkeypatch):
    monkeypatch.setattr(molecules, "FEATURISER_VERSION", "2+rdkit2099.01.1")
    model = molphenix_jax.load("public-u2os")
    model.featuriser.need_same_featuriser()
    probe = model._trained.probe
    assert probe is not None
    blocks = dict(probe.blocks)
    blocks["maccs"] = blocks["maccs"] ^ 1
    monkeypatch.setattr(model.featuriser, "_probe", type(probe)(probe.smiles, blocks))
    with pytest.raises(ModelError, match="rdkit2099.01.1"):
        model.featuriser.need_same_featuriser()


def test_a_folder_goes_before_a_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run / "model", tmp_path / "public-u2os")
    assert molphenix_jax.load("public-u2os").digest == molphenix_jax.load(run).digest


def test_a_wrong_name_lists_those_that_there_are():
    with pytest.raises(ModelError, match=r"public-u3os is no folder.*\(public-u2os\)"):
        molphenix_jax.load("public-u3os")


@pytest.mark.parametrize("name", ["hf://me/mine", f"hf://me/mine@{DIGEST}", "hf:/me/mine"])
def test_a_model_of_the_hub_comes_from_its_cache(name, cached, run):
    model = molphenix_jax.load(name)
    assert model.path == cached
    assert model.digest == molphenix_jax.load(run).digest
    # What an index says of its model finds the same revision.
    assert model.name == f"hf://me/mine@{DIGEST}"
    assert molphenix_jax.load(pathlib.Path(model.name)).digest == model.digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://me/other", "not in the cache of this machine"),
        ("hf://me/mine@gone", "not in the cache of this machine"),
        ("hf://mine", "give OWNER/NAME"),
        ("hf://", "give OWNER/NAME"),
    ],
)
def test_what_the_hub_does_not_have_ends_in_a_sentence(name, message, cached):
    with pytest.raises(ModelError, match=message):
        molphenix_jax.load(name)


def test_without_the_extra_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"molphenix-jax\[hub\]"):
        molphenix_jax.load("hf://me/mine")


def test_what_is_pushed_is_what_is_loaded(run, cached, monkeypatch):
    there = {}

    class Api:
        def create_repo(self, repo, exist_ok):
            assert exist_ok
            return f"https://hub/{repo}"

        def upload_folder(self, folder_path, repo_id):
            there[repo_id] = sorted(path.name for path in pathlib.Path(folder_path).iterdir())
            shutil.rmtree(cached)
            shutil.copytree(folder_path, cached)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert hub.push(run / "model", "me/mine") == "https://hub/me/mine"
    assert "model.json" in there["me/mine"]
    assert molphenix_jax.load("hf://me/mine").digest == molphenix_jax.load(run).digest


def test_a_push_without_a_network_says_what_to_do(run, cached):
    with pytest.raises(ModelError, match="hf upload me/mine"):
        hub.push(run / "model", "me/mine")
