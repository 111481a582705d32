"""Hits as files: CSV, Parquet and SDF hold the same rows."""

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from molphenix_jax.molecules.files import read_molecules
from molphenix_jax.retrieval.hits import COLUMNS, Hits
from molphenix_jax.storage import read_csv

SMILES = ["CCO", "C[C@H](N)C(=O)O", "c1ccc2ccccc2c1"]
ODD = ["=HYPERLINK(1)", "$$$$", "two\nlines <b>"]


def hits() -> Hits:
    table = pd.DataFrame(
        {
            "logp": [0.1, np.nan, 3.3],
            "query": "A",
            "rank": [1, 2, 3],
            "id": ODD,
            "smiles": SMILES,
            "concentration_um": [1.0, 10.0, 0.1],
            "cosine": [0.5, 0.25, -0.1],
            "curve": [[0.5, 0.2], [0.1, 0.25], [-0.2, np.nan]],
            "in_domain": [True, False, True],
        }
    )
    return Hits(table, pd.DataFrame({"query": ["A", "B"]}), doses_um=(0.1, 10.0))


def test_files_hold_the_same_rows_whatever_their_names_are(tmp_path):
    found = hits()
    csv, parquet, sdf, queries = found.write(tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), found.flat())
    assert read_csv(csv)["id"].tolist() == ODD
    assert csv.read_text().splitlines()[1].split(",")[2] == "'=HYPERLINK(1)"
    assert read_csv(queries)["query"].tolist() == ["A", "B"]
    records = list(Chem.SDMolSupplier(str(sdf)))
    assert [Chem.MolToSmiles(mol) for mol in records] == SMILES
    assert [mol.GetProp("_Name").strip() for mol in records] == [*ODD[:2], "two lines <b>"]
    assert [mol.HasProp("logp") for mol in records] == [True, False, True]
    assert records[1].GetProp("cosine_at_10_um") == "0.25"
    assert read_molecules(sdf)[1].smiles == SMILES


def test_columns_are_in_the_order_of_the_contract():
    columns = list(hits().flat())
    assert columns[:7] == [
        "query",
        "rank",
        "id",
        "smiles",
        "concentration_um",
        "cosine",
        "in_domain",
    ]
    assert columns[7:] == ["logp", "cosine_at_0.1_um", "cosine_at_10_um"]
    assert [name for name in COLUMNS if name in columns] == columns[:7]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"queries": pd.DataFrame({"query": ["B"]})}, "'A' is none of the queries"),
        ({"queries": pd.DataFrame({"query": ["A", "A"]})}, "a name of its own"),
        ({"table": hits().table.drop(columns="cosine")}, "lacks cosine"),
        ({"doses_um": (1.0,)}, "2.* cosines for 1 doses"),
    ],
)
def test_hits_that_contradict_themselves_are_refused(change, told):
    found = hits()
    parts = {"table": found.table, "queries": found.queries, "doses_um": found.doses_um}
    with pytest.raises(ValueError, match=told):
        Hits(**(parts | change))
