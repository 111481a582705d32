import joblib
import numpy as np
import pandas as pd
import pytest
from rdkit import rdBase

from molphenix_jax.molecules import check_smiles, parallel, shipped_smiles, standardise

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
ASPIRIN_KEY = "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"  # as published by PubChem


@pytest.fixture(scope="module")
def shipped() -> pd.DataFrame:
    return standardise(shipped_smiles()[::23])


@pytest.mark.parametrize(
    "drawn",
    [
        ASPIRIN,
        "OC(=O)c1ccccc1OC(C)=O",
        "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]",
        "[K+].CC(=O)Oc1ccccc1C(=O)[O-]",
        "CC(=O)Oc1ccccc1C(=O)O[Na]",
        ASPIRIN + ".O.O",
        ASPIRIN + " |c:3,5,t:1|",
        "  " + ASPIRIN + "\taspirin ",
    ],
)
def test_however_drawn_one_standard_form(drawn):
    row = standardise([drawn]).iloc[0]
    assert row.smiles == ASPIRIN
    assert row.inchikey == ASPIRIN_KEY
    assert row.scaffold == "c1ccccc1"
    assert row.error is None


def test_hydrochloride_and_free_amine_are_one_molecule():
    table = standardise(["CCN(CC)CCOC(=O)c1ccc(N)cc1", "CC[NH+](CC)CCOC(=O)c1ccc(N)cc1.[Cl-]"])
    assert table["inchikey"].nunique() == 1
    assert table["inchikey"][0] == "MFDFERRIHVXMIY-UHFFFAOYSA-N"  # procaine, PubChem


def test_stereoisomers_differ_in_key_and_share_the_scaffold():
    table = standardise(["C[C@H](N)C1CC(=O)[C@H]1c1ccccc1", "C[C@@H](N)C1CC(=O)[C@@H]1c1ccccc1"])
    assert table["inchikey"].nunique() == 2
    assert table["inchikey"].str[:14].nunique() == 1
    assert table["scaffold"].nunique() == 1
    assert "@" not in table["scaffold"][0]


def test_isotopes_are_other_molecules_and_atom_maps_are_not():
    table = standardise(["CO", "[2H]C([2H])([2H])O", "[13CH3]O", "[CH3:1][OH:2]"])
    assert table["inchikey"].nunique() == 3
    assert table["smiles"][3] == "CO"


def test_acyclic_molecules_have_an_empty_scaffold():
    assert standardise(["CCO", "CCCCN"])["scaffold"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "no SMILES"),
        ("   ", "no SMILES"),
        (None, "no SMILES"),
        (float("nan"), "no SMILES"),
        ("|c:1|", "no SMILES"),
        ("C1CC", "not a valid SMILES"),
        ("not a molecule", "not a valid SMILES"),
        ("CN(C)(C)(C)C", "greater than permitted"),
        ("c1cccc1", "kekulize"),
        ("*CCO", "placeholder"),
    ],
)
def test_reasons(smiles, reason):
    assert reason.lower() in (check_smiles([smiles])[0] or "").lower()
    row = standardise([smiles]).iloc[0]
    assert row.smiles is row.inchikey is row.scaffold is None


def test_check_agrees_with_standardise_and_keeps_order_and_repeats():
    smiles = ["CCO", "bad(", "CCO", "", "c1ccccc1", "bad("]
    reasons = check_smiles(smiles)
    assert [reason is None for reason in reasons] == [True, False, True, False, True, False]
    assert standardise(smiles)["error"].tolist() == reasons


@pytest.mark.slow
def test_standard_form_is_its_own_standard_form(shipped):
    usable = shipped[shipped["error"].isna()]
    assert len(usable) > 190
    again = standardise(usable["smiles"].tolist())
    assert set(again["left_out"]) == {()}
    pd.testing.assert_frame_equal(
        again.drop(columns="left_out"), usable.drop(columns="left_out").reset_index(drop=True)
    )


def test_columns_and_empty_input():
    assert standardise([]).columns.tolist() == [
        *("smiles", "inchikey", "scaffold", "left_out", "error")
    ]
    assert check_smiles([]) == []


def test_quiet_and_rdkit_logging_left_as_it_was(capfd):
    before = rdBase.LogStatus()
    check_smiles(["C1CC", "CN(C)(C)(C)C", "CC(=O)[O-].[Na+]"])
    assert rdBase.LogStatus() == before
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_each_distinct_item_is_computed_once():
    asked = []

    def square(numbers):
        asked.extend(numbers)
        return [number**2 for number in numbers]

    assert parallel.map_distinct(square, [3, 1, 3, 2, 1]) == [9, 1, 9, 4, 1]
    assert asked == [3, 1, 2]


def test_chunks_are_put_together_in_order(monkeypatch):
    monkeypatch.setattr(parallel, "PARALLEL_FROM", 10)
    monkeypatch.setattr(parallel, "CHUNK", 7)
    monkeypatch.setattr(parallel, "n_workers", lambda: 2)
    seen = []

    def negative(chunk):
        seen.append(len(chunk))
        return [-x for x in chunk]

    numbers = np.random.default_rng(0).integers(0, 25, 200).tolist()
    with joblib.parallel_config(backend="sequential"):
        assert parallel.map_distinct(negative, numbers) == [-x for x in numbers]
    assert seen == [7, 7, 7, 4]
