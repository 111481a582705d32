"""How a CSV file is written: compression, encoding, separator, what stands above and before it.

Read as they are: gzip whatever the file is called, UTF-8 and UTF-16, bytes that are no UTF-8 (as
Windows-1252), Excel's `sep=;` line, comments above the header, R's row names. What is not
unambiguous ends in a sentence with the line.
"""

import codecs
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import pathlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from molphenix_jax.tables.columns import WellsError, short
from molphenix_jax.tables.formats.unpacked import MOST_PACKED

GZIP = b"\x1f\x8b"
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}
_BLOCK = 1 << 20
_LONGEST_LINE = 64 << 20  # bytes
_SAMPLE_ROWS = 50
_STRAY = "bytes of Windows-1252"
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SEP_LINE = re.compile(r'"?sep=(.)"?[\s;,|]*', re.IGNORECASE)
_TOO_MANY = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_UNCLOSED = re.compile(r"EOF inside string starting at row (\d+)")
_WHOLE = re.compile(r"[+-]?\d+")
_DAMAGED_GZIP = "the gzip file is cut short or damaged: copy it again, or pack it anew"


_OF_READING = (ValueError, csv.Error, pd.errors.ParserWarning, EOFError, OSError, zlib.error)


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """A codec's answer to bytes that are no UTF-8: what they are in Windows-1252, or Latin-1."""
    assert isinstance(error, UnicodeDecodeError)
    stray = error.object[error.start : error.end]
    try:
        return stray.decode("cp1252"), error.end
    except UnicodeDecodeError:
        return stray.decode("latin-1"), error.end


