"""From the text of a SMILES to the one standard form of the drug in it.

`reading` decides what is a SMILES at all, `parent` which part of it is the drug, `form` writes that
part in one way, and `changes` says in sentences what came of it.
"""

from molphenix_jax.molecules.standard.changes import describe_changes
from molphenix_jax.molecules.standard.form import check_smiles, standardise
from molphenix_jax.molecules.standard.reading import MAX_ATOMS, MAX_CHARACTERS

__all__ = ["MAX_ATOMS", "MAX_CHARACTERS", "check_smiles", "describe_changes", "standardise"]
