"""`molphenix prepare --dry-run` shows what the real run does, and writes nothing."""

import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.preparing.dry_run import dry_run
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny


def molphenix(*arguments) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["prepare", *map(str, arguments)])
    return status, " ".join(said.get().split())


@pytest.fixture
def path(cache, tmp_path):
    """Two times, with a SMILES that does not parse."""
    first, second = tiny.wells(cache), tiny.wells(cache)
    second["plate"] += "b"
    wells = pd.concat([first.assign(time_h=24), second.assign(time_h=48)], ignore_index=True)
    wells.loc[wells["smiles"].first_valid_index(), "smiles"] = "not a molecule"
    wells.to_parquet(tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


def test_counts_are_those_of_the_screen(path, tmp_path):
    found = dry_run(Sources((path,)), tiny.prepare_config())
    screen = prepare(path, tiny.prepare_config(), cache=tmp_path / "cache")
    total = found.counts.iloc[-1]
    assert total["condition"] == "all"
    assert total["perturbations"] == screen.n_perturbations
    assert total["treated"] == screen.n_replicates.sum()
    assert total["molecules"] == len(screen.molecules)
    assert total["single"] == (screen.n_replicates == 1).sum()
    assert found.counts["condition"].tolist() == ["24 h", "48 h", "all"]
    assert found.features == screen.feature_names
    assert found.rejected["reason"].tolist() == ["not a valid SMILES"]
    assert found.rejected["wells"].tolist() == [1]
    roles = {name: found.roles[name] for name in ("smiles", "time_h", "concentration_um")}
    assert roles == {name: name for name in roles}


def test_it_shows_and_writes_nothing(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLPHENIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    status, said = molphenix(path, "--dry-run", "--out=s")
    assert status == 0
    for text in ("taken for", "features", "24 h", "48 h", "not a valid SMILES", "conditions: 2"):
        assert text in said
    assert [p.name for p in tmp_path.iterdir()] == ["mine.parquet"]


def test_wrong_input_ends_as_in_the_real_run(path, tmp_path):
    wells = pd.read_parquet(path).drop(columns="smiles")
    wells.to_parquet(tmp_path / "without.parquet")
    for more in (["--dry-run"], [f"--out={tmp_path / 's'}"]):
        status, said = molphenix(tmp_path / "without.parquet", *more)
        assert status == 1
        assert "no SMILES column" in said


def test_a_folder_is_needed_without_it(path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", str(path)])
    assert stopped.value.code == 2
    assert "--out is needed, or --dry-run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_is_there_is_said(path, tmp_path):
    out = tmp_path / "s"
    status, said = molphenix(path, "--dry-run", f"--out={out}")
    assert status == 0
    assert f"would be written to {out}" in said
    assert not out.exists()
    assert molphenix(path, f"--out={out}", "--blocks=maccs", "--n_null=50")[0] == 0
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    status, said = molphenix(path, "--dry-run", f"--out={out}", "--blocks=maccs", "--n_null=50")
    assert status == 0
    assert "holds this screen already" in said
    for more in (["--dry-run"], []):
        status, said = molphenix(path, f"--out={out}", "--blocks=maccs", "--n_null=60", *more)
        assert status == 1
        assert "holds a screen from other files or parameters" in said
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    (tmp_path / "mine").mkdir()
    for more in (["--dry-run"], []):
        status, said = molphenix(path, f"--out={tmp_path / 'mine'}", *more)
        assert status == 1
        assert "is there and is no prepared screen" in said


def test_the_built_in_screen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fields = "--set=n_molecules=40,n_experiments=2"
    status, said = molphenix("--layout=simulated", "--dry-run", fields, "--out=s")
    assert status == 0
    assert "40 │ " in said or " 40 " in said
    assert not list(tmp_path.iterdir())
    status, said = molphenix("--layout=simulated", "--dry-run", f"--out={tmp_path}")
    assert status == 1
    assert "cannot tell whether it holds this screen" in said