codecs.register_error(_STRAY, _as_windows)
csv.field_size_limit(_LONGEST_LINE)  # lists of numbers as text are longer than Python's 128 KiB


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How one CSV file is written.

    Attributes:
        path: The file.
        gzipped: Whether it is compressed.
        encoding: Of its text.
        above: Lines above the header.
        separator: Between fields.
        names: Of all columns; those that have none get pandas' `Unnamed: 3`.
        notes: What was not plain, one sentence each.
    """

    path: pathlib.Path
    gzipped: bool
    encoding: str
    above: int = 0
    separator: str = ","
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[str]]:
        """The text from the header on.

        Raises:
            WellsError: What goes wrong while it is read, as a sentence.
        """
        try:
            with (
                _unpacked(self.path, self.gzipped) as raw,
                io.TextIOWrapper(raw, self.encoding, errors=_STRAY, newline="") as text,
            ):
                for _ in range(self.above):
                    text.readline()
                yield text
        except WellsError:
            raise
        except _OF_READING as error:
            raise WellsError(f"{self.path}: {self._reason(error)}") from error

    def refuse_torn(self, column: pd.Series) -> None:
        """Refuses a cell that has swallowed rows, since a quotation mark in it is not closed.

        Raises:
            WellsError: There is one; names its beginning.
        """
        try:
            text = pa.array(column, pa.string(), from_pandas=True)
        except (pa.ArrowException, TypeError):  # numbers and words
            text = pa.array(column.dropna().astype(str), pa.string())
        ends = pc.MatchSubstringOptions("\n")
        several = pc.call_function("match_substring", [text], ends)
        for cell in text.filter(several).to_pylist():
            swallowed = cell.count(self.separator) >= max(1, len(self.names) - 1)
            if swallowed and not cell.lstrip().startswith(("[", "(")):  # lists are long
                raise WellsError(
                    f"{self.path}: column {column.name!r}, at {cell[:30]!r}: a quotation mark that "
                    "opens there is closed rows later; remove it, or close it in its own field"
                )

    def _reason(self, error: BaseException) -> str:
        """What pandas or the system says, in words that help."""
        said = str(error)
        if found := _TOO_MANY.search(said):
            expected, line, saw = map(int, found.groups())
            return self._ragged(line + self.above, saw, expected)
        if found := _UNCLOSED.search(said):
            line = int(found[1]) + self.above + 1
            return (
                f"near line {line}: a quotation mark that opens there is never closed; remove or "
                "close it"
            )
        if isinstance(error, pd.errors.ParserWarning):
            return self._ragged(self.above + 2, None, len(self.names))
        if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
            return _DAMAGED_GZIP
        if isinstance(error, csv.Error):
            return "a quotation mark near its beginning is never closed; remove or close it"
        if isinstance(error, OSError) and error.strerror:
            return f"cannot be read ({error.strerror})"
        return "not a readable CSV file: export the table again, as Parquet or as CSV in UTF-8"

    def _ragged(self, line: int, saw: int | None, expected: int) -> str:
        more = f"{saw:,} fields" if saw else "more fields"
        return (
            f"line {line:,} has {more}, the header in line {self.above + 1:,} has {expected:,}, by "
            f"the {_SEPARATORS.get(self.separator, repr(self.separator))} between them: put "
            "text with these in quotation marks, export decimal commas as points, row names with "
            "a name in the header, and remove what stands above the header"
        )


def dialect_of(path: pathlib.Path, head: bytes) -> Dialect:
    """Finds how a CSV file is written; goes through its bytes once.

    Args:
        path: The file.
        head: Its first bytes, unpacked if it is compressed.

    Raises:
        WellsError: It is no text, its header has a name twice, or its rows and header differ.
    """
    plain = plain_text(path, head)
    notes = list(plain.notes)
    with plain.open() as text:
        start = list(itertools.islice(lines_of(text), 200))
        above, given = _above(path, start)
    header = start[above]
    separator = given or _separator(header, start[above + 1 :])
    found = dataclasses.replace(plain, above=above, separator=separator)
    with found.open() as text:
        reader = csv.reader(lines_of(text), delimiter=separator)
        sample = [(row, reader.line_num) for row in itertools.islice(reader, _SAMPLE_ROWS) if row]
    names, rows = sample[0][0], [row for row, _ in sample[1:]]
    if _are_named(names, rows, start[above : above + 2], separator):
        names = ["", *names]
        notes.append("the first field of each row has no name in the header: taken as row names")
    for row, line in sample:
        if any(row[len(names) :]):
            raise WellsError(f"{path}: {found._ragged(line + above, len(row), len(names))}")
    if passed := [line.strip()[:40] for line in start[:above] if line.strip()]:
        notes.append(f"above the header passed over: {short(passed, 2)}")
    if separator not in ",\t;" and not given:
        notes.append(f"fields are parted by {_SEPARATORS[separator]}")
    if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        at = [str(i) for i, name in enumerate(names, 1) if name == twice[0]]
        raise WellsError(
            f"{path}: the header names {len(twice)} column{'s' * (len(twice) > 1)} more than once, "
            f"{twice[0]!r} (columns {' and '.join(at)}) first: rename or remove one"
        )
    named = tuple(name or f"Unnamed: {i}" for i, name in enumerate(names))
    said = tuple(f"{path.name}: {note}" for note in notes)
    return dataclasses.replace(found, names=named, notes=said)


def plain_text(path: pathlib.Path, head: bytes) -> Dialect:
    """How a file of text is packed and encoded; goes through its bytes once.

    Args:
        path: The file.
        head: Its first bytes, unpacked if it is compressed.

    Raises:
        WellsError: It is no text.
    """
    with path.open("rb") as file:
        gzipped = file.read(2) == GZIP
    plain = Dialect(path, gzipped, _encoding(head))
    with plain.open():  # whose sentences tell what goes wrong
        notes = _scan(path, gzipped, plain.encoding)
    return dataclasses.replace(plain, notes=tuple(notes))


def unpacked_head(path: pathlib.Path, size: int) -> bytes:
    """The first bytes of what a gzip file holds.

    Raises:
        WellsError: It is damaged.
    """
    try:
        with gzip.open(path) as file:
            return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise WellsError(f"{path}: {_DAMAGED_GZIP}") from error


def _unpacked(path: pathlib.Path, gzipped: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if gzipped else path.open("rb")


def lines_of(text: IO[str]) -> Iterator[str]:
    """Lines of bounded length; `newline=""` keeps line ends of all systems."""
    while line := text.readline(_LONGEST_LINE):
        yield line


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head[:2] in _UTF16:
        return "utf-16"
    # Without a mark: every other byte of text in Latin letters is 0.
    half = len(head) // 2
    if half > 8 and head[1::2].count(0) > 0.9 * half:
        return "utf-16-le"
    if half > 8 and head[::2].count(0) > 0.9 * half:
        return "utf-16-be"
    return "utf-8-sig"


def _scan(path: pathlib.Path, gzipped: bool, encoding: str) -> list[str]:
    """Goes through all bytes, so that nothing surprises the parser; notes on the encoding.

    Raises:
        WellsError: Bytes that no text has, a line without end, or an archive that explodes.
    """
    wide = encoding != "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    size, lines, run, total = path.stat().st_size, 1, 0, 0
    stray: int | None = None
    with _unpacked(path, gzipped) as raw:
        while block := raw.read(_BLOCK):
            total += len(block)
            if not wide and (at := block.find(0)) >= 0:
                line = lines + block.count(b"\n", 0, at)
                raise WellsError(
                    f"{path}: line {line:,} holds a NUL byte, which no text has: the file is "
                    "damaged, or no CSV file; export the table again, as Parquet or CSV"
                )
            ends = b"\n" in block or b"\r" in block
            run = 0 if ends else run + len(block)
            exploding = gzipped and total > max(_LONGEST_LINE, MOST_PACKED * size)
            if run > _LONGEST_LINE or exploding:
                why = f"line {lines:,} is longer than {_LONGEST_LINE >> 20} MiB"
                if exploding:
                    why = f"it unpacks to more than {MOST_PACKED} times its size"
                raise WellsError(f"{path}: {why}: this is no table; export it again")
            if stray is None:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError as error:
                    stray = lines + error.object[: error.start].count(b"\n")
            lines += block.count(b"\n")
    if stray is None:
        return ["read as UTF-16"] if encoding.startswith("utf-16") else []
    if wide:
        raise WellsError(
            f"{path}: line {stray:,} is damaged {encoding.upper()}: save it as CSV in UTF-8"
        )
    return [f"line {stray:,} is not UTF-8: such letters are read as Windows-1252 (Latin-1)"]


def _above(path: pathlib.Path, start: Sequence[str]) -> tuple[int, str]:
    """How many lines stand above the header, and the separator that one of them gives."""
    given = ""
    for at, line in enumerate(start):
        plain = line.strip("\r\n")
        if not plain.strip():
            continue
        if (found := _SEP_LINE.fullmatch(plain)) and not given:
            given = found[1]
            continue
        if plain.lstrip('"').startswith("#") and not _is_header(plain, start[at + 1 :], given):
            continue
        return at, given
    raise WellsError(f"{path}: no header: the file has blank lines and comments only")


def _is_header(line: str, below: Sequence[str], given: str) -> bool:
    """Whether a line that begins with # is `#plate,well`: as many fields as the row below."""
    if line.lstrip('"')[1:2].isspace() or not below or below[0].startswith("#"):
        return False
    separator = given or _separator(line, below)
    n = _width(line, separator)
    return n > 1 and n == _width(below[0], separator)


def _separator(header: str, below: Sequence[str]) -> str:
    best = max(",\t;|", key=lambda separator: _width(header, separator))
    if _width(header, best) > 1:
        return best
    n = _width(header, " ")
    if n > 2 and below and all(_width(row, " ") in (n, n + 1) for row in below[:5] if row.strip()):
        return " "
    return ","


def _width(line: str, separator: str) -> int:
    return len(next(csv.reader([line.strip("\r\n")], delimiter=separator), []))


def _are_named(
    names: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[str], separator: str
) -> bool:
    """Whether rows begin with a name that the header lacks, as R's do.

    Between commas that is told from a decimal comma: by quotation marks, or by numbers in order
    where no two whole numbers stand side by side in every row.
    """
    if not rows or any(len(row) != len(names) + 1 for row in rows) or not any(r[-1] for r in rows):
        return False
    first = [row[0] for row in rows]
    if len(set(first)) < len(first):
        return False
    if separator != "," or all(line.startswith('"') for line in lines):
        return True
    ordered = first in ([str(i + k) for i in range(len(first))] for k in (0, 1))
    decimal = all(
        any(_WHOLE.fullmatch(a) and b.isdigit() for a, b in itertools.pairwise(row)) for row in rows
    )
    return ordered and not decimal
