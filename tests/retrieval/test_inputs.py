"""What a model takes beside SMILES and doses: conditions, embeddings, images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.models import ConcentrationEncoding, MolPhenix, TowerConfig
from molphenix_jax.models.resnet import ImageMolPhenix, ResNetConfig
from molphenix_jax.molecules import FEATURISER_VERSION, featurise
from molphenix_jax.molecules.graphs import graphs_version
from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.trained.alignment import Alignment, write_alignment
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.trained.scaling import fit_scaling
from molphenix_jax.trained.sides import ImageSide, MoleculeSide, PhenomicSide
from molphenix_jax.wells.conditions.values import Conditions

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
WELLS = RNG.normal(size=(40, 4)).astype(np.float32)
TIMES = Conditions(("time_h", "cell_line"), (("24", "U2OS"), ("48", "U2OS")))
SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccccc1"]
TOWER = TowerConfig(8, 1)
MEMBERS = 3


def init(model, *inputs):
    one = jax.jit(jax.vmap(lambda key: model.init(key, *inputs)))
    return jax.device_get(one(jax.random.split(jax.random.key(0), MEMBERS)))


def alignment(*, conditions=TIMES, blocks=("maccs", "mine")) -> Alignment:
    """An ensemble of three that was never trained: told a time, with a block of the user's."""
    network = MolPhenix(TOWER, TOWER, dim=6)
    widths = {"maccs": 167, "mine": 5}
    widths = {name: widths[name] for name in blocks}
    fitted = [RNG.normal(size=(20, width)).astype(np.float32) for width in widths.values()]
    dose = ConcentrationEncoding.fit(np.array([0.1, 1.0, 10.0]), kind="log")
    side = MoleculeSide(
        network, blocks, fit_scaling(fitted, components=0, whiten=0.0), dose, conditions
    )
    profile = fit_scaling([WELLS], components=0, whiten=0.0)
    return Alignment(
        params=init(network, jnp.zeros((2, 4)), jnp.zeros((2, side.width))),
        phenomic=PhenomicSide(network, profile),
        molecular=side,
        block_widths=widths,
        feature_names=tuple("abcd"),
        correction=fit_correction(WELLS, ["p"] * 40, np.ones(40, bool), method="none"),
        null=NullProfiles.none(4),
        splits=pd.DataFrame({"inchikey": [], "smiles": [], "split": []}, dtype=str),
        about={
            "screen": {"name": "mine"},
            "featuriser": {
                "features": FEATURISER_VERSION,
                "graphs": graphs_version("mpnn++"),
                "max_atoms": 128,
            },
            "trained": {
                **{"pairs": 3, "molecules": 2, "updates": 1},
                **{"loss": "s2l", "members": MEMBERS},
            },
        },
    )


def loaded(model: Alignment, folder):
    write_alignment(folder / "model", model, config={"task": "align"})
    return molphenix_jax.load(folder / "model")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ours = alignment()
    return ours, loaded(ours, tmp_path_factory.mktemp("model"))


def test_conditions_and_embeddings_reach_the_model(made):
    ours, model = made
    mine = RNG.normal(size=(3, 5)).astype(np.float32)
    request = {"concentration_um": [0.1, 1, 5], "embeddings": {"mine": mine}}
    early = model.embed_molecules(SMILES, conditions={"time_h": 24}, **request)
    late = model.embed_molecules(SMILES, conditions={"time_h": "48"}, **request)
    assert np.abs(early - late).max() > 0.01
    # By the formula: blocks in order, dose, one-hot of the time.
    side = ours.molecular
    blocks = {"maccs": featurise(["CCO", "Oc1ccccc1", "CC(=O)Nc1ccccc1"], "maccs"), "mine": mine}
    told = np.repeat([[0.0, 1.0]], 3, axis=0).astype(np.float32)
    x = side.inputs(blocks, jnp.asarray([0.1, 1, 5]), jnp.asarray(told))
    embed = jax.jit(lambda params: side.model.apply(params, x, method="embed_molecules"))
    for member in range(MEMBERS):
        z = embed(jax.tree.map(lambda leaf, k=member: leaf[k], ours.params))
        part = late[:, 6 * member : 6 * (member + 1)] * np.sqrt(MEMBERS)
        np.testing.assert_allclose(part, np.asarray(z), atol=1e-5)
    assert "told 24 h, 48 h" in repr(model)
    assert model.conditions == {"time_h": ("24", "48")}


