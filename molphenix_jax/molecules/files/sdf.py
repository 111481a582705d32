"""SDF: mol blocks with properties, parted by $$$$.

Records are parted here and handed to RDKit one by one: so each has its number whatever is wrong
with the ones before, and none is parsed that is too large for it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rdkit import Chem, rdBase

from molphenix_jax.molecules.standard.reading import (
    MAX_ATOMS,
    UnusableError,
    check_size,
    first_line,
)

FIRST_LINES = 1_000
MAX_RECORD = 1 << 22  # characters; 1,000 atoms with their properties have 100,000
_END = "M  END"
_V3000_COUNTS = re.compile(r"M\s+V30\s+COUNTS\s+(\d+)\s+(\d+)")
_PROPERTY = re.compile(r">.*?<(?P<name>[^>]*)>.*")
# Hydrogens that are drawn come on top of the atoms that count.
_MOST_ATOMS = 4 * MAX_ATOMS


class SdfRecord(NamedTuple):
    """One record as text.

    Attributes:
        title: its first line.
        block: lines of the mol block, to "M  END".
        properties: name → value; several lines are joined by blanks.
        problem: why it cannot be parsed; "" if it may be.
    """

    title: str
    block: str
    properties: dict[str, str]
    problem: str


def looks_like_sdf(head: bytes) -> bool:
    """Whether a file begins with a mol block."""
    lines = head.decode("utf-8", errors="replace").splitlines()[:4]
    return len(lines) == 4 and bool(re.search(r"\bV[23]000\s*$", lines[3]))


def records(lines: Iterable[str]) -> Iterator[SdfRecord]:
    """The records of a file; the last one needs no $$$$."""
    held: list[str] = []
    size = 0
    for line in lines:
        plain = line.rstrip("\r\n")
        if plain.rstrip() == "$$$$":
            yield _record(held, size)
            held, size = [], 0
            continue
        size += len(plain) + 1
        if size <= MAX_RECORD:
            held.append(plain)
    if any(line.strip() for line in held):
        yield _record(held, size)


def smiles_of(record: SdfRecord) -> tuple[str, str]:
    """The SMILES of a record as it is drawn, or "" and the reason."""
    if record.problem:
        return "", record.problem
    try:
        with rdBase.BlockLogs():
            drawn = Chem.MolFromMolBlock(record.block, sanitize=False, removeHs=False)
            if drawn is None:
                return "", "damaged: its mol block cannot be read"
            check_size(drawn)
            mol = Chem.MolFromMolBlock(record.block, sanitize=True, removeHs=True)
            if mol is None:
                drawn.UpdatePropertyCache(strict=False)
                problems = Chem.DetectChemistryProblems(drawn)
                what = f": {first_line(problems[0].Message())}" if problems else ""
                return "", f"not a valid molecule{what}"
            return Chem.MolToSmiles(mol), ""
    except UnusableError as problem:
        return "", str(problem)
    except (RuntimeError, ValueError) as problem:  # RDKit's exceptions derive from these two
        return "", f"damaged: {first_line(problem)}"


def _record(lines: list[str], size: int) -> SdfRecord:
    title = lines[0].strip() if lines else ""
    if size > MAX_RECORD:
        return SdfRecord(
            title, "", {}, f"{size:,} characters, more than the {MAX_RECORD:,} of a record"
        )
    end = next((i for i, line in enumerate(lines) if line.startswith(_END)), None)
    if end is None:
        return SdfRecord(title, "", {}, f"damaged: no line {_END!r}, as where a file is cut short")
    block = "\n".join(lines[: end + 1]) + "\n"
    counts = _V3000_COUNTS.search(block)
    if counts and int(counts[1]) > _MOST_ATOMS:
        return SdfRecord(title, "", {}, f"{int(counts[1]):,} atoms, more than {_MOST_ATOMS:,}")
    return SdfRecord(title, block, _properties(lines[end + 1 :]), "")


def _properties(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in lines:
        if match := _PROPERTY.fullmatch(line) if line.startswith(">") else None:
            values = found.setdefault(match["name"].strip(), [])
        elif not line.strip():
            values = None
        elif values is not None:
            values.append(line.strip())
    return {name: " ".join(values) for name, values in found.items()}
