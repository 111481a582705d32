"""Molecules of any file, in chunks of bounded memory: SMILES, row number, what else the row says.

A table (CSV, Parquet; see `tables`) has a column of SMILES. A `.smi` has a SMILES on each line, and
behind a blank or tab a name; a header is not needed. An `.sdf` has records (`sdf`). Each may be
packed by gzip. What gives no SMILES is a row with its reason, and is never passed over.
"""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from molphenix_jax.molecules.files.sdf import (
    FIRST_LINES,
    SdfRecord,
    looks_like_sdf,
    records,
    smiles_of,
)
from molphenix_jax.tables.columns import ALIASES, WellsError, near, normal, short
from molphenix_jax.tables.reading.csv_text import Dialect, lines_of, plain_text
from molphenix_jax.tables.reading.files import head_of, text_head
from molphenix_jax.tables.text import CHUNK_ROWS, TextTable, open_text

_SMI = (".smi", ".smiles", ".ism", ".can", ".cxsmiles")
_SDF = (".sdf", ".sd", ".mol")
# A SMILES, with ChemAxon's extension if it has one; a name.
_SMI_LINE = re.compile(r"(?P<smiles>\S+(?:[ \t]+\|[^|]*\|)?)[ \t]*(?P<name>.*)")
NAME = "name"  # of a molecule in a .smi, and the title of a record in an .sdf


class Molecules(NamedTuple):
    """Some rows of a file; n rows.

    Attributes:
        row: from 1: the row of data in a table, the line in a .smi, the record in an .sdf.
        smiles: as the file has it; of a record as it is drawn; "" where there is none.
        reason: why a record gives no SMILES, "" where it does.
        others: what else the rows say, as text, "" for gaps; without an index of its own.
    """

    row: list[int]
    smiles: list[str]
    reason: list[str]
    others: pd.DataFrame

    def why(self, errors: Sequence[str | None]) -> list[str | None]:
        """What is wrong with each row: the file's own reason before the one of its SMILES."""
        return [own or error for own, error in zip(self.reason, errors, strict=True)]


@dataclasses.dataclass(frozen=True)
class MoleculeFile:
    """A file of molecules, opened as far as its header.

    Attributes:
        path: where it lies.
        kind: how it is read.
        field: what its SMILES are from: the column, "line" or "record".
        notes: what was chosen and what is unusual, one sentence each.
    """

    path: pathlib.Path
    kind: Literal["table", "smi", "sdf"]
    field: str
    notes: tuple[str, ...]
    _source: TextTable | Dialect

    def count(self) -> int:
        """How many rows there are; reads the file, and parses no molecule.

        Raises:
            WellsError: the file is damaged.
        """
        if isinstance(self._source, TextTable):
            return sum(len(frame) for frame in self._source.chunks())
        with self._source.open() as text:
            return sum(1 for _ in self._raw(text))

    def chunks(
        self, rows: int = CHUNK_ROWS, *, start: int = 0, stop: int | None = None
    ) -> Iterator[Molecules]:
        """The rows, or those from `start` to `stop` (from 0), so many at a time; fewer at the end.

        Raises:
            WellsError: the file is damaged.
        """
        if isinstance(self._source, TextTable):
            for frame in _regrouped(self._source.chunks(rows), rows, start, stop):
                smiles = frame[self.field].tolist()
                others = frame.drop(columns=self.field).reset_index(drop=True)
                yield Molecules(frame.index.tolist(), smiles, [""] * len(smiles), others)
            return
        with self._source.open() as text:
            raw = itertools.islice(self._raw(text), start, stop)
            found = map(_of_record, raw) if self.kind == "sdf" else raw
            while some := list(itertools.islice(found, rows)):
                numbers, smiles, reasons, others = map(list, zip(*some, strict=True))
                frame = pd.DataFrame(others, dtype=object).fillna("")
                yield Molecules(numbers, smiles, reasons, frame)

    def _raw(self, text: Any) -> Iterator[Any]:
        """Lines, or numbered records that are not parsed yet."""
        lines = lines_of(text)
        return enumerate(records(lines), 1) if self.kind == "sdf" else _of_lines(lines)


def _regrouped(
    frames: Iterable[pd.DataFrame], rows: int, start: int, stop: int | None
) -> Iterator[pd.DataFrame]:
    """Rows from `start` to `stop` of successive frames, `rows` in each but the last."""
    held: list[pd.DataFrame] = []
    n_held = at = 0
    for frame in frames:
        some = frame.iloc[max(start - at, 0) : None if stop is None else max(stop - at, 0)]
        at += len(frame)
        while n_held + len(some) >= rows:
            now, some = some.iloc[: rows - n_held], some.iloc[rows - n_held :]
            yield pd.concat([*held, now]) if held else now
            held, n_held = [], 0
        if len(some):
            held.append(some)
            n_held += len(some)
        if stop is not None and at >= stop:
            break
    if held:
        yield pd.concat(held)