def test_a_molecule_that_is_left_out_takes_its_embedding_along(made):
    mine = RNG.normal(size=(3, 5)).astype(np.float32)
    request = {"concentration_um": 1.0, "conditions": {"time_h": 24}}
    whole = made[1].embed_molecules(
        [SMILES[0], "nonsense", SMILES[2]], embeddings={"mine": mine}, invalid="nan", **request
    )
    assert np.isnan(whole[1]).all()
    alone = made[1].embed_molecules([SMILES[2]], embeddings={"mine": mine[2:]}, **request)
    np.testing.assert_allclose(whole[2], alone[0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {}}, "has to be told time_h, one of 24 h, 48 h"),
        ({"conditions": {"time_h": 72}}, "time_h = 72 was not trained; there are 24 h, 48 h"),
        ({"conditions": {"time_h": 24, "cell_line": "A549"}}, "cell_line is none"),
        ({"embeddings": {}}, "trained with embeddings 'mine' of a file"),
        ({"embeddings": {"mine": np.zeros((3, 4))}}, r"\(3, 5\) finite numbers"),
        ({"embeddings": {"mine": np.full((3, 5), np.nan)}}, "finite numbers"),
    ],
)
def test_what_is_missing_or_wrong_is_said(made, changes, message):
    request = {"conditions": {"time_h": 24}, "embeddings": {"mine": np.zeros((3, 5))}}
    with pytest.raises(ModelError, match=message):
        made[1].embed_molecules(SMILES, concentration_um=1, **{**request, **changes})


def test_a_model_without_correction_takes_wells_as_they_are(made):
    ours, model = made
    z = model.embed_profiles(WELLS)
    np.testing.assert_allclose(z, ours.phenomic.embed(ours.params, WELLS), atol=1e-6)
    mean = model.embed_profiles(WELLS, average=np.arange(40) // 20)
    halves = np.stack([WELLS[:20].mean(0), WELLS[20:].mean(0)])
    np.testing.assert_allclose(mean, model.embed_profiles(halves), atol=1e-5)
    with pytest.raises(ModelError, match="row 3 has no label"):
        model.embed_profiles(WELLS, average=[*"aab", None, *"b" * 36])


def test_an_encoding_that_is_not_registered_here_is_named(made, tmp_path):
    ours = made[0]
    dose = dataclasses.replace(ours.molecular.dose, kind="hill")
    side = dataclasses.replace(ours.molecular, dose=dose)
    with pytest.raises(ModelError, match="'hill', which is not registered: import the plugin"):
        loaded(dataclasses.replace(ours, molecular=side), tmp_path)


def test_an_encoder_of_molecules_from_outside_is_needed_as_it_was(made, tmp_path):
    ours = alignment(conditions=Conditions(), blocks=("maccs",))
    made_by = {**ours.about["featuriser"], "encoders": {"outside": "1"}}
    ours = dataclasses.replace(ours, about={**ours.about, "featuriser": made_by})
    model = loaded(ours, tmp_path)
    with pytest.raises(ModelError, match="'outside', which is not registered"):
        model.embed_molecules("CCO", concentration_um=1)
    made_by["encoders"] = {"maccs": "7"}
    model = loaded(ours, tmp_path)
    with pytest.raises(ModelError, match="featuriser maccs 7; this is maccs none"):
        model.embed_molecules("CCO", concentration_um=1)


@pytest.mark.slow
def test_images(made, tmp_path):
    network = ImageMolPhenix(TOWER, TOWER, dim=6, images=ResNetConfig((1,), False, 4))
    base = alignment(conditions=Conditions(), blocks=("maccs",))
    side = dataclasses.replace(base.molecular, model=network)
    images = RNG.integers(0, 255, (70, 2, 16, 16), dtype=np.uint8)
    ours = dataclasses.replace(
        base,
        params=init(network, jnp.zeros((2, 2, 16, 16)), jnp.zeros((2, side.width))),
        phenomic=ImageSide(network, np.full(2, 0.5, np.float32), np.ones(2, np.float32)),
        molecular=side,
        about={**base.about, "images": {"shape": [2, 16, 16]}},
    )
    model = loaded(ours, tmp_path)
    z = model.embed_images(images)
    assert z.shape == (70, 6 * MEMBERS)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.embed_images(images[-1:])[0], z[-1], atol=1e-5)
    assert model.embed_molecules("CCO", concentration_um=1).shape == (1, 6 * MEMBERS)
    assert "images of 2 × 16 × 16" in repr(model)
    with pytest.raises(ModelError, match="use embed_images"):
        model.embed_profiles(WELLS, corrected=True)
    with pytest.raises(ModelError, match=r"uint8 \[n, 2, 16, 16\]"):
        model.embed_images(images[:, :, :8])
    with pytest.raises(ModelError, match="uint8"):
        model.embed_images(images.astype(float))
    with pytest.raises(ModelError, match="use embed_profiles"):
        made[1].embed_images(images)


def test_whoever_may_read_one_file_may_read_all(made, tmp_path):
    loaded(made[0], tmp_path)
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes == {(tmp_path / "other").stat().st_mode & 0o777}


def test_any_number_of_molecules_is_embedded_in_chunks(made, monkeypatch):
    mine = RNG.normal(size=(3, 5)).astype(np.float32)
    request = {"conditions": {"time_h": 24}, "embeddings": {"mine": mine}}
    whole = made[1].embed_molecules(SMILES, concentration_um=1, **request)
    monkeypatch.setattr("molphenix_jax.trained.sides.CHUNK", 2)
    again = made[1].embed_molecules(SMILES, concentration_um=1, **request)
    np.testing.assert_allclose(whole, again, atol=1e-6)
