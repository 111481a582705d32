"""Which part of a drawing is the drug, and its uncharged form.

The rule, in order:

1. A compound with a metal that no simple salt has (or with silver, zinc or aluminium at sulfur)
   stays itself with all its parts, as drawn: without the metal it would be another compound.
2. Bonds of other metals to oxygen, nitrogen, sulfur and halogens are ionic unless in a ring.
3. Parts of one structure, however charged, are one; of several parts the one with the highest
   `Role` is the drug: rather one that is no known counter-ion, then a drug that also makes salts,
   then an organic acid or base, a solvent, an inorganic ion, water.
4. Two such parts that are no known counter-ions are a combination, and no salt. So is a drug beside
   one that also makes salts, unless they are acid and base.
5. Two such parts from the table stay together, as the salt that they are: choline salicylate.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdmolops
from rdkit.Chem.MolStandardize import rdMolStandardize

from molphenix_jax.molecules.standard.counter_ions import (
    SALT_METALS,
    Role,
    metal_role,
    plain_smiles,
    table,
)
from molphenix_jax.molecules.standard.reading import UnusableError

_NON_METALS = frozenset(
    (1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85, 86)
)
# Antimony's and germanium's compounds are covalent; their bare ions are metals.
_SEMIMETALS = frozenset((32, 51))
_SOFT_METALS = frozenset(("Zn", "Ag", "Al"))
_IONIC_TO = frozenset((7, 8, 9, 16, 17, 35, 53))
_VALENCE = {"Li": 1, "Na": 1, "K": 1, "Rb": 1, "Cs": 1, "Ag": 1, "Al": 3}  # others 2

_SULFUR_DONOR = Chem.MolFromSmarts("[$([S-]),$([SX2H]),$(S=C[#7,#16]),$(S=c)]")
_ACID = Chem.MolFromSmarts(
    "[$([OX2H,OX1-][CX3]=O),$([OX2H,OX1-]S=O),$([OX2H,OX1-]P=O),$([OX2H,OX1-]c),"
    "$([nH]1nnnc1),$([nH]1cnnn1),$([NX3H]([CX3,SX4]=O)[CX3,SX4]=O),$([nX3H]1cnc2c1c(=O)nc(=O)n2),-]"
)
_BASE = Chem.MolFromSmarts(
    "[$([NX3;!$(N[*]=[O,S,N,C]);!$(N-[a]);!$(N-[#7,#8,#16])]),$([NX2]=[CX3][NX3]),"
    "$([N+;!$([N+]=O);!$([N+][O-])]),$([n+;!$([n+][O-])])]"
)


class Parent(NamedTuple):
    """The drug of a drawing, and the names of the counter-ions that were left out."""

    mol: Chem.Mol
    left_out: tuple[str, ...]


class _Part(NamedTuple):
    mol: Chem.Mol
    smiles: str
    name: str
    role: Role


def find_parent(mol: Chem.Mol) -> Parent:
    """The drug of a drawing, normalised and uncharged.

    Raises:
        UnusableError: there are two: a combination, or stereoisomers of one.
        RuntimeError, ValueError: RDKit's own.
    """
    if _is_complex(mol):
        return Parent(mol, ())
    mol = _split_ionic_bonds(mol)
    fragments = Chem.GetMolFrags(mol, asMols=True)
    if len(fragments) == 1:
        return Parent(neutral(mol), ())
    parts = _distinct(fragments)
    if any(part.name in _SOFT_NAMES for part in parts) and mol.HasSubstructMatch(_SULFUR_DONOR):
        return Parent(mol, ())
    highest = max(part.role for part in parts)
    chosen = [part for part in parts if part.role == highest]
    others = [part for part in parts if part.role < highest]
    if highest == Role.MOLECULE:
        _check_single(chosen, others)
    kept = chosen[0].mol if len(chosen) == 1 else _together(chosen)
    return Parent(kept, tuple(sorted(part.name for part in others)))


def neutral(mol: Chem.Mol) -> Chem.Mol:
    """Normalised and uncharged, as far as it can be."""
    normalizer, reionizer, uncharger = _standardisers()
    mol = uncharger.uncharge(reionizer.reionize(normalizer.normalize(mol)))
    rdmolops.AssignStereochemistry(mol, force=False, cleanIt=True)
    return mol


@functools.cache
def _standardisers() -> tuple[
    rdMolStandardize.Normalizer, rdMolStandardize.Reionizer, rdMolStandardize.Uncharger
]:
    return rdMolStandardize.Normalizer(), rdMolStandardize.Reionizer(), rdMolStandardize.Uncharger()


_SOFT_NAMES = frozenset(role[0] for symbol in _SOFT_METALS if (role := metal_role(symbol)))


def _is_complex(mol: Chem.Mol) -> bool:
    """Whether it holds a metal that is no simple ion."""
    for atom in mol.GetAtoms():
        number, symbol = atom.GetAtomicNum(), atom.GetSymbol()
        if number in _NON_METALS:
            continue
        if number in _SEMIMETALS:
            if atom.GetDegree() == 0:
                return True
        elif symbol not in SALT_METALS or (atom.GetDegree() and not _is_ionic(atom)):
            return True
    return False


def _is_ionic(atom: Chem.Atom) -> bool:
    """Whether the bonds of a salt's metal are drawn for charges."""
    neighbours = {other.GetAtomicNum() for other in atom.GetNeighbors()}
    symbol = atom.GetSymbol()
    soft = symbol in _SOFT_METALS and 16 in neighbours
    order = sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds())
    bonds = {bond.GetBondType() for bond in atom.GetBonds()}
    return (
        neighbours <= _IONIC_TO
        and not soft
        and not atom.IsInRing()
        and bonds <= {Chem.BondType.SINGLE, Chem.BondType.DOUBLE}
        and order <= _VALENCE.get(symbol, 2)
    )


