"""A loaded model: the run's own numbers, without its screen; and what it refuses."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.evaluate import load_params
from molphenix_jax.molecules import standardise
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import console
from molphenix_jax.storage import signed
from molphenix_jax.trained.folder import ModelError
from tests import tiny
from tests.retrieval.ranking import made

pytestmark = pytest.mark.slow
DOSES = (1.0, 10.0)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run whose screen and caches are gone; what its run gave before; its wells."""
    folder = tmp_path_factory.mktemp("whole")
    wells = tiny.wells(cache)
    wells.to_parquet(folder / "wells.parquet")
    config = tiny.config(
        cache,
        data__wells=str(folder / "wells.parquet"),
        data__cache=str(folder / "cache"),
        molecules__blocks="maccs,physchem",
        train__members=2,
    )
    tiny.train_here(config, folder / "run")
    task, _ = tiny.make(config, folder / "run")
    with console.capture():
        run = task.run(0, folder / "run")
        _, params = load_params(run, config, meshes.make_mesh(1), folder / "run", checkpoint=None)
    ids = np.arange(run.screen.n_perturbations)
    before = {
        "ids": ids,
        "smiles": run.screen.molecules["smiles"].to_numpy(str)[run.screen.molecule],
        "dose": run.screen.concentration_um,
        "z_m": run.embed_perturbations(params, run.screen, ids),
        "profile": run.screen.profiles(ids),
        "null": run.screen.archive.null.profile,
        "train": run.screen.molecules["smiles"].iloc[np.unique(run.screen.molecule[run.visited])],
        "test": run.screen.molecules["smiles"].iloc[np.unique(run.screen.molecule[run.split.test])],
    }
    before["z_x"] = run.embed_queries(params, before["profile"], ids=ids, wells=None)
    shutil.rmtree(folder / "cache")
    (folder / "wells.parquet").unlink()
    return folder / "run", before, wells


@pytest.fixture(scope="module")
def model(whole):
    return molphenix_jax.load(whole[0])


def test_molecules_come_where_the_run_had_them(whole, model):
    before = whole[1]
    z = model.embed_molecules(before["smiles"], concentration_um=before["dose"])
    np.testing.assert_allclose(z, before["z_m"], atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    one = model.embed_molecules(before["smiles"][3], concentration_um=before["dose"][3])
    np.testing.assert_allclose(one[0], before["z_m"][3], atol=2e-6)


def test_wells_come_where_the_run_had_their_profiles(whole, model):
    """The wells of the training screen, corrected as if they were another screen's."""
    _, before, wells = whole
    z = model.embed_profiles(before["profile"], corrected=True)
    np.testing.assert_allclose(z, before["z_x"], atol=2e-6)
    corrected = model.correct(wells, controls="is_control", groups="plate")
    controls = corrected[wells["is_control"].to_numpy(bool)]
    assert abs(controls.mean(0)).max() < 0.05
    standard = standardise(wells["smiles"].tolist())["smiles"]
    label = standard.astype(str) + " " + wells["concentration_um"].round(3).astype(str)
    label = np.where(wells["is_control"], "control", label)
    z = model.embed_profiles(wells, controls="is_control", groups="plate", average=label)
    place = {name: i for i, name in enumerate(pd.unique(label))}
    assert len(z) == len(place) == len(before["ids"]) + 1
    doses = pd.Series(before["dose"].astype(float)).round(3).astype(str)
    rows = [place[f"{one} {dose}"] for one, dose in zip(before["smiles"], doses, strict=True)]
    assert np.median((z[rows] * before["z_x"]).sum(1)) > 0.99


def test_it_tells_what_it_was_trained_on(whole, model):
    folder, before, _ = whole
    said = repr(model)
    for part in (str(folder), "maccs, physchem", "1, 10 µM", "2 members", "s2l", "tvn"):
        assert part in said
    assert model.config["task"] == "align"
    np.testing.assert_allclose(model.doses_um, DOSES, rtol=1e-5)
    assert model.conditions == {}
    assert model.has_trained_on(before["train"]).all()
    assert not model.has_trained_on(before["test"]).any()
    assert not model.has_trained_on(["no smiles"]).any()
    np.testing.assert_array_equal(model.null_profiles, before["null"])
    assert len(model.null_profiles) > 20
    assert len(model.feature_names) == model.null_profiles.shape[1]


def test_it_keeps_perturbations_that_it_has_not_learned_from(whole, model):
    """The unseen molecules' profiles, as the run had them; a copy reads back; a damage is named."""
    _, before, _ = whole
    held = model.held_out
    assert held is not None
    assert set(held.smiles) == set(before["test"])
    assert not model.has_trained_on(held.smiles).any()
    known = zip(before["smiles"], before["dose"], strict=True)
    place = {(smiles, f"{dose:.3g}"): i for i, (smiles, dose) in enumerate(known)}
    rows = [place[s, f"{d:.3g}"] for s, d in zip(held.smiles, held.concentration_um, strict=True)]
    np.testing.assert_array_equal(held.profile, before["profile"][rows])
    assert (held.replicates > 0).all()
    assert ((held.activity_p > 0) & (held.activity_p <= 1)).all()


def test_a_model_of_before_these_were_kept_is_read(whole, tmp_path):
    shutil.copytree(whole[0] / "model", tmp_path / "model")
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "held_out.npz").unlink()
    del about["files"]["held_out.npz"], about["digest"]
    (tmp_path / "model" / "model.json").write_text(json.dumps(signed(about)))
    assert molphenix_jax.load(tmp_path / "model").held_out is None


