import hashlib
import pathlib

import pandas as pd

import molphenix_jax.molecules
from molphenix_jax.molecules import shipped_smiles

FOLDER = pathlib.Path(molphenix_jax.molecules.__file__).parent / "chembl"
# Of the same SMILES in the same order: what the built-in screen's numbers rest on.
DIGEST = "2e9a063dad2631eaa37c855584f794cbf62a5d7f9000fc3fbe69f8dbc6e62ca6"


def test_they_are_the_same_in_the_same_order():
    smiles = shipped_smiles()
    assert len(smiles) == 4628
    assert hashlib.sha256("\n".join(smiles).encode()).hexdigest() == DIGEST


def test_drugs_keep_their_identifiers_and_the_licence_lies_beside():
    table = pd.read_csv(FOLDER / "molecules.csv.gz")
    drugs = table[table["source"] == "approved_drugs"]
    assert len(drugs) == 2628
    assert drugs["chembl_id"].str.fullmatch(r"CHEMBL\d+").all()
    assert "Attribution-ShareAlike 3.0" in (FOLDER / "README.md").read_text()
