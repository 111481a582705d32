"""The codes of atoms and bonds: graphium's vocabulary (docs/method.md §10), as small integers.

Each column of codes is a choice among `size` values. The first four node columns and the first two
edge columns are one-hot vectors in graphium, their last code standing for "none of these"; the
others are numbers there: `code + lowest` is that number, clipped to what the column holds.
"""

from typing import NamedTuple

import numpy as np
import rdkit
from rdkit import Chem

# Graphs change with the library that reads the SMILES and with this package's code: raise the first
# number whenever the same molecule would give other arrays. Stored beside every stored graph.
# By the network that graphs are for: our MPNN++, or MiniMol, whose positions differ.
_VERSIONS = {"mpnn++": "1", "minimol": "minimol1"}
CONVENTIONS = tuple(_VERSIONS)


def graphs_version(convention: str) -> str:
    """What makes the graphs of a convention today."""
    return f"{_VERSIONS[convention]}+rdkit{rdkit.__version__}"


class Column(NamedTuple):
    """One column of codes.

    Attributes:
        name: What it tells.
        size: Codes are below this.
        lowest: The number that code 0 stands for.
        has_unknown: Whether the last code means "none of the others".
    """

    name: str
    size: int
    lowest: int = 0
    has_unknown: bool = False


ELEMENTS = (
    *("C", "N", "O", "S", "F", "Si", "P", "Cl", "Br", "Mg", "Na", "Ca", "Fe", "As", "Al", "I"),
    *("B", "V", "K", "Tl", "Yb", "Sb", "Sn", "Ag", "Pd", "Co", "Se", "Ti", "Zn", "H", "Li", "Ge"),
    *("Cu", "Au", "Ni", "Cd", "In", "Mn", "Zr", "Cr", "Pt", "Hg", "Pb"),
)
NODE_COLUMNS = (
    Column("atomic_number", len(ELEMENTS) + 1, has_unknown=True),
    Column("group", 20, lowest=1, has_unknown=True),  # 19: lanthanides and actinides
    Column("period", 8, lowest=1, has_unknown=True),
    Column("valence", 8, has_unknown=True),  # hydrogens included
    Column("degree", 9, lowest=-2),  # hydrogens included, less the 2 of a chain's carbon
    Column("charge", 9, lowest=-4),
    Column("radical_electrons", 5),
    Column("aromatic", 2),
    Column("in_ring", 2),
)
EDGE_COLUMNS = (
    Column("bond_type", 5, has_unknown=True),  # single, double, triple, aromatic
    Column("stereo", 7, has_unknown=True),  # none, any, Z, E, cis, trans
    Column("in_ring", 2),
)
NODE_SIZES = tuple(column.size for column in NODE_COLUMNS)
EDGE_SIZES = tuple(column.size for column in EDGE_COLUMNS)

RANDOM_WALK_STEPS = 16
N_EIGENVECTORS = 8

BOND_TYPE_CODES = {
    Chem.BondType.SINGLE: 0,
    Chem.BondType.DOUBLE: 1,
    Chem.BondType.TRIPLE: 2,
    Chem.BondType.AROMATIC: 3,
}
STEREO_CODES = {
    Chem.BondStereo.STEREONONE: 0,
    Chem.BondStereo.STEREOANY: 1,
    Chem.BondStereo.STEREOZ: 2,
    Chem.BondStereo.STEREOE: 3,
    Chem.BondStereo.STEREOCIS: 4,
    Chem.BondStereo.STEREOTRANS: 5,
}


def _element_codes() -> np.ndarray:
    """[119, 3] codes of element, group and period by atomic number; row 0 is a placeholder."""
    table = Chem.GetPeriodicTable()
    codes = np.zeros((table.GetMaxAtomicNumber() + 1, 3), np.uint8)
    codes[0] = [column.size - 1 for column in NODE_COLUMNS[:3]]
    noble_gases = (0, 2, 10, 18, 36, 54, 86, 118)
    for number in range(1, len(codes)):
        period = next(i for i, last in enumerate(noble_gases) if number <= last)
        place = number - noble_gases[period - 1]
        length = noble_gases[period] - noble_gases[period - 1]
        symbol = table.GetElementSymbol(number)
        element = ELEMENTS.index(symbol) if symbol in ELEMENTS else len(ELEMENTS)
        codes[number] = element, _group(place, length) - 1, period - 1
    return codes


def _group(place: int, length: int) -> int:
    """Group of the element at a place, from 1, in a period of some length."""
    if place <= 2 and length > 2:
        return place
    if length == 32 and 4 <= place <= 17:
        return 19
    # From the right: the last is a noble gas, group 18. Hydrogen and lanthanum count from the left.
    from_left = length == 2 and place == 1 or length == 32 and place == 3
    return place if from_left else 18 - (length - place)


ELEMENT_CODES = _element_codes()
