"""Several files of one screen: each is taken for what it holds."""

import pathlib

import pandas as pd
import pytest

from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import WellsError, read_wells
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


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_text_of_some_files_is_empty_in_the_others(files, tmp_path, turned, beside):
    half, names = pd.read_csv(files["first"]), pd.read_csv(files["second"])
    features = [name for name in half if name.startswith("f")]
    names = names.assign(well_id="x", broad_sample=[f"B{i}" for i in range(len(names))])
    if beside:
        both = pd.concat([half, names])[["plate", "well", *features]]
        both.to_csv(tmp_path / "beside.csv", index=False)
        half, names = half.drop(columns=features), names.drop(columns=features)
    half.to_parquet(tmp_path / "half.parquet")
    names.to_parquet(tmp_path / "names.parquet")
    paths = (tmp_path / "half.parquet", tmp_path / "names.parquet")
    embeddings = (tmp_path / "beside.csv",) if beside else ()
    sources = Sources(paths[::-1] if turned else paths, embeddings)
    wells = read_wells(sources, check_smiles=None)
    assert len(wells.table) == len(half) + len(names)
    assert len(wells.feature_names) == len(features)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("other", "said"), [("other", "all 2 files"), ("lists", "'embedding'")])
def test_files_of_two_screens_are_a_sentence(files, tmp_path, turned, other, said):
    first = tmp_path / "mine.parquet"
    pd.read_csv(files["whole"]).to_parquet(first)
    second = tmp_path / "theirs.parquet"
    if other == "lists":
        table = pd.read_csv(files["meta"]).assign(compound_id="c")
        table["embedding"] = [[0.5] * 8] * len(table)
        table.to_parquet(second)
    else:
        pd.read_csv(files[other]).assign(compound_id="c").to_parquet(second)
    paths = (second, first) if turned else (first, second)
    with pytest.raises(WellsError, match=said) as error:
        read_wells(Sources(paths), check_smiles=None)
    assert "two screens are prepared one by one" in str(error.value)
