"""Which SMILES can be used, and the one standard form of each.

The same compound reaches a screen as a salt, a zwitterion or a vendor's drawing. Its standard form
is the largest fragment, normalised and uncharged, as a canonical SMILES; its identity is the full
InChIKey of that form, so stereoisomers are different molecules and tautomers are mostly the same
one.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import datamol as dm
import pandas as pd
from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

from molphenix_jax.molecules.parallel import map_distinct

# ChemAxon writes "SMILES |extension|"; others write "SMILES name" (SPEC section 7.1).
_EXTENSION = re.compile(r"[\s|]")

# A metal of groups 1 and 2 drawn with a covalent bond is a salt. Other metals are left bonded:
# disconnecting them would turn cisplatin into ammonia.
_COVALENT_SALT = Chem.MolFromSmarts("[Li,Na,K,Rb,Cs,Mg,Ca,Sr,Ba;!D0]")
_PLACEHOLDER = Chem.MolFromSmarts("[#0]")


class _Standard(NamedTuple):
    smiles: str | None
    inchikey: str | None
    scaffold: str | None
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

        - `smiles`: the largest fragment, normalised, uncharged, canonical. Tautomers are kept as
          drawn.
        - `inchikey`: of that form, all blocks: what identifies a molecule, stereo included.
        - `scaffold`: Bemis-Murcko scaffold as SMILES without stereo, so that stereoisomers share
          it. A molecule without a ring has none: `""`. A scaffold split must take each such
          molecule as a group of its own, by `inchikey`: they have nothing in common but the lack of
          a ring.
        - `error`: why the molecule cannot be used; the other columns are None then. None where it
          can.
    """
    table = pd.DataFrame(_standard_rows(smiles), columns=_Standard._fields, dtype=object)
    return table.where(table.notna(), None)


def _standard_rows(smiles: Sequence[str]) -> list[_Standard]:
    texts = [text if isinstance(text, str) else "" for text in smiles]
    return map_distinct(_standardise_chunk, texts)


def _standardise_chunk(smiles: Sequence[str]) -> list[_Standard]:
    with dm.without_rdkit_log():
        return [_standardise_one(text) for text in smiles]


def _standardise_one(text: str) -> _Standard:
    text = _EXTENSION.split(text.strip(), maxsplit=1)[0]
    if not text:
        return _unusable("no SMILES")
    mol = dm.to_mol(text)
    if mol is None:
        return _unusable(_parse_problem(text))
    if mol.GetNumAtoms() == 0:
        return _unusable("no atoms")
    if mol.HasSubstructMatch(_PLACEHOLDER):
        return _unusable("has a placeholder atom (*): a fragment or polymer, not a molecule")
    try:
        mol = _parent(mol)
        standard = dm.to_smiles(mol)
        # Read back, so that key and scaffold belong to the SMILES that is stored.
        mol = dm.to_mol(standard) if standard else None
        inchikey = dm.to_inchikey(mol) if mol is not None else None
    except (RuntimeError, ValueError) as problem:  # RDKit's exceptions derive from these two
        return _unusable(f"cannot be standardised: {_first_line(problem)}")
    if mol is None or not inchikey:
        return _unusable("its standard form has no InChIKey")
    scaffold = dm.to_smiles(dm.to_scaffold_murcko(mol), isomeric=False)
    return _Standard(standard, inchikey, scaffold or "", None)


def _parent(mol: Chem.Mol) -> Chem.Mol:
    """Largest fragment, normalised and uncharged."""
    if mol.HasSubstructMatch(_COVALENT_SALT):
        mol = dm.standardize_mol(mol, disconnect_metals=True)
    # RDKit's chooser and not the first largest: with ties, the result must not depend on the order
    # in which the fragments were written.
    mol = rdMolStandardize.LargestFragmentChooser(True).choose(mol)
    return dm.standardize_mol(mol, uncharge=True)


def _parse_problem(text: str) -> str:
    mol = dm.to_mol(text, sanitize=False)
    if mol is None:
        return "not a valid SMILES"
    problems = Chem.DetectChemistryProblems(mol)
    if not problems:
        return "not a valid molecule"
    return f"not a valid molecule: {_first_line(problems[0].Message())}"


def _first_line(problem: object) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)


def _unusable(reason: str) -> _Standard:
    return _Standard(None, None, None, reason)
