"""Names of plates and wells as they are compared: A1, a01 and A001 are one well, 7 and 007 a plate.

A table keeps its own spelling; of several in one table, the first.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from molphenix_jax.tables.columns import ALIASES, WellsError, as_text, normal
from molphenix_jax.tables.numbering import words_of

# The number of a field may follow: A01_s1, A01:f2, r01c02f03p01.
_FIELD = r"([\s_:.-]+(s|f|fld|site|field|fov)[\s_:-]*\d+)?"
_WELL = re.compile(rf"(?:well\s*)?([A-Z]{{1,2}})[\s_:-]*0*(\d{{1,2}}){_FIELD}", re.IGNORECASE)
_ROW_COLUMN = re.compile(rf"r0*(\d{{1,2}})[\s_-]?c0*(\d{{1,2}})(f\d+(p\d+)?)?{_FIELD}", re.I)
_SHORTENED = re.compile(r"\d([.,]\d+)?[Ee]\+\d{2,}")
_ROWS = (
    *("row", "wellrow", "platerow", "rowname", "wellrowname", "rowletter", "rowid", "rownumber"),
)
_COLUMNS = (
    *(
        "column",
        "col",
        "wellcolumn",
        "wellcol",
        "platecolumn",
        "platecol",
        "columnname",
        "columnid",
    ),
    *("columnnumber", "colnumber"),
)
_PARTS = re.compile(
    r"\w*objectnumber|imagenumber|(single)?(cell|nucleus|object)(id|number|no|index|idx|label)"
)
_PROFILE_PARTS = re.compile(
    r"(metadata_)?(channel|stain|dye|fluorophore|marker|wavelength|compartment|object_type|objects?"
    r"|features?|variable|metric|parameter|descriptor|readout|endpoint|statistics?|stat"
    r"|aggregat(e|ion)(_method|_function)?|measurement_(name|type))(_?(name|id|type))?"
)
_FRAMES = re.compile(
    r"(metadata_)?(frames?|time_?frame|position_t|time_?(index|idx)|t)(_?(no|nr|num|number|id|idx|index))?"
)
# Columns that name a compound by itself, best first, in text that may be written in several ways.
COMPOUND_KEYS = ("jcp2022", "broadsample", "broadid", "compoundid", "compoundname", "inchikey")


def well_name(text: str) -> str:
    """A1, a01, A-1 and A001 as A01, r02c03 as B03; what is no such name stays as it is."""
    text = text.strip()
    if match := _WELL.fullmatch(text):
        return f"{match[1].upper()}{int(match[2]):02d}"
    if (match := _ROW_COLUMN.fullmatch(text)) and int(match[1]):
        return row_column_name(int(match[1]), int(match[2]))
    return text


def names_well(text: str) -> bool:
    """Whether a text is the name of a well, however spelled."""
    return bool(_WELL.fullmatch(text.strip()) or _ROW_COLUMN.fullmatch(text.strip()))


def refuse_shortened(path: str, table: pa.Table, names: Sequence[str]) -> None:
    """Stops where a spreadsheet has left of a long number 1.23457E+11, as of all its neighbours.

    Raises:
        WellsError: a column that names plates or compounds holds such a number.
    """
    for name in names:
        found = [text for text in set(as_text(table.column(name))) if _SHORTENED.fullmatch(text)]
        if found:
            raise WellsError(
                f"{path}: column {name!r} holds {min(found)}, a number that a spreadsheet has "
                "shortened, so that different names are one: export that column as text"
            )


def row_column_name(row: int, column: int) -> str:
    """Row 1, column 1 as A01; row 27 as AA."""
    first, last = divmod(row - 1, 26)
    return f"{chr(64 + first) if first else ''}{chr(65 + last)}{column:02d}"


def well_key(text: str) -> str:
    """A well as it is compared."""
    return well_name(text).casefold().lstrip("0")


def plate_key(text: str) -> str:
    """A plate as it is compared: without case and blanks, numbers without leading zeros."""
    plain = re.sub(r"[\s_-]+", " ", text.strip().casefold())
    plain = re.sub(r"^(\d+)\.0+$", r"\1", plain)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", plain)


def key_of(meaning: str) -> Callable[[str], str]:
    """How keys of a column are compared, by what it means."""
    if meaning == "well":
        return well_key
    if meaning in ("plate", "batch", "platemapname"):
        return plate_key
    if meaning in COMPOUND_KEYS:
        return lambda text: text.strip().casefold()
    return lambda text: text


def one_spelling(names: np.ndarray, key: Callable[[str], str]) -> tuple[np.ndarray, list[str]]:
    """Names with the first spelling of each, and the other spellings that there were."""
    first: dict[str, str] = {}
    to = {name: first.setdefault(key(name), name) for name in dict.fromkeys(names.tolist())}
    others = [name for name, one in to.items() if name != one]
    if not others:
        return names, []
    return np.array([to[name] for name in names.tolist()], object), others


def numbers_parts(name: str) -> bool:
    """Whether a column numbers cells or images: its rows are parts of wells."""
    return bool(_PARTS.fullmatch(normal(name)))


def parts_profiles(name: str) -> bool:
    """Whether rows that differ in a column of this name are parts of one profile, not of a well."""
    return bool(_PROFILE_PARTS.fullmatch(words_of(name)))


def numbers_frames(name: str) -> bool:
    """Whether a column numbers the frames of a film."""
    return bool(_FRAMES.fullmatch(words_of(name)))


def row_and_column(names: Sequence[str]) -> tuple[str, str] | None:
    """The two columns that place a well, where no column names it."""
    plain = {normal(name): name for name in reversed(names)}
    if any(alias in plain for alias in ALIASES["well"]):
        return None
    row = next((plain[name] for name in _ROWS if name in plain), None)
    column = next((plain[name] for name in _COLUMNS if name in plain), None)
    return (row, column) if row and column else None


def with_well(names: Sequence[str]) -> list[str]:
    """Column names, with the one that `with_well_names` adds."""
    return [*names, "well"] if row_and_column(names) else list(names)


def with_well_names(table: pa.Table) -> pa.Table:
    """The table with a column `well`, made of its row and column, where it names no wells."""
    pair = row_and_column(table.column_names)
    if pair is None:
        return table
    row, column = (as_text(table.column(name)) for name in pair)
    # Both are counted from 0 where a 0 is among them.
    shift = [int("0" in {*row.tolist(), *column.tolist()})] * 2
    places = list(zip(row.tolist(), column.tolist(), strict=True))
    unique = {place: _place(*place, *shift) for place in set(places)}
    wells = [unique[place] for place in places]
    return table.append_column("well", pa.array(wells, pa.string()).dictionary_encode())


def _place(row: str, column: str, from_row: int, from_column: int) -> str | None:
    if not column.isdecimal():
        return None
    if row.isdecimal():
        return row_column_name(int(row) + from_row, int(column) + from_column)
    if re.fullmatch(r"[A-Za-z]{1,2}", row):
        return f"{row.upper()}{int(column) + from_column:02d}"
    return None
