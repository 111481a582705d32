"""`molphenix prepare` as a user calls it, and a training run on the folder that it makes."""

import sys

import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.store import open_screen
from tests import tiny


def molphenix(*arguments) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["prepare", *map(str, arguments)])
    return status, said.get()


@pytest.fixture
def path(cache, tmp_path):
    wells = tiny.wells(cache)
    wells.loc[wells["smiles"].first_valid_index(), "smiles"] = "not a molecule"
    wells.to_parquet(tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


@pytest.mark.slow
def test_a_screen_is_prepared_and_trained_on(cache, path, tmp_path):
    out = tmp_path / "screens" / "mine"
    status, said = molphenix(path, "--blocks=maccs", "--n_null=200", f"--out={out}")
    assert status == 0
    assert "1 rows were rejected" in said
    assert pd.read_csv(out / "rejected.csv")["reason"].tolist() == ["not a valid SMILES"]
    again, said = molphenix(path, "--blocks=maccs", "--n_null=200", f"--out={out}")
    assert again == 0
    assert "prepared screen found" in said
    status, said = molphenix(path, "--blocks=maccs", "--n_null=300", f"--out={out}")
    assert status == 1
    assert "holds a screen from other files or parameters" in " ".join(said.split())
    tiny.train_here(tiny.config(cache, data__wells=str(out)), tmp_path / "run")
    assert (tmp_path / "run" / "evaluation.json").is_file()


def test_the_built_in_screen(tmp_path):
    fields = "n_molecules=30,n_experiments=2,n_features=16,concentrations_um=1/10"
    status, _ = molphenix(
        "--layout=simulated",
        f"--set={fields}",
        "--blocks=maccs",
        "--n_null=50",
        "--out",
        tmp_path / "s",
    )
    assert status == 0
    screen = open_screen(tmp_path / "s")
    assert screen.truth is not None
    assert (len(screen.molecules), screen.n_perturbations, screen.width) == (30, 60, 16)
    assert [p.name for p in tmp_path.iterdir()] == ["s"], "nothing but the screen is left"


@pytest.mark.slow
def test_two_screens_in_one_space(cache, path, tmp_path):
    tiny.wells(cache, seed=1).to_parquet(tmp_path / "other.parquet")
    common = ("--blocks=maccs", "--n_null=200")
    assert molphenix(path, *common, f"--out={tmp_path / 'a'}")[0] == 0
    status, _ = molphenix(
        tmp_path / "other.parquet",
        *common,
        f"--reference={tmp_path / 'a'}",
        f"--out={tmp_path / 'b'}",
    )
    assert status == 0
    first, second = (open_screen(tmp_path / name) for name in "ab")
    assert (first.archive.correction.rotation == second.archive.correction.rotation).all()
    assert second.provenance["reference"] == first.provenance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout=tables", "x.csv"], "choose one of wells, rxrx3_core"),
        (["--layout=rxrx3_core", "x.csv"], "needs metadata_rxrx3_core.csv and"),
        (["--layout=simulated", "x.csv"], "makes its own wells"),
        (["--layout=simulated", "--set=n_moleculs=3"], "no field 'n_moleculs'"),
        (["--set=n_molecules=3", "x.csv"], "belongs to --layout=simulated"),
        (["gone.csv"], "gone.csv cannot be read"),
        (["--blocks=ecfp", "x.csv"], "'ecfp' is none of morgan"),
        (["--columns=smile=SMI", "x.csv"], "'smile' is none of plate"),
        ([], "give at least one wells table"),
    ],
)
def test_mistakes_end_as_a_sentence(tmp_path, arguments, message):
    status, said = molphenix(*arguments, f"--out={tmp_path / 's'}")
    assert status == 1
    assert message in " ".join(said.split())


def test_beam_is_asked_for_and_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    options = "--beam_pipeline_options=runner=DirectRunner"
    status, said = molphenix("x.csv", options, f"--out={tmp_path / 's'}")
    assert status == 1
    assert "pip install 'molphenix-jax[beam]'" in " ".join(said.split())
