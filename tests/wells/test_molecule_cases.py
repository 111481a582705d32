"""Salts and combinations as screens have them: each compound keeps its own wells."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.molecules import standardise
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.screen import Screen
from molphenix_jax.tables.columns import second_compound
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny

ASPIRIN, CAFFEINE = "CC(=O)Oc1ccccc1C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"
IBUPROFEN, SALICYLIC = "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "OC(=O)c1ccccc1O"
MEGLUMINE = "CNC[C@H](O)[C@@H](O)[C@H](O)[C@H](O)CO"
PAMOIC = "OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(O)=O)c1O"
CITRIC = "OC(=O)CC(O)(CC(O)=O)C(O)=O"
SINGLE = (
    *("Clc1ccccc1C(=O)N", "COc1ccc2[nH]cc(CCN)c2c1", "O=C(Nc1ccccc1)c1ccncc1"),
    *("CCN(CC)CCOC(=O)c1ccc(N)cc1", "Nc1ccc(S(N)(=O)=O)cc1", "c1ccc2c(c1)[nH]c1ccccc12"),
)
SALTS = (
    f"{MEGLUMINE}.OC(=O)c1ccc2nc(oc2c1)-c1cc(Cl)cc(Cl)c1",
    f"CN1CCCN=C1C=Cc1cccs1.{PAMOIC}",
    f"CN1CCCN=C1C=Cc1cccc(O)c1.{PAMOIC}",
    f"{MEGLUMINE}.CC(=O)Nc1c(I)c(NC(C)=O)c(I)c(C(O)=O)c1I",
    f"{ASPIRIN}.NCCCC[C@H](N)C(O)=O",
    f"C1CNCCN1.{CITRIC}",
    f"C[N+](C)(C)CCO.{SALICYLIC}",
    CITRIC,
    SALICYLIC,
)


def prepared(folder, smiles, *, n_plates=3, **columns) -> Screen:
    rows = [
        {"plate": f"P{p}", "well": f"W{i}", "smiles": s, "conc_um": 0.0 if s == "DMSO" else 1.0}
        for p in range(n_plates)
        for i, s in enumerate([*smiles, *["DMSO"] * 8])
    ]
    frame = pd.DataFrame(rows)
    frame["is_control"] = frame["smiles"] == "DMSO"
    for name, values in columns.items():
        frame[name] = [*values, *[""] * 8] * n_plates
    x = np.random.default_rng(0).normal(size=(len(frame), 8))
    frame = frame.assign(**{f"Cells_Texture_F{j}": x[:, j] for j in range(8)})
    frame.to_csv(folder / "wells.csv", index=False)
    sources = Sources((folder / "wells.csv",))
    return prepare(sources, tiny.prepare_config(), cache=folder / "cache")


def test_sixteen_compounds_are_sixteen_molecules(tmp_path):
    result = prepared(tmp_path, [*SALTS, *SINGLE, CAFFEINE])
    assert len(result.molecules) == 16
    assert result.archive.rejected.empty
    drugs = [salt.split(".")[-1 if salt.startswith("CNC") else 0] for salt in SALTS[:6]]
    wanted = set(standardise(drugs)["inchikey"])
    assert wanted <= set(result.molecules["inchikey"])
    assert any("meglumine (2), pamoate (2)" in note for note in result.notes)


def test_structures_that_share_a_drug_are_said(tmp_path):
    salt = "CCN(CC)CCOC(=O)c1ccc(N)cc1.Cl"
    result = prepared(tmp_path, [salt, *SINGLE])
    assert len(result.molecules) == len(SINGLE)
    assert any(f"{salt}, {SINGLE[3]} became" in note for note in result.notes)


NAMES = ["smiles_2", "Drug B", "Metadata_compound_2_name", "Metadata_smiles2", "pert_iname_2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "combination_partner", "co-treatment", "Compound2"])
def test_a_second_compound_in_a_column_of_its_own_is_a_combination(tmp_path, name):
    second = ["", CAFFEINE, "DMSO", "CS(=O)C", "trametinib", "nan"]
    result = prepared(tmp_path, SINGLE, **{name: second})
    assert result.archive.rejected["field"].tolist() == [name] * 6
    assert set(result.archive.rejected["value"]) == {CAFFEINE, "trametinib"}
    assert result.archive.rejected["reason"].str.contains("combination of drugs").all()
    assert len(result.molecules) == len(SINGLE) - 2


def test_a_well_whose_only_compound_is_the_second_is_no_control(tmp_path):
    result = prepared(tmp_path, [*SINGLE, ""], drug_b=[*[""] * 6, CAFFEINE])
    assert result.archive.rejected["value"].tolist() == [CAFFEINE] * 3
    assert result.archive.rejected["reason"].str.contains("the only compound of the well").all()


def test_a_column_that_repeats_the_compound_is_no_second_one(tmp_path):
    again = [f"{SINGLE[0]}.Cl", "COc1ccc2[nH]cc(CCO)c2c1", *SINGLE[2:]]
    result = prepared(tmp_path, SINGLE, smiles_2=again)
    assert result.archive.rejected["value"].tolist() == [again[1]] * 3
    result = prepared(tmp_path, SINGLE, SMILES_B=list(SINGLE))
    assert result.archive.rejected.empty


@pytest.mark.slow
@pytest.mark.parametrize("joined", ["a + b", "A/B", "a and b", "B; A", "a+DMSO+b"])
def test_a_name_that_joins_those_of_other_wells_is_a_combination(tmp_path, joined):
    names = ["A", "b", joined, "c + x", "c/DMSO", "c"]
    result = prepared(tmp_path, SINGLE, compound=names)
    assert result.archive.rejected["value"].tolist() == [joined] * 3
    assert result.archive.rejected["reason"].str.contains("two compounds by its name").all()
    assert len(result.molecules) == 5


@pytest.mark.parametrize("name", ["compound_id", "drug", "smiles_c", "treatment", "cell_b", "PC2"])
def test_other_columns_tell_no_second_compound(name):
    assert not second_compound(name)


def test_stereoisomers_are_said_to_be_ties(tmp_path):
    result = prepared(tmp_path, ["C[C@H](N)c1ccccc1O", "C[C@@H](N)c1ccccc1O", *SINGLE])
    assert any(note.startswith("2 of 8 molecules share all features") for note in result.notes)


def test_isomers_at_a_metal_that_become_one_molecule_are_said(tmp_path):
    cisplatin, transplatin = "N[Pt@SP1](N)(Cl)Cl", "N[Pt@SP2](N)(Cl)Cl"
    result = prepared(tmp_path, [cisplatin, transplatin, *SINGLE])
    (note,) = [note for note in result.notes if cisplatin in note]
    assert "stereo that InChIKeys lack" in note


@pytest.mark.parametrize("pair", [(ASPIRIN, CAFFEINE), (IBUPROFEN, SALICYLIC), SINGLE[:2]])
def test_a_combination_is_left_out_with_its_reason(tmp_path, pair):
    result = prepared(tmp_path, [".".join(pair), *pair, *SINGLE[2:]])
    assert len(result.molecules) == 2 + len(SINGLE[2:])
    assert np.diff(result.offsets).tolist() == [3] * result.n_perturbations
    rejected = result.archive.rejected
    n = 1 + len(pair) + len(SINGLE[2:]) + 8
    assert rejected["row"].tolist() == [1, 1 + n, 1 + 2 * n]
    assert set(rejected["field"]) == {"smiles"}
    assert rejected["reason"].str.contains(": a combination").all()
