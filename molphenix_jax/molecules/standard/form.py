"""Which SMILES can be used, and the one standard form of each.

The same compound reaches a screen as a salt, a zwitterion or a vendor's drawing. Its standard form
is the drug without counter-ions and solvents, normalised and uncharged, as a canonical SMILES; its
identity is the full InChIKey of that form, so stereoisomers and isotopologues are different
molecules and tautomers are mostly the same one (InChI has no stereo at metals: cisplatin and
transplatin are one).
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from molphenix_jax.molecules.parallel import map_distinct
from molphenix_jax.molecules.standard.parent import find_parent
from molphenix_jax.molecules.standard.reading import UnusableError, first_line, read


class _Standard(NamedTuple):
    smiles: str | None
    inchikey: str | None
    scaffold: str | None
    left_out: tuple[str, ...] | None
    error: str | None


def check_smiles(smiles: Sequence[str]) -> list[str | None]:
    """Why each SMILES cannot be used, or None where it can.

    The reasons are those of `standardise`, which computes them on the way: whoever needs the
    standard form too should call only that one.

    Args:
        smiles: n SMILES; anything that is not a non-empty string is a reason too. A ChemAxon
            extension (`CCO |...|`) or a name after a space is ignored.

    Returns:
        n reasons in plain words, None for a usable SMILES.
    """
    return [row.error for row in _standard_rows(smiles)]


def standardise(smiles: Sequence[str]) -> pd.DataFrame:
    """The standard form of each molecule.

    Args:
        smiles: n SMILES, repeats welcome.

    Returns:
        n rows in the order given, index 0 to n - 1, with columns

        - `smiles`: the drug in it (`parent` has the rule), normalised, uncharged, canonical.
          Tautomers are kept as drawn. Compounds of metals are kept as drawn, with all their parts.
        - `inchikey`: of that form, all blocks: what identifies a molecule, stereo included.
        - `scaffold`: Bemis-Murcko scaffold as SMILES without stereo, so that stereoisomers share
          it. A molecule without a ring has none: `""`. A scaffold split must take each such
          molecule as a group of its own, by `inchikey`: they have nothing in common but the lack of
          a ring.
        - `left_out`: names of the counter-ions and solvents that are not in that form, a tuple.
        - `error`: why the molecule cannot be used; the other columns are None then. None where it
          can.
    """
    table = pd.DataFrame(_standard_rows(smiles), columns=_Standard._fields, dtype=object)
    return table.where(table.notna(), None)


def _standard_rows(smiles: Sequence[str]) -> list[_Standard]:
    texts = [text if isinstance(text, str) else "" for text in smiles]
    return map_distinct(_standardise_chunk, texts)


def _standardise_chunk(smiles: Sequence[str]) -> list[_Standard]:
    with rdBase.BlockLogs():
        return [_standardise_one(text) for text in smiles]


def _standardise_one(text: str) -> _Standard:
    try:
        mol, ignored = read(text)
        mol, left_out = find_parent(mol)
        standard = Chem.MolToSmiles(mol)
        # Read back, so that key and scaffold belong to the SMILES that is stored.
        mol = Chem.MolFromSmiles(standard)
        inchikey = Chem.MolToInchiKey(_without_dative(mol)) if mol is not None else None
    except UnusableError as problem:
        return _unusable(str(problem))
    except (RuntimeError, ValueError) as problem:  # RDKit's exceptions derive from these two
        return _unusable(f"cannot be standardised: {first_line(problem)}")
    if mol is None or not inchikey:
        return _unusable("its standard form has no InChIKey")
    scaffold = Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False)
    return _Standard(standard, inchikey, scaffold or "", (*left_out, *ignored), None)


def _without_dative(mol: Chem.Mol) -> Chem.Mol:
    """InChI takes metals apart itself, but RDKit hands it no molecule with a dative bond."""
    dative = [b for b in mol.GetBonds() if b.GetBondType() == Chem.BondType.DATIVE]
    if not dative:
        return mol
    apart = Chem.RWMol(mol)
    for bond in dative:
        apart.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    return apart.GetMol()


def _unusable(reason: str) -> _Standard:
    return _Standard(None, None, None, None, reason)