def kind_of(path: pathlib.Path) -> Literal["table", "smi", "sdf"]:
    """What a file is: by its content where that tells it, else by its name.

    Raises:
        WellsError: it is missing, empty or packed in a way that is not read.
    """
    suffix = pathlib.Path(path.name.lower().removesuffix(".gz")).suffix
    head = head_of(path)
    if head.startswith((b"PAR1", b"PK", b"\x89HDF")):
        return "table"
    if looks_like_sdf(text_head(path, head)) or suffix in _SDF:
        return "sdf"
    return "smi" if suffix in _SMI else "table"


def open_molecules(path: pathlib.Path, *, smiles_column: str = "") -> MoleculeFile:
    """Opens a file of molecules.

    Args:
        path: CSV, Parquet, .smi or .sdf; text may be packed by gzip.
        smiles_column: of a table; "" finds it: smiles, or what ends so.

    Raises:
        WellsError: it is missing, empty, damaged, of another format, or has no column of SMILES.
    """
    kind = kind_of(path)
    if kind != "table":
        text = plain_text(path, text_head(path, head_of(path)))
        notes = [f"{path.name}: {note}" for note in text.notes]
        if kind == "smi" and (header := _header_of(text)):
            notes.append(f"{path.name}: the first line is taken as a header: {header}")
        field = "line" if kind == "smi" else "record"
        return MoleculeFile(path, kind, field, tuple(notes), text)
    table = open_text(path)
    field, notes = smiles_column_of(path, table.names, smiles_column)
    return MoleculeFile(path, "table", field, (*table.notes, *notes), table)


def read_molecules(
    path: pathlib.Path, *, smiles_column: str = ""
) -> tuple[MoleculeFile, Molecules]:
    """All rows of a file at once; arguments and errors as of `open_molecules`.

    Raises:
        WellsError: there is also no row.
    """
    file = open_molecules(path, smiles_column=smiles_column)
    parts = list(file.chunks())
    if not parts:
        raise WellsError(f"{path}: holds no molecule")
    others = pd.concat([part.others for part in parts], ignore_index=True)
    return file, Molecules(
        [row for part in parts for row in part.row],
        [smiles for part in parts for smiles in part.smiles],
        [reason for part in parts for reason in part.reason],
        others.astype(object).fillna(""),
    )


def smiles_column_of(
    path: pathlib.Path, names: Sequence[str], given: str
) -> tuple[str, tuple[str, ...]]:
    """The column of SMILES, and a note where another one could be meant."""
    if given:
        if given not in names:
            raise WellsError(f"{path}: no column {given!r} for SMILES{near(given, names)}")
        return given, ()
    aliases = ALIASES["smiles"]
    plain = [name for name in names if normal(name) in aliases]
    plain.sort(key=lambda name: aliases.index(normal(name)))
    found = list(dict.fromkeys([*plain, *(n for n in names if normal(n).endswith("smiles"))]))
    if not found:
        raise WellsError(
            f"{path}: no column of SMILES among {short(names)}: name it with --smiles-column "
            "(data.smiles_column in a run); a file of SMILES without a header is called .smi"
        )
    others = ", ".join(map(repr, found[1:]))
    note = f"{path.name}: SMILES are those of {found[0]!r}; {others} could be meant too"
    return found[0], (note,) if others else ()


def _of_lines(lines: Iterable[str]) -> Iterator[tuple[int, str, str, dict[str, str]]]:
    """Row, SMILES, reason and name of each line that is neither blank nor a comment."""
    named = NAME
    first = True
    for number, line in enumerate(lines, 1):
        text = line.strip().lstrip("\ufeff")
        if not text or text.startswith("#"):
            continue
        match = _SMI_LINE.fullmatch(text)
        assert match is not None, "every line that is not blank fits"
        if first:
            first = False
            if _is_header(match["smiles"]):
                named = match["name"] or NAME
                continue
        yield number, match["smiles"], "", {named: match["name"]}


def _is_header(word: str) -> bool:
    return normal(word).endswith("smiles")


def _header_of(text: Dialect) -> str:
    """The header of a .smi; "" where its first line is a molecule."""
    with text.open() as lines:
        for line in itertools.islice(lines_of(lines), FIRST_LINES):
            plain = line.strip().lstrip("\ufeff")
            if plain and not plain.startswith("#"):
                return plain[:60] if _is_header(plain.split()[0]) else ""
    return ""


def _of_record(numbered: tuple[int, SdfRecord]) -> tuple[int, str, str, dict[str, str]]:
    """Row, SMILES, reason and properties of a record."""
    number, record = numbered
    smiles, reason = smiles_of(record)
    return number, smiles, reason, {NAME: record.title, **record.properties}