def test_a_new_process_with_the_model_folder_alone(whole, cache, tmp_path):
    """Nothing but the folder, under another name; no screen, no cache, no config."""
    shutil.copytree(whole[0] / "model", tmp_path / "elsewhere")
    program = (
        "import molphenix_jax, numpy, sys\n"
        "model = molphenix_jax.load('elsewhere')\n"
        "z = model.embed_molecules(['CCO', 'c1ccccc1'], concentration_um=[1, 10])\n"
        "assert 'tensorflow_datasets' not in sys.modules and 'orbax' not in sys.modules\n"
        "numpy.save('z.npy', z)\n"
    )
    environment = {**tiny.environment(cache), "MOLPHENIX_CACHE": str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    here = molphenix_jax.load(whole[0]).embed_molecules(
        ["CCO", "c1ccccc1"], concentration_um=[1, 10]
    )
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), here, atol=2e-6)
    assert not (tmp_path / "none").exists()


def test_molecules_that_cannot_be_used(model):
    with pytest.raises(ModelError, match=r"1 of 2 molecules .* number 1, 'nonsense'"):
        model.embed_molecules(["CCO", "nonsense"], concentration_um=1)
    z = model.embed_molecules(["CCO", "nonsense"], concentration_um=1, invalid="nan")
    assert np.isfinite(z[0]).all()
    assert np.isnan(z[1]).all()
    assert model.embed_molecules([], concentration_um=1).shape == (0, model.width)
    assert np.isnan(model.embed_molecules(["x"], concentration_um=1, invalid="nan")).all()
    for dose in (0, -1, np.nan, np.inf, [1, 2, 3], "ten"):
        with pytest.raises(ModelError, match="concentration_um"):
            model.embed_molecules(["CCO", "CCN"], concentration_um=dose)
    with pytest.warns(UserWarning, match=r"1 of 1 concentrations .*1, 10 µM"):
        model.embed_molecules("CCO", concentration_um=100)
    with pytest.raises(ModelError, match="time_h is none that the model takes"):
        model.embed_molecules("CCO", concentration_um=1, conditions={"time_h": 24})
    with pytest.raises(ModelError, match="no block 'minimol'"):
        model.embed_molecules("CCO", concentration_um=1, embeddings={"minimol": [[1.0]]})


def test_wells_that_cannot_be_used(whole, model):
    wells = whole[2]
    x = np.stack(wells["embedding"].to_numpy())
    own = wells["is_control"].to_numpy(bool)
    plate = wells["plate"].to_numpy(str)
    with pytest.raises(ModelError, match=r"the model takes \[n, 32\]"):
        model.embed_profiles(x[:, :5], controls=own)
    with pytest.raises(ModelError, match="which rows are controls"):
        model.embed_profiles(x)
    with pytest.raises(ModelError, match=r"none of the training screen's groups"):
        model.embed_profiles(x, groups=np.full(len(x), "elsewhere"))
    with pytest.raises(ModelError, match="has 0 control wells"):
        model.embed_profiles(x, groups=plate, controls=own & (plate == plate[0]))
    with pytest.raises(ModelError, match="truth values are needed"):
        model.embed_profiles(x, controls=own.astype(int))
    with pytest.raises(ModelError, match=f"{len(x)} values are needed"):
        model.embed_profiles(x, controls=own[:-1])
    with pytest.raises(ModelError, match="no such column"):
        model.embed_profiles(wells, controls="is_dmso")
    broken = x.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ModelError, match=f"row 7, {model.feature_names[3]}"):
        model.embed_profiles(broken, controls=own)
    with pytest.raises(ModelError, match="lack 32 of the model's 32 features"):
        model.embed_profiles(wells[["plate", "is_control"]], controls="is_control")
    with pytest.raises(ModelError, match="profiles: use embed_profiles"):
        model.embed_images(np.zeros((1, 1, 8, 8), np.uint8))


