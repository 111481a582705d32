"""What earlier versions left behind lives: golden folders are evaluated, continued and opened."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax import cli, tasks, train
from molphenix_jax.evaluate import evaluate, load_params
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError, differences, plain
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens import versions
from molphenix_jax.screens.screen import ScreenError, unpacked_rows
from molphenix_jax.screens.splits import SplitError
from molphenix_jax.screens.store import open_screen
from molphenix_jax.storage import digest_json
from molphenix_jax.tasks import molecule_encoder
from molphenix_jax.tasks.align.config import default_config
from molphenix_jax.tasks.embed_molecules import embed_file
from molphenix_jax.tasks.stored import placed_config, stored_config
from molphenix_jax.trained.encoders.image_encoder import read_image_encoder
from molphenix_jax.trained.folder import ModelError
from tests import tiny
from tests.golden.versions import folders

pytestmark = pytest.mark.slow

# Fields and groups of fields that came after the first runs; the golden ones happen to have them.
LATER = ("data.placement", "data.device_memory_gib", "eval.validation_pairs", "train.prefetch")
LATER_GROUPS = ("model.encoder", "loss.options.cloome")


# Made by one version under two versions of Python.
ARCHIVES = [
    *(pytest.param(name, marks=pytest.mark.long) for name in folders.ARCHIVES[:-1]),
    folders.ARCHIVES[-1],
]


@pytest.fixture(scope="module", params=ARCHIVES)
def unpacked(request, tmp_path_factory) -> pathlib.Path:
    return folders.unpack(request.param, tmp_path_factory.mktemp("golden"))


@pytest.fixture
def golden(unpacked, cache, monkeypatch) -> pathlib.Path:
    """The folder of the golden ones, which is the current folder too."""
    monkeypatch.chdir(unpacked)
    return unpacked


@pytest.fixture
def copy(golden, tmp_path, monkeypatch):
    """Copies some of the golden folders, to be changed; the copy is the current folder."""

    def copy(*names: str) -> pathlib.Path:
        for name in names:
            source = golden / name
            copied = shutil.copytree if source.is_dir() else shutil.copy
            copied(source, tmp_path / name)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return copy


def edit(path: pathlib.Path, change) -> None:
    """Applies `change` to the contents of a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def remove(config: dict, *fields: str) -> None:
    for field in fields:
        *groups, name = field.split(".")
        part = config
        for group in groups:
            part = part[group]
        del part[name]


def evaluated(workdir: str) -> dict:
    with console.capture():
        return folders.record(evaluate(None, pathlib.Path(workdir)))


def make(workdir: str):
    config = placed_config(pathlib.Path(workdir))
    with console.capture() as said:
        task = tasks.make(config, meshes.make_mesh(1), pathlib.Path(workdir))
    return task, said.get()


# They do what they did.


@pytest.mark.parametrize("name", ["run", "folds", "from_wells"])
def test_an_evaluation_gives_the_rows_of_then(name, copy):
    folder = copy(name, "screen", "wells.csv")
    kept = json.loads((folder / name / "screen.json").read_text())
    if name == "from_wells" and versions.other_versions(kept):
        pytest.skip("its wells would be prepared by other versions: the run stops, see below")
    old = folders.record(folder / name)
    edit(folder / name / "config.json", lambda config: remove(config, *LATER, *LATER_GROUPS))
    folders.assert_same_rows(evaluated(name), old)


def test_a_finished_run_trains_on(copy):
    folder = copy("run", "screen")
    old = list(read_metrics(folder / "run" / METRICS_FILE))
    config = placed_config(folder / "run")
    config.train.steps = 6
    with console.capture() as said:
        train.train_and_evaluate(config, folder / "run")
    assert "continuing to 6 updates" in said.get()
    assert "continuing after update 4" in said.get()
    new = list(read_metrics(folder / "run" / METRICS_FILE))
    assert new[: len(old) - 1] == old[:-1]
    assert [line["step"] for line in new[len(old) - 1 :]] == [4, 5, 6, 6]
    assert folders.record(folder / "run/evaluations/after-4")["results"]
    assert stored_config(folder / "run").train.steps == 6


def test_training_continues_from_an_earlier_checkpoint(copy):
    folder = copy("run", "screen")
    old = list(read_metrics(folder / "run" / METRICS_FILE))
    rows = folders.record(folder / "run")
    shutil.rmtree(folder / "run/checkpoints/step_4")
    (folder / "run/evaluation.json").unlink()
    with console.capture() as said:
        train.train_and_evaluate(placed_config(folder / "run"), folder / "run")
    assert "continuing after update 2" in said.get()
    folders.assert_same_metrics(list(read_metrics(folder / "run" / METRICS_FILE)), old)
    folders.assert_same_rows(folders.record(folder / "run"), rows)


