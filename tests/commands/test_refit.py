"""A model of all molecules: what it is trained on, what its card tells, and what is refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest

import molphenix_jax
from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import read_metrics
from tests import tiny

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory) -> pathlib.Path:
    """Two folds, with a held-out dose and a baseline."""
    folder = tmp_path_factory.mktemp("run") / "folds"
    tiny.train_here(tiny.config(cache, data__folds=2, eval__baselines="knn"), folder)
    return folder


@pytest.fixture(scope="module")
def refitted(run, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("refit") / "all"
    status, said = molphenix("refit", run, f"--out={out}")
    assert status == 0, said
    assert "every perturbation was trained on" in said
    assert "knn" in said  # the table of the run
    return out


def molphenix(*arguments: str | pathlib.Path) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main([*map(str, arguments)])
    return status, said.get()


def test_every_perturbation_trains_and_nothing_is_evaluated(run, refitted, cache):
    wells = tiny.wells(cache)
    smiles = wells.loc[~wells["is_control"], "smiles"].unique().tolist()
    model = molphenix_jax.load(refitted)
    assert model.has_trained_on(smiles).all()
    assert not molphenix_jax.load(run, fold=0).has_trained_on(smiles).all()
    assert set(model.molecules["split"]) == {"train"}
    assert model.about["trained"]["updates"] == 4
    assert "refit of folds on all" in " ".join(repr(model).split())
    assert json.loads((refitted / "evaluation.json").read_text())["results"] == []
    lines = list(read_metrics(refitted / "metrics.jsonl"))
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert not any("validation_top_1pct" in line for line in lines)


def test_the_same_command_continues_and_a_refit_is_a_run(run, refitted):
    before = tiny.files(refitted)
    status, said = molphenix("refit", run, f"--out={refitted}")
    assert status == 0
    assert "is finished" in said
    assert tiny.files(refitted) == before


def test_its_card_has_the_numbers_of_the_run_that_may_be_gone(run, refitted, tmp_path):
    away = run.with_name("away")
    shutil.move(run, away)
    try:
        status, said = molphenix("export", refitted, f"--out={tmp_path / 'out'}")
    finally:
        shutil.move(away, run)
    assert status == 0, said
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 models, one for each fold, of the same config (run `folds`)" in card
    assert "| knn |" in card
    ours, theirs = molphenix_jax.load(tmp_path / "out"), molphenix_jax.load(refitted)
    np.testing.assert_array_equal(
        ours.embed_molecules("CCO", concentration_um=1),
        theirs.embed_molecules("CCO", concentration_um=1),
    )


def test_another_screen_can_be_asked(refitted, cache, tmp_path):
    other = tmp_path / "other.parquet"
    tiny.wells(cache, seed=1).to_parquet(other)
    status, said = evaluate(refitted, f"--config.eval.unseen_screens={other}")
    assert status == 0, said
    (table,) = refitted.glob("evaluations/*/evaluation.json")
    rows = json.loads(table.read_text())["results"]
    assert {row["split"] for row in rows} == {"unseen_screen:other"}
    assert {row["model"] for row in rows} == {"molphenix", "chance"}
    status, said = evaluate(
        refitted, f"--config.eval.unseen_screens={other}", "--config.eval.baselines=knn"
    )
    assert status == 1
    assert "holds back no validation molecules" in said


def evaluate(workdir: pathlib.Path, *arguments: str) -> tuple[int, str]:
    done = tiny.evaluate(workdir, workdir.parent, *arguments)
    return done.returncode, " ".join(done.stdout.split())


def test_what_cannot_be_refitted_ends_in_a_sentence(run, refitted, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "evaluation.json").unlink()
    for given, message in (
        (unfinished, "is not finished"),
        (refitted, "is a refit itself"),
        (tmp_path, "is this the --workdir of a run?"),
    ):
        status, said = molphenix("refit", given, f"--out={tmp_path / 'out'}")
        assert status == 1
        assert message in " ".join(said.split())
        assert not (tmp_path / "out").exists()
    status, said = molphenix("refit", run, f"--out={run}")
    assert status == 1
    assert "would take the place of the input" in " ".join(said.split())
