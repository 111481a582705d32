"""Several files of one screen: each is taken for what it holds."""

import pathlib

import pandas as pd
import pytest

from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import read_wells
from tests import tiny

META = ["plate", "well", "batch", "smiles", "concentration_um", "is_control"]


@pytest.fixture
def files(cache, tmp_path) -> dict[str, pathlib.Path]:
    """The tiny screen whole, in halves, and in parts: wells without and with SMILES, features."""
    wells = tiny.wells(cache)
    features = pd.DataFrame(wells["embedding"].to_list(), index=wells.index).add_prefix("f")
    place = wells[["plate", "well"]]
    whole = pd.concat([wells[META], features], axis=1)
    half = len(whole) // 2
    compounds = wells[["smiles"]].dropna().drop_duplicates().reset_index(drop=True)
    compounds["compound_name"] = [f"c{i}" for i in range(len(compounds))]
    named = wells.merge(compounds, "left").drop(columns=["smiles", "embedding"])
    named["compound_name"] = named["compound_name"].fillna("DMSO")
    tables = {
        "whole": whole,
        "first": whole.iloc[:half],
        "second": whole.iloc[half:],
        "other": pd.concat([wells[META], features.add_prefix("other_")], axis=1),
        "meta": wells[META],
        "meta1": wells[META].iloc[:half],
        "meta2": wells[META].iloc[half:],
        "features": pd.concat([place, features], axis=1),
        "lists": place.assign(vector=[str(list(map(float, row))) for row in wells["embedding"]]),
        "profiles": pd.concat([named, features], axis=1),
        "compounds": compounds,
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    return {name: tmp_path / f"{name}.csv" for name in tables}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "tables", "embeddings", "join"),
    [
        ("whole", "whole", "", ""),
        ("first second", "first second", "", ""),
        ("meta features", "meta", "features", ""),
        ("meta lists", "meta", "lists", ""),
        ("meta1 meta2 features", "meta1 meta2", "features", ""),
        ("meta1 features meta2", "meta1 meta2", "features", ""),
        ("profiles compounds", "profiles", "", "compounds"),
        ("meta whole", "meta", "whole", ""),  # features beside metadata, whatever else is there
        ("whole other", "whole", "other", ""),  # other features of the same wells
    ],
)
def test_each_file_is_taken_for_what_it_holds(files, given, tables, embeddings, join):
    sources = Sources.of(",".join(str(files[name]) for name in given.split()))
    found = (sources.tables, sources.embeddings, sources.join)
    assert [[p.stem for p in of] for of in found] == [t.split() for t in (tables, embeddings, join)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", ["first second", "meta1 meta2 features", "profiles compounds", "meta features"]
)
def test_the_wells_are_those_of_one_file(files, given):
    whole = read_wells(files["whole"], check_smiles=None)
    wells = read_wells(",".join(str(files[name]) for name in given.split()), check_smiles=None)
    assert len(wells.table) == len(whole.table)
    assert set(wells.feature_names) == set(whole.feature_names)
    by = ["plate", "well"]
    ours, theirs = (
        w.table.assign(f0=w.embedding[:, w.feature_names.index("f0")]).sort_values(by)
        for w in (wells, whole)
    )
    for name in (*by, "smiles", "concentration_um", "is_control", "f0"):
        assert ours[name].tolist() == theirs[name].tolist(), name


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["cid", "mw", "Unnamed: 0", "purity", "compound_number"])
def test_a_table_of_compounds_may_hold_numbers(files, tmp_path, numbers):
    compounds = pd.read_csv(files["compounds"])
    compounds.insert(0, numbers, range(2, 2 + len(compounds)))
    compounds.to_csv(tmp_path / "numbered.csv", index=False)
    both = f"{files['profiles']},{tmp_path / 'numbered.csv'}"
    assert [path.stem for path in Sources.of(both).join] == ["numbered"]
    wells = read_wells(both, check_smiles=None)
    assert set(wells.table["smiles"].dropna()) - {""} == set(compounds["smiles"])
    assert all(name.startswith("f") for name in wells.feature_names)


def test_a_smiles_column_of_ones_own_name(files, tmp_path):
    for name in ("first", "second"):
        pd.read_csv(files[name]).rename(columns={"smiles": "SMI"}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    both = f"{files['first']},{files['second']}"
    assert len(Sources.of(both, {"smiles": "SMI"}).tables) == 2
