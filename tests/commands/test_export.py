"""A model as a folder of its own: the card, and what is refused."""

import pathlib
import re

import numpy as np
import pytest

import molphenix_jax
from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from molphenix_jax.trained.folder import ModelError
from tests import tiny

pytestmark = pytest.mark.slow
README = tiny.REPOSITORY / "README.md"


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run") / "folds"
    tiny.train_here(tiny.config(cache, data__folds=2), folder)
    return folder


def export(*arguments: str | pathlib.Path) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["export", *map(str, arguments)])
    return status, said.get()


def test_a_fold_becomes_a_folder_with_a_card(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = export(run, "--fold=1", "--out=mine", "--data-licence=CC-BY-4.0")
    assert status == 0, said
    card = pathlib.Path("mine/README.md").read_text()
    for part in (
        "# mine",
        "molphenix_jax.load('mine')",
        "Screen `simulated`, from wells.parquet",
        "CC-BY-4.0",
        "trained at 1, 10 µM",
        "Over 2 folds",
        "| molphenix |",
        "| chance |",
        "## Limits",
    ):
        assert part in card, part
    ours, theirs = molphenix_jax.load("mine"), molphenix_jax.load(run, fold=1)
    assert ours.digest == theirs.digest != molphenix_jax.load(run, fold=0).digest
    np.testing.assert_array_equal(
        ours.embed_molecules("CCO", concentration_um=1),
        theirs.embed_molecules("CCO", concentration_um=1),
    )


def test_the_use_on_the_card_works(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export(run, "--fold=0", "--out=mine")[0] == 0
    card = pathlib.Path("mine/README.md").read_text()
    assert "not told" in card
    names: dict = {}
    program = card.partition("```python\n")[2].partition("z_x")[0]
    exec(program, names)
    assert np.linalg.norm(names["z_m"]) == pytest.approx(1, abs=1e-5)


def test_the_lines_of_the_readme_work(run, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(run)
    wells = tiny.wells(cache)
    wells["compound"] = np.where(wells["is_control"], "DMSO", wells["smiles"])
    names: dict = {"wells": wells}
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(program, names)
    assert names["cosine"].shape == (wells["compound"].nunique(), 2)
    assert np.abs(names["cosine"]).max() <= 1.001


def test_a_compact_one_is_small_and_says_the_same(run, cache, tmp_path, monkeypatch):
    """Its statistics are those of a plate's own controls; no folder of this machine is in it."""
    monkeypatch.chdir(tmp_path)
    assert export(run, "--fold=1", "--out=whole")[0] == 0
    # Of weights that others published; it goes where they go.
    pathlib.Path("whole/LICENSE-theirs.txt").write_text("MIT")
    status, said = export(pathlib.Path("whole"), "--out=small", "--compact")
    assert pathlib.Path("small/LICENSE-theirs.txt").read_text() == "MIT"
    assert status == 0, said
    assert "half precision" in said
    assert "half precision" in pathlib.Path("small/README.md").read_text()
    sizes = [
        sum(path.stat().st_size for path in pathlib.Path(name).glob("*.[ns][pa]*"))
        for name in ("small", "whole")
    ]
    assert sizes[0] < 0.8 * sizes[1]
    small, whole = molphenix_jax.load("small"), molphenix_jax.load("whole")
    wells = tiny.wells(cache)
    for z in (
        lambda model: model.embed_molecules(["CCO", "c1ccccc1O"], concentration_um=1),
        lambda model: model.embed_profiles(wells, controls="is_control", groups="plate"),
        lambda model: model.embed_profiles(model.held_out.profile, corrected=True),
    ):
        np.testing.assert_allclose(z(small), z(whole), atol=2e-3)
    assert small.config["data"]["cache"] == "screens"
    assert str(cache) not in pathlib.Path("small/config.json").read_text()
    with pytest.raises(ModelError, match="tell which rows are controls"):
        small.correct(wells, groups="plate")


def test_what_is_pushed_has_a_name_before_anything_is_written(run, tmp_path):
    status, said = export(run, "--fold=0", f"--out={tmp_path / 'x'}", "--push-to=mine")
    assert status == 1
    assert "give OWNER/NAME" in " ".join(said.split())
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_exported_ends_in_a_sentence(run, tmp_path):
    for arguments, message in (
        ((run,), "name one with"),
        ((run, "--fold=7"), "no fold 7"),
        ((tmp_path / "gone",), "is no folder"),
        ((tmp_path,), "neither a run nor a model folder"),
    ):
        status, said = export(*arguments, f"--out={tmp_path / 'out'}")
        assert status == 1
        assert message in " ".join(said.split())
        assert not (tmp_path / "out").exists()
    status, said = export(run, "--fold=0", f"--out={tmp_path}")
    assert status == 1
    assert "is there already" in " ".join(said.split())