def _split_ionic_bonds(mol: Chem.Mol) -> Chem.Mol:
    metals = [a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() in SALT_METALS and a.GetDegree()]
    if not metals:
        return mol
    split = Chem.RWMol(mol)
    for i in metals:
        metal = split.GetAtomWithIdx(i)
        for bond in list(metal.GetBonds()):
            other, order = bond.GetOtherAtom(metal), int(bond.GetBondTypeAsDouble())
            metal.SetFormalCharge(metal.GetFormalCharge() + order)
            other.SetFormalCharge(other.GetFormalCharge() - order)
            split.RemoveBond(i, other.GetIdx())
        metal.SetNumExplicitHs(0)
        metal.SetNoImplicit(True)
    Chem.SanitizeMol(split)
    return split.GetMol()


def _distinct(fragments: Sequence[Chem.Mol]) -> list[_Part]:
    """Fragments that differ once they are uncharged, in an order that no drawing decides."""
    by_smiles: dict[str, _Part] = {}
    as_drawn = {Chem.MolToSmiles(fragment): fragment for fragment in fragments}
    known = table(neutral)
    for fragment in as_drawn.values():
        mol = neutral(fragment)
        smiles = Chem.MolToSmiles(mol)
        ion = metal_role(mol.GetAtomWithIdx(0).GetSymbol()) if mol.GetNumAtoms() == 1 else None
        name, role = ion or known.get(plain_smiles(mol), (smiles, Role.MOLECULE))
        by_smiles.setdefault(smiles, _Part(mol, smiles, name, role))
    return sorted(by_smiles.values(), key=lambda part: part.smiles)


def _check_single(chosen: list[_Part], others: list[_Part]) -> None:
    """Fails on two drugs, or on a drug beside one that it makes no salt with."""
    if len(chosen) > 1:
        if len({plain_smiles(part.mol) for part in chosen}) == 1:
            raise UnusableError(
                f"{len(chosen)} stereoisomers of one molecule in one SMILES: give the one that was "
                "tested, or for a racemate the molecule without the stereo marks that differ"
            )
        raise UnusableError(
            _combination(chosen[0].smiles, f"{chosen[1].smiles}, neither a known counter-ion")
        )
    (drug,) = chosen
    for part in others:
        if part.role == Role.ALSO_DRUG and not _make_a_salt(drug.mol, part.mol):
            raise UnusableError(
                _combination(drug.smiles, f"{part.smiles}, which are no acid and base")
            )


def _make_a_salt(drug: Chem.Mol, other: Chem.Mol) -> bool:
    if any(Chem.GetFormalCharge(mol) for mol in (drug, other)):
        return True
    is_acid, is_base = (other.HasSubstructMatch(pattern) for pattern in (_ACID, _BASE))
    return (is_acid and drug.HasSubstructMatch(_BASE)) or (
        is_base and drug.HasSubstructMatch(_ACID)
    )


def _combination(one: str, other: str) -> str:
    return (
        f"two different molecules in one SMILES, {one} and {other}: a combination or mixture; "
        "give each well one molecule, or leave these wells out"
    )


def _together(parts: Sequence[_Part]) -> Chem.Mol:
    return functools.reduce(Chem.CombineMols, [part.mol for part in parts])
