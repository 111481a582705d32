"""What is a SMILES at all: decided on the text, before RDKit sees it, and on the first parse.

RDKit's recursions end the whole process on a chain of 20,000 atoms, and InChI, which tells
molecules apart, ends at 1,023. So the text and the unsanitised molecule have limits.
"""

import re
from collections.abc import Sequence

from rdkit import Chem, rdBase

from molphenix_jax.tables.missing import MISSING

MAX_CHARACTERS = 10_000
MAX_ATOMS = 1_000  # hydrogens not counted
MAX_FRAGMENTS = 100
# Real molecules stay well below: a fullerene has 31 rings, a dendrimer 150. Cages with more bonds
# per atom keep the enumeration of paths and rings busy for hours.
MAX_RINGS = 250
MAX_NEIGHBOURS = 12
MAX_BONDS_PER_ATOM = 2.6

_MISSING = MISSING | {"no structure"}
_SPREADSHEET = frozenset(("#n/a", "#name?", "#value!", "#ref!", "#num!", "#null!", "#div/0!"))
_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
# ChemAxon writes "SMILES |extension|"; others write "SMILES name" (docs/method.md §7.1).
_SPLIT = re.compile(r"(?P<smiles>[^\s|]*)(?P<tail>.*)", re.DOTALL)
_EXTENSION = re.compile(r"\|(?P<fields>[^|]*)\|?")
# Fields of an extension without which the SMILES before it is another structure.
_FIELDS = {
    re.compile(r"(^|,)Sg:"): "a polymer or repeating unit (Sg in its extension)",
    re.compile(r"(^|,)m:"): "a substituent whose place is not known (m in its extension)",
    re.compile(r"(^|,)LN:"): "a unit that repeats (LN in its extension)",
    re.compile(r"(^|,)(RG:|LOG:|LO:)"): "a structure with R-groups",
    re.compile(r"(^|,)\^\d:"): "a radical that only its extension marks",
}
_STEREO_GROUP = re.compile(r"(^|,)[&o]\d*:")
# A name after a blank may look like a SMILES (CCCP, FCCP); one with these signs hardly does.
_STRUCTURE = re.compile(r"[()=#\[\]]|[a-z]\d")
_PLACEHOLDER = Chem.MolFromSmarts("[#0]")

RELATIVE_STEREO = "marks of relative or racemic stereo"


class UnusableError(ValueError):
    """Why a text gives no molecule, in plain words."""


def read(text: str) -> tuple[Chem.Mol, tuple[str, ...]]:
    """The molecule that a SMILES draws, with all its parts.

    Args:
        text: a SMILES; a ChemAxon extension (`CCO |...|`) or a name after a blank may follow.

    Returns:
        The sanitised molecule without atom map numbers, and what of the text was left out of it.

    Raises:
        UnusableError: the text is none, or a placeholder, a pattern, a reaction, or too large.
        RuntimeError, ValueError: RDKit's own; their first line is a reason.
    """
    text = text.strip().strip("\u200b\ufeff")
    _check_text(text)
    match = _SPLIT.match(text)
    smiles, tail = (match["smiles"], match["tail"]) if match else (text, "")
    left_out = _read_tail(tail)
    _check_smiles(smiles)
    mol = _parsed(smiles, sanitize=False)
    if mol is None:
        raise UnusableError("not a valid SMILES")
    check_size(mol)
    mol = _parsed(smiles, sanitize=True)
    if mol is None:
        raise UnusableError(_problem(smiles))
    if mol.GetNumHeavyAtoms() == 0 and not mol.HasSubstructMatch(_PLACEHOLDER):
        raise UnusableError("no atoms but hydrogen")
    # "*" and "[#0]" are the two ways to write one.
    if mol.HasSubstructMatch(_PLACEHOLDER):
        raise UnusableError("has a placeholder atom (*): a fragment or polymer, not a molecule")
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    return mol, left_out


def parse_all(smiles: Sequence[str]) -> list[Chem.Mol | None]:
    """The sanitised molecules of standardised SMILES; None where a text is none."""
    with rdBase.BlockLogs():
        return [Chem.MolFromSmiles(text) if isinstance(text, str) else None for text in smiles]


