"""Unseen molecules by a list: which molecules it names, what it contradicts, what trains."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import tasks, train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.split_lists import MoleculeListError, SplitListError, read_sides
from molphenix_jax.screens.splits import split_table
from molphenix_jax.tasks.align.refit import refit_config
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny
from tests.screens.test_splits import STEREO, groups, screen, split  # noqa: F401
from tests.wells.inputs import test_layouts as layouts


def listed(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("by", ["inchikey", "smiles"])
def test_molecules_that_are_listed_are_unseen(screen, groups, tmp_path, by):  # noqa: F811
    chosen = [5, 0, 17]
    names = [*screen.molecules[by].iloc[chosen], "InChI=1S/x", screen.molecules[by].iloc[5]]
    sides, notes = read_sides(listed(tmp_path / "list.csv", **{by.upper(): names}), screen)
    assert np.flatnonzero(sides == 2).tolist() == sorted(chosen)
    n = len(sides)
    assert (
        notes[0]
        == f"list.csv: 0 train, 0 validation, 3 test, and {n - 3} molecules not listed, which train"
    )
    assert notes[1] == "list.csv: 1 entries are no molecules of the screen: InChI=1S/x"
    assert notes[2] == "list.csv: 1 entries name a molecule again, on the same side"
    assert len(notes) == 3
    made = split(screen, groups, sides=[sides])
    assert set(screen.molecule[made.test]) == set(chosen)
    assert not set(screen.molecule[made.train]) & set(chosen)
    # Validation molecules are drawn with their analogues, as ever.
    validation = set(groups[screen.molecule[made.validation]])
    assert validation
    assert not validation & set(groups[screen.molecule[made.train]])
    again = split(screen, groups, sides=[sides], seed=1)
    assert set(screen.molecule[again.test]) == set(chosen)


def test_another_writing_of_a_smiles_is_that_molecule(screen, tmp_path):  # noqa: F811
    sides, _ = read_sides(listed(tmp_path / "list.csv", smiles=["C1=CC=CC=C1C", "not one"]), screen)
    assert screen.molecules["smiles"][np.flatnonzero(sides == 2)].tolist() == ["Cc1ccccc1"]


def test_all_three_sides_and_a_runs_own_table(screen, groups, tmp_path):  # noqa: F811
    before = split(screen, groups)
    split_table(screen, before).to_csv(tmp_path / "splits.csv", index=False)
    sides, notes = read_sides(tmp_path / "splits.csv", screen)
    again = split(screen, groups, sides=[sides], seed=7)
    for side in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, side), getattr(before, side))
    assert len(notes) == 1
    assert "and 0 molecules not listed" in notes[0]


def test_stereoisomers_on_both_sides_are_said_and_stay(screen, tmp_path):  # noqa: F811
    sides, notes = read_sides(listed(tmp_path / "list.csv", smiles=STEREO[:1]), screen)
    assert (sides == 2).sum() == 1
    assert "1 molecules that are not unseen are stereoisomers of unseen ones" in notes[-1]


def test_bray2017_by_its_sample_keys_and_by_a_compounds_name(tmp_path):
    keys, _ = layouts.bray2017(tmp_path)
    files = ((tmp_path / "train.csv", tmp_path / "test.csv"), (tmp_path / "embeddings.h5",), ())
    screen = prepare(  # noqa: F811
        Sources(*files, "bray2017"), tiny.prepare_config(), cache=tmp_path / "cache"
    )
    wanted = "Oc1ccccc1"  # as the screen writes SMILES[1]
    # Another site of the well than the one that was read first, and one that is not there.
    sample = [keys[3].replace("a02", "A2"), "99999-a01-1"]
    sides, notes = read_sides(listed(tmp_path / "list.csv", SAMPLE_KEY=sample), screen)
    assert screen.molecules["smiles"][sides == 2].tolist() == [wanted]
    assert "1 entries are no molecules of the screen: 99999-a01-1" in notes[1]


def test_by_what_the_wells_table_calls_a_compound(cache, tmp_path):
    wells = tiny.wells(cache)
    number = pd.factorize(wells["smiles"])[0]
    wells["Metadata_broad_sample"] = [f"BRD-{n:03d}" if n >= 0 else "DMSO" for n in number]
    wells.to_parquet(tmp_path / "wells.parquet")
    screen = prepare(  # noqa: F811
        tmp_path / "wells.parquet", tiny.prepare_config(), cache=tmp_path / "cache"
    )
    path = listed(tmp_path / "list.csv", row=["1", "2"], broad_sample=["brd-003", "BRD-999"])
    sides, _ = read_sides(path, screen)
    own = wells.loc[wells["Metadata_broad_sample"] == "BRD-003", "smiles"].unique()
    assert screen.molecules["smiles"][sides == 2].tolist() == own.tolist()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"smiles": ["CCCCCO"], "split": ["perhaps"]}, r"row 1: split is 'perhaps', which is none"),
        (
            {"smiles": ["CCCCCO", "CCOCC", "OCCCCC"], "split": ["test", "train", "train"]},
            r"row 1 says test and row 3 train of one molecule, CCCCCO",
        ),
        ({"smiles": ["CC#N"]}, r"the screen's 66 molecules it has none .column 'smiles': CC#N"),
        ({"smiles": ["CCCCCO"], "split": ["train"]}, r"it has 0 unseen"),
        ({"name": ["x"]}, r"no column names molecules, among name: inchikey, smiles, SAMPLE_KEY"),
    ],
)
def test_a_list_that_no_split_is_made_of(screen, tmp_path, columns, says):  # noqa: F811
    with pytest.raises(MoleculeListError, match=says):
        read_sides(listed(tmp_path / "list.csv", **columns), screen)
    with pytest.raises(SplitListError, match=r"split_list: .*gone.csv: cannot be read"):
        read_sides(tmp_path / "gone.csv", screen)


@pytest.mark.slow
def test_a_run_by_a_list_continues_evaluates_and_is_refit(cache, tmp_path):
    smiles = tiny.wells(cache)["smiles"].dropna().unique()
    path = listed(tmp_path / "unseen.csv", smiles=smiles[:9])
    config = tiny.config(cache, data__split_list=str(path), train__steps=2)
    run = tmp_path / "run"
    train.train_and_evaluate(config, run)
    table = pd.read_csv(run / "splits.csv")
    assert table["split"].tolist().count("unseen_molecules") == 9
    with config.unlocked():
        config.train.steps = 4
    train.train_and_evaluate(config, run)
    pd.testing.assert_frame_equal(pd.read_csv(run / "splits.csv"), table)
    report = (run / "report" / "index.html").read_text()
    assert "by the list unseen.csv" in report
    assert not refit_config(run).data["split_list"]
    # Another list is not what it was trained on.
    listed(path, smiles=smiles[1:9])
    task = tasks.make(config, meshes.make_mesh(config.train.devices), run)
    with pytest.raises(ValueError, match="the molecules are not split as"):
        task.run(0, run)


def test_contradictions(cache):
    for changes, says in (
        ({"data__folds": 5}, r"data.folds=5: a list .data.split_list. is one split"),
        ({"data__repeats": 2}, r"data.repeats=2: a list .data.split_list. is one split"),
    ):
        with pytest.raises(ConfigError, match=says):
            tasks.validate(tiny.config(cache, data__split_list="list.csv", **changes))