def test_the_encoder_embeds_molecules(golden, tmp_path):
    out = tmp_path / "out.parquet"
    n, width, rejected = embed_file(
        golden / "labels.csv", encoder=golden / "encoder", out=out, layers=("graph",)
    )
    assert (n, width, rejected) == (60, 8, None)
    assert np.isfinite(np.stack(pd.read_parquet(out)["embedding"].to_list())).all()


def test_a_run_of_before_there_were_models_is_exported(golden, tmp_path):
    before = tiny.files(golden / "run")
    with pytest.raises(ModelError, match="molphenix export run --out=DIR"):
        molphenix_jax.load("run")
    with console.capture() as said:
        status = cli.main(["export", "run", f"--out={tmp_path / 'out'}"])
    assert status == 0, said.get()
    assert tiny.files(golden / "run") == before
    model = molphenix_jax.load(tmp_path / "out")
    # Its screen held no control wells.
    assert len(model.null_profiles) == 0
    assert model.about["trained"]["molecules"] > 10


def test_the_encoder_is_where_an_alignment_begins(golden, tmp_path):
    config = default_config(wells="screen", encoder="mpnn")
    config.data.cache = str(tmp_path / "cache")
    config.molecules.pretrained = "encoder"
    config.molecules.blocks = "maccs"
    config.model.encoder.update(molecule_encoder.encoder_fields_of("encoder"))
    config.train.update(batch_size=32, devices=1)
    config.data.psi = 1.0
    with console.capture():
        task = tasks.make(config, meshes.make_mesh(1), tmp_path)
        params = jax.jit(task.run(0, tmp_path).init)(jax.random.key(0))
    weights = molecule_encoder.load_encoder(golden / "encoder").params["params"]
    for ours, theirs in zip(
        jax.tree.leaves(params["params"]["encoder"]), jax.tree.leaves(weights), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_prepared_screen_opens(golden):
    screen = open_screen("screen").in_memory()
    assert (screen.n_perturbations, len(screen.molecules)) == (120, 60)
    assert screen.replicates.shape[1] == 12
    assert {
        name: unpacked_rows(block, np.arange(1)).shape[1] for name, block in screen.blocks.items()
    } == {
        "morgan": 2048,
        "maccs": 167,
        "rdkit": 2048,
        "physchem": 212,
    }
    # By hand: 64 controls lie around 0 with an SD of 1, so treated wells have a mean square above.
    assert (screen.replicates**2).mean() > 1
    assert np.isnan(screen.p_value).sum() == 2


# Fields come and go.


def test_fields_that_came_later_have_their_defaults(copy):
    whole = stored_config(copy("run") / "run")
    edit(pathlib.Path("run/config.json"), lambda config: remove(config, *LATER, *LATER_GROUPS))
    old = stored_config(pathlib.Path("run"))
    changed = differences(plain(whole), plain(old))
    # Before that field every validation pair was ranked, which is not its default.
    assert changed == ["eval.validation_pairs: 10000 → 1000000000"]


def test_a_missing_group_of_groups_has_its_defaults(copy):
    copy("run")
    edit(pathlib.Path("run/config.json"), lambda config: remove(config, "model", "data.simulated"))
    config = stored_config(pathlib.Path("run"))
    assert config.model.to_dict() == default_config().model.to_dict()
    # The built-in screen of then, not today's.
    assert config.data.simulated.n_molecules == 500


def test_unknown_fields_are_named(copy):
    copy("run")

    def add(config: dict) -> None:
        config["model"]["sharpness"] = 3
        config["data"]["simulated"]["moon"] = True
        config["train"] = 5

    edit(pathlib.Path("run/config.json"), add)
    with pytest.raises(ConfigError, match=r"know: data\.simulated\.moon, model\.sharpness, train"):
        stored_config(pathlib.Path("run"))


@pytest.mark.parametrize("text", ["[]", "{", '{"seed": 0}', '{"task": "cooking"}'])
def test_a_config_that_is_none_is_a_sentence(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json|task='cooking' is unknown"):
        stored_config(tmp_path)


# Formats.


def test_a_run_of_a_newer_format_is_refused(copy):
    copy("run")
    pathlib.Path("run/run.json").write_text('{"format": 99}')
    with pytest.raises(ConfigError, match=r"run is a run of format 99, this program reads up to"):
        stored_config(pathlib.Path("run"))


def test_a_screen_of_a_newer_format_is_refused(copy):
    copy("screen")
    edit(pathlib.Path("screen/screen.json"), lambda header: header.update(format="99"))
    with pytest.raises(ScreenError, match=r"screen format 99, this program reads up to"):
        open_screen("screen")


def test_an_encoder_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "mae.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match=r"format 99, this program reads up to"):
        read_image_encoder(tmp_path)


# Other versions of what a screen is computed with.


@pytest.fixture(params=["featuriser", "correction", "reading"])
def later_version(request, monkeypatch) -> str:
    """The program of a day when one of the versions has gone up."""
    now = versions.current_versions()
    later = {**now, request.param: f"{now[request.param]}-later"}
    monkeypatch.setattr(versions, "current_versions", lambda: later)
    monkeypatch.setattr("molphenix_jax.screens.prepare.current_versions", lambda: later)
    return request.param


def test_wells_are_not_prepared_again_by_another_version(copy, later_version):
    copy("from_wells", "wells.csv")
    with pytest.raises(ScreenError, match=rf"another version.*{later_version}") as raised:
        make("from_wells")
    command = "--config=from_wells/config.json --workdir=from_wells-anew"
    assert command in str(raised.value)


def test_a_screen_that_another_version_kept_is_read(copy, later_version, monkeypatch):
    copy("from_wells", "wells.csv")
    with monkeypatch.context() as then:
        kept = json.loads(pathlib.Path("from_wells/screen.json").read_text())
        then.setattr(versions, "current_versions", lambda: versions_then(kept))
        then.setattr("molphenix_jax.screens.prepare.current_versions", lambda: versions_then(kept))
        first, _ = make("from_wells")
    # Named by what that version knew of it.
    (prepared,) = pathlib.Path("cache").glob("wells-*")
    prepared.rename(prepared.with_name(f"wells-{digest_json(kept)[:16]}"))
    again, said = make("from_wells")
    assert "prepared screen found in" in said
    np.testing.assert_array_equal(again.screen.replicates, first.screen.replicates)


def versions_then(provenance: dict) -> dict:
    return {name: provenance.get(name, 1) for name in ("featuriser", "correction", "reading")}


def test_a_prepared_folder_is_read_whatever_the_versions(copy, later_version):
    copy("run", "screen")
    assert make("run")[0].screen.n_perturbations == 120


def test_another_screen_is_not_matched_to_one_of_another_version(copy, later_version):
    copy("run", "screen", "wells.csv")
    edit(
        pathlib.Path("run/config.json"),
        lambda config: config["eval"].update(unseen_screens="wells.csv"),
    )
    with pytest.raises(ScreenError, match=rf"{later_version}(.|\n)*molphenix prepare"):
        make("run")


# Data that is not what it was.


def test_other_wells_under_the_same_name_are_refused(copy):
    copy("from_wells", "wells.csv")
    lines = pathlib.Path("wells.csv").read_text().splitlines()
    pathlib.Path("wells.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ScreenError, match=r"wells\.csv.*source_sha256 differ"):
        make("from_wells")


def test_another_screen_in_the_same_folder_is_refused(copy):
    copy("run", "screen")

    def prepared_otherwise(header: dict) -> None:
        header["provenance"]["parameters"]["n_null"] = 100

    edit(pathlib.Path("screen/screen.json"), prepared_otherwise)
    with pytest.raises(ScreenError, match=r"screen was prepared anew.*n_null differ"):
        make("run")


def test_molecules_that_changed_sides_are_refused(copy):
    copy("run", "screen")
    path = pathlib.Path("run/splits.csv")
    table = pd.read_csv(path)
    table.loc[0, "split"] = "unseen_molecules"
    table.to_csv(path, index=False)
    with pytest.raises(SplitError, match=r"not split as run.splits\.csv says"), console.capture():
        make("run")[0].run(0, pathlib.Path("run"))


def test_graphs_of_another_version_are_refused(copy, monkeypatch):
    copy("encoder", "labels.csv")
    monkeypatch.setattr(molecule_encoder, "graphs_version", lambda _: "later")
    with pytest.raises(molecule_encoder.PretrainedError, match="--config=encoder/config.json"):
        make("encoder")
    with pytest.raises(molecule_encoder.PretrainedError, match="featuriser"):
        molecule_encoder.load_encoder(pathlib.Path("encoder"))


def test_other_labels_are_refused(copy):
    copy("encoder", "labels.csv")
    table = pd.read_csv("labels.csv")
    table.assign(length=table["length"] * 3).to_csv("labels.csv", index=False)
    config = placed_config(pathlib.Path("encoder"))
    with console.capture():
        run = make("encoder")[0].run(0, pathlib.Path("encoder"))
        with pytest.raises(ConfigError, match="labels changed"):
            load_params(run, config, meshes.make_mesh(1), pathlib.Path("encoder"), checkpoint=None)