def _check_text(text: str) -> None:
    if not text:
        raise UnusableError("no SMILES")
    if text.lower() in _SPREADSHEET:
        raise UnusableError(
            f"no SMILES but a spreadsheet's error {text}: a cell that begins with = was taken for "
            "a formula; export the column as text"
        )
    if text.lower() in _MISSING:
        raise UnusableError(f"no SMILES, only {text!r}")
    if len(text) > MAX_CHARACTERS:
        raise UnusableError(
            f"{len(text):,} characters, more than the {MAX_CHARACTERS:,} of the largest molecules "
            "that can be used: leave this row out"
        )
    if text.startswith("InChI="):
        raise UnusableError(
            "an InChI, not a SMILES: convert the column (RDKit: "
            "Chem.MolToSmiles(Chem.MolFromInchi(text)))"
        )
    if _INCHIKEY.fullmatch(text):
        raise UnusableError("an InChIKey, from which no structure can be read: give SMILES")
    if "M  END" in text:
        raise UnusableError("a mol block, not a SMILES: convert the column")


def _read_tail(tail: str) -> tuple[str, ...]:
    """What follows the SMILES: an extension of ChemAxon, or a name."""
    rest = tail.strip()
    extension = _EXTENSION.match(rest)
    if extension is None:
        word = rest.lstrip("+,;/& ").split(maxsplit=1)[:1]
        if word and _STRUCTURE.search(word[0]) and word[0].isascii():
            other = _parsed(word[0], sanitize=False) if len(word[0]) <= MAX_CHARACTERS else None
            if other is not None and other.GetNumAtoms() > 1:
                raise UnusableError(
                    "a second SMILES after a blank: a combination; give each well one "
                    "molecule, or leave these wells out"
                )
        return ()
    fields = extension["fields"]
    for pattern, reason in _FIELDS.items():
        if pattern.search(fields):
            raise UnusableError(f"{reason}, not a molecule")
    return (RELATIVE_STEREO,) if _STEREO_GROUP.search(fields) else ()


def _check_smiles(smiles: str) -> None:
    if not smiles:
        raise UnusableError("no SMILES")
    odd = next((c for c in smiles if not "!" <= c <= "~"), None)
    if odd is not None:
        raise UnusableError(f"not a valid SMILES: has the character {odd!r}")
    if ";" in smiles or "," in smiles:
        parts = [part for part in re.split("[;,]", smiles) if part]
        if len(parts) > 1 and all(_parsed(part, sanitize=False) for part in parts):
            raise UnusableError(
                "two SMILES in one cell: a combination; give each well one molecule, or leave "
                "these wells out"
            )
    if ">" in smiles.replace("->", ""):
        raise UnusableError("a reaction, not a molecule")
    if "[#" in smiles.replace("[#0]", "") or "~" in smiles or "!" in smiles:
        raise UnusableError("a SMARTS pattern, not a molecule")
    if smiles.count(".") >= MAX_FRAGMENTS:
        raise UnusableError(
            f"{smiles.count('.') + 1:,} parts, more than {MAX_FRAGMENTS}: a mixture, not a molecule"
        )


def check_size(mol: Chem.Mol) -> None:
    """Refuses what RDKit would take hours for, or end the process at.

    Args:
        mol: not sanitised yet.

    Raises:
        UnusableError: it has too many atoms, bonds, rings or neighbours, or none.
    """
    heavy = sum(atom.GetAtomicNum() != 1 for atom in mol.GetAtoms())
    if mol.GetNumAtoms() == 0:
        raise UnusableError("no atoms")
    if heavy > MAX_ATOMS:
        raise UnusableError(
            f"{heavy:,} atoms without hydrogen, more than {MAX_ATOMS:,}: a polymer or protein; "
            "leave this row out"
        )
    bonds, atoms = mol.GetNumBonds(), mol.GetNumAtoms()
    crowded = max(atom.GetDegree() for atom in mol.GetAtoms())
    if bonds - atoms + 1 > MAX_RINGS or bonds > MAX_BONDS_PER_ATOM * atoms:
        raise UnusableError(f"{bonds:,} bonds between {atoms:,} atoms: not a molecule")
    if crowded > MAX_NEIGHBOURS:
        raise UnusableError(f"an atom with {crowded} neighbours: not a molecule")


def _parsed(smiles: str, *, sanitize: bool) -> Chem.Mol | None:
    params = Chem.SmilesParserParams()
    params.sanitize = sanitize
    params.removeHs = sanitize
    params.allowCXSMILES = False
    params.parseName = False
    return Chem.MolFromSmiles(smiles, params)


def _problem(smiles: str) -> str:
    mol = _parsed(smiles, sanitize=False)
    if mol is None:
        return "not a valid SMILES"
    mol.UpdatePropertyCache(strict=False)
    problems = Chem.DetectChemistryProblems(mol)
    if not problems:
        return "not a valid molecule"
    return f"not a valid molecule: {first_line(problems[0].Message())}"


def first_line(problem: object) -> str:
    """The first line of what RDKit says."""
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)