def test_controls_of_their_own_and_groups_of_training(whole, model):
    wells = whole[2]
    x = np.stack(wells["embedding"].to_numpy())
    own, plate = wells["is_control"].to_numpy(bool), wells["plate"].to_numpy(str)
    here = plate == plate[0]
    apart = model.correct(x[here & ~own], controls=x[here & own])
    together = model.correct(x[here], controls=own[here])[~own[here]]
    np.testing.assert_allclose(apart, together, atol=1e-5)
    # Of a plate of the training screen its own statistics are known.
    by_name = model.correct(x[here & ~own], groups=plate[here & ~own])
    assert np.isfinite(by_name).all()
    assert np.median(np.abs(by_name - apart)) < 0.5


def test_a_table_in_another_order_of_features(whole, model):
    wells = whole[2]
    x = np.stack(wells["embedding"].to_numpy())
    table = pd.DataFrame(x, columns=list(model.feature_names))[list(model.feature_names)[::-1]]
    table["own"] = wells["is_control"].to_numpy(bool)
    np.testing.assert_array_equal(
        model.embed_profiles(table, controls="own"),
        model.embed_profiles(x, controls=table["own"]),
    )


def test_folders_that_hold_no_model(whole, tmp_path):
    def damaged(name: str) -> pathlib.Path:
        folder = tmp_path / name
        shutil.copytree(whole[0] / "model", folder)
        return folder

    with pytest.raises(ModelError, match="is no folder"):
        molphenix_jax.load(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="neither a run nor a model folder"):
        molphenix_jax.load(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="written when the training ends"):
        molphenix_jax.load(tmp_path / "empty")
    (tmp_path / "empty" / "evaluation.json").write_text("{}")
    with pytest.raises(ModelError, match="molphenix export"):
        molphenix_jax.load(tmp_path / "empty")
    with pytest.raises(ModelError, match="no fold 1"):
        molphenix_jax.load(whole[0], fold=1)
    with pytest.raises(ModelError, match="leave fold=1 out"):
        molphenix_jax.load(whole[0] / "model", fold=1)
    for name in sorted(path.name for path in (whole[0] / "model").iterdir()):
        folder = damaged(f"no-{name}")
        (folder / name).unlink()
        with pytest.raises(ModelError, match=r"no-.*(cannot be read|without its model.json)"):
            molphenix_jax.load(folder)
        folder = damaged(f"flipped-{name}")
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        # A flipped bit may leave it no JSON at all.
        no_json = "|cannot be read" if name == "model.json" else ""
        with pytest.raises(ModelError, match=f"{name} is not the file that was written{no_json}"):
            molphenix_jax.load(folder)
    folder = damaged("newer")
    about = json.loads((folder / "model.json").read_text())

    def write(**changes: object) -> None:
        fields = {name: value for name, value in {**about, **changes}.items() if name != "digest"}
        (folder / "model.json").write_text(json.dumps(signed(fields)))

    write(format=99)
    with pytest.raises(ModelError, match="format 99"):
        molphenix_jax.load(folder)
    write(kind="image_encoder")
    with pytest.raises(ModelError, match="kind image_encoder, alignment is needed"):
        molphenix_jax.load(folder)
    featuriser = {**about["featuriser"], "features": "1+rdkit2020"}
    write(featuriser=featuriser)
    with pytest.raises(ModelError, match="featuriser 1\\+rdkit2020"):
        molphenix_jax.load(folder).embed_molecules("CCO", concentration_um=1)
    # Other doses than it was trained at, say, with nothing else changed.
    told = json.loads((folder / "model.json").read_text())
    told["dose"]["grid_log10"][0] += 1
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match=r"model\.json is not the file that was written"):
        molphenix_jax.load(folder)


def test_a_model_whose_folder_names_no_molecule_has_trained_on_none(tmp_path):
    model = made.load(made.write_run(tmp_path / "run", train=[]))
    assert not len(model.molecules)
    assert not model.has_trained_on(["CCO", "no smiles"]).any()
