"""Real molecules that come with this package, so that a demonstration needs no download.

`chembl/README.md` says where they are from and under which licence.
"""

import importlib.resources

import pandas as pd

_FILE = importlib.resources.files("molphenix_jax.molecules") / "chembl" / "molecules.csv.gz"


def shipped_smiles() -> list[str]:
    """SMILES of ChEMBL's approved drugs, then of a random ChEMBL sample.

    4,628 with repeats and salts; `standardise` finds 3,720 different molecules in them.
    """
    with _FILE.open("rb") as file:
        return pd.read_csv(file, compression="gzip", usecols=["smiles"])["smiles"].tolist()
