"""Files of molecules as people have them: tables with a column of SMILES, .smi, .sdf."""

from molphenix_jax.molecules.files.reading import (
    Molecules,
    kind_of,
    open_molecules,
    read_molecules,
    smiles_column_of,
)
from molphenix_jax.molecules.files.writing import mol_blocks, write_sdf

__all__ = [
    "Molecules",
    "kind_of",
    "mol_blocks",
    "open_molecules",
    "read_molecules",
    "smiles_column_of",
    "write_sdf",
]
