"""Doses in µM from whatever columns a table has for them: never guessed, and said what was read.

`read_doses` finds the columns by name (`dose_names`), takes the unit from a cell ("500 nM"), the
caller, a unit column (row by row) or the name, in this order, and stops where two columns disagree.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float

from molphenix_jax.tables.columns import WellsError, as_number, as_text, is_number, short
from molphenix_jax.tables.dose_names import (
    MICROMOLAR,
    UNITS,
    DoseName,
    Unit,
    dose_name,
    has_lost_letter,
    needs_mass,
    parse_unit,
)
from molphenix_jax.tables.missing import NOTHING
from molphenix_jax.wells.controls.words import POSITIVE, TREATED, kind_of
from molphenix_jax.wells.doses.grid import SAME_DOSE
from molphenix_jax.wells.doses.refused import (
    GIVE,
    doubtful,
    refuse_doses_in_names,
    without_numbers,
)

# -666 is the Broad Institute's. A dose that nobody knows is no missing one: a well without SMILES
# and dose may be a control.
_NONE = NOTHING | {"-666"}
_CELL = re.compile(r"([+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(.*)", re.DOTALL)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")  # or three digits behind a decimal point
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
# In µM: doses all above or all below are those of another unit.
_HIGH, _LOW = 1_000.0, 1e-3


@dataclasses.dataclass(frozen=True)
class Doses:
    """The concentrations of n rows.

    Attributes:
        um: In µM, NaN where there is none, [n].
        given: What the table says, as text, [n].
        reason: Why a row that says something has no concentration, "" elsewhere, [n].
        column: The table's column; "" where it has none.
        unit: Of the numbers in it; several where rows differ.
        how: Where the unit is from.
        notes: What was taken, assumed, and what else could be meant.
    """

    um: Float[np.ndarray, "n"]
    given: np.ndarray
    reason: np.ndarray
    column: str
    unit: str
    how: str
    notes: tuple[str, ...]

    def record(self) -> dict[str, str]:
        """What `screen.json` keeps."""
        return {"column": self.column, "unit": self.unit, "how": self.how}


def concentration_unit(text: str) -> Unit | None:
    """The unit that a user gives; None for "".

    Raises:
        WellsError: it is none.
    """
    if not text:
        return None
    if unit := parse_unit(text):
        return unit
    if needs_mass(text):
        raise WellsError(
            f"concentration_unit={text!r} needs the molar mass of each compound: convert the "
            "column to µM"
        )
    raise WellsError(f"concentration_unit={text!r} is no unit; units are {', '.join(UNITS)}")


def read_doses(
    path: str,
    table: pa.Table,
    *,
    column: str | None = None,
    unit: str = "",
    default_um: float = 10.0,
    needed: bool = True,
    decimal_commas: bool = False,
) -> Doses:
    """Reads the concentrations of all rows.

    Args:
        path: of the table, for messages.
        table: the columns of the table that may hold doses, and others.
        column: the one that holds them, where the user says so; "none": no column does.
        unit: of numbers whose cell names none, in place of what the column's name and a unit column
            say; "" asks these.
        default_um: concentration in µM where the table has no column.
        needed: whether doses have to be told; else a column of them without any number, or doses
            in names, are no mistake.
        decimal_commas: whether other columns write numbers with decimal commas.

    Raises:
        WellsError: a column looks like a dose and is none that can be read; columns disagree; the
            unit cannot be told.
    """
    given_unit = concentration_unit(unit)
    names = {name: said for name in table.column_names if (said := dose_name(name))}
    if column == "none" and "none" not in table.column_names:
        return _default(table.num_rows, default_um, "as the column mapping says, no column is one")
    if column is not None:
        said = names.get(column, DoseName("dose"))
        only = _Column(path, table, column, said, names, given_unit, decimal_commas)
        return _result([only], [], path)
    read, doubted, worded = [], [], []
    for name, said in names.items():
        if said.kind == "unit":
            continue
        if not _holds_numbers(table.column(name)):
            if said.kind == "dose" or said.stem and len(_said(table.column(name))) > 1:
                worded.append(name)
        elif said.kind == "doubt":
            # A volume or a dilution that does not vary tells of no dose.
            if said.unit or said.stem or len(_said(table.column(name))) > 1:
                doubted.append(name)
        else:
            read.append(_Column(path, table, name, said, names, given_unit, decimal_commas))
    if not read:
        if doubted:
            raise WellsError(doubtful(path, table, doubted[0], names[doubted[0]]))
        if needed:
            if worded:
                raise WellsError(without_numbers(path, table, worded[0], default_um))
            refuse_doses_in_names(path, table, default_um)
        return _default(table.num_rows, default_um, "no column is one")
    read.sort(key=_Column.order)
    return _result(read, [*doubted, *worded], path)


class _Column:
    """One column of doses, read."""

    def __init__(
        self,
        path: str,
        table: pa.Table,
        name: str,
        said: DoseName,
        names: Mapping[str, DoseName],
        given: Unit | None,
        decimal_commas: bool,
    ):
        self.name, self.said, self.path, self.notes = name, said, path, []
        self.given = as_text(table.column(name))
        self.how, self.assumed = "", False
        self._units: list[Unit] = []
        value, in_cell, self.reason = self._cells(table.column(name), decimal_commas)
        unit = np.full(len(value), self._code(given))
        if given:
            self.how = "--concentration-unit"
            if said.unit and given != said.unit:
                self.notes.append(
                    f"concentration_unit={given.name} goes before the {said.unit.name} that the "
                    f"name of {name!r} says"
                )
        elif per_row := _unit_column(table, name, said, names):
            unit = self._by_row(as_text(table.column(per_row)), per_row, value)
        elif said.unit:
            unit[:], self.how = self._code(said.unit), f"the name of column {name!r}"
        own = in_cell >= 0
        unit[own] = in_cell[own]
        if own.any():
            others = ", ".join(filter(None, ("the cells", self.how)))
            self.how = "the cells" if own[np.isfinite(value)].all() else others
        blank = (unit < 0) & np.isfinite(value) & (self.reason == "")
        if blank.any() and not (self.how and (value[blank] == 0).all()):
            unit[blank] = self._code(self._settled(value[blank]))
        unit[blank & (unit < 0)] = self._code(MICROMOLAR)  # 0 in any unit
        self.um = np.full(len(value), np.nan)
        for code in np.unique(unit[unit >= 0]):
            at = unit == code
            self.um[at] = self._units[code].micromolar(value[at])
        self.um[self.reason != ""] = np.nan
        used = np.unique(unit[(unit >= 0) & ~np.isnan(self.um)]).tolist()
        self.unit = ", ".join(self._units[code].name for code in used) or "µM"

    def _code(self, unit: Unit | None) -> int:
        """The number of a unit, -1 for none."""
        if unit is None:
            return -1
        if unit not in self._units:
            self._units.append(unit)
        return self._units.index(unit)

    def _cells(
        self, column: pa.ChunkedArray, decimal_commas: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value, code of the unit beside it, and what is wrong with each cell."""
        if is_number(column.type):
            value = as_number(column)
            if value.dtype != np.float64:
                # 0.37 held as float32 is 0.37 to its owner, not 0.37000000477: doses are compared.
                value = value.astype(str).astype(np.float64)
            none = np.full(len(value), -1)
            return np.where(value == -666, np.nan, value), none, np.full(len(value), "", object)
        code, unique = pd.factorize(self.given)
        cells = _parsed(self.path, self.name, unique.tolist(), decimal_commas)
        value = np.array([cell[0] for cell in cells], np.float64)
        units = np.array([self._code(cell[1]) for cell in cells], np.int64)
        reason = np.array([cell[2] for cell in cells], object)
        return value[code], units[code], reason[code]

    def order(self) -> tuple:
        """Best first: our own name, `Metadata_` and it, a named unit, most values."""
        exact = {"concentration_um": 0, "Metadata_concentration_um": 1}
        told = self.said.unit is not None or not self.assumed
        return (exact.get(self.name, 2), not told, -int(np.isfinite(self.um).sum()))

    def _by_row(self, text: np.ndarray, column: str, value: np.ndarray) -> np.ndarray:
        """Code of each row's own unit; of the name's where the column is blank."""
        code, labels = pd.factorize(text)
        used = np.isfinite(value) & (value != 0) & (self.reason == "")
        codes = np.full(len(labels), -1)
        for i, label in enumerate(labels):
            rows = np.flatnonzero(used & (code == i))
            missing = label.lower() in _NONE
            unit = self.said.unit if missing else parse_unit(label)
            codes[i] = self._code(unit)
            if unit and self.said.unit and unit != self.said.unit and len(rows):
                raise WellsError(
                    f"{self.path}: the name of column {self.name!r} says {self.said.unit.name}, "
                    f"column {column!r} says {label!r} in row {rows[0] + 1}: give {GIVE}"
                )
            if unit is None:
                why = f"{label!r} in column {column!r} is no unit; units are {', '.join(UNITS)}"
                if missing:
                    why = f"no unit in column {column!r}"
                elif needs_mass(label):
                    why = f"unit {label!r} needs the molar mass: give the dose in µM"
                self.reason[rows] = why
        self.how = f"column {column!r}, row by row"
        return codes[code]

    def _settled(self, value: Float[np.ndarray, "k"]) -> Unit:
        """The unit of numbers that nobody names, as far as their range leaves no doubt."""
        what = f"{self.path}: column {self.name!r}"
        values = ", ".join(f"{v:g}" for v in pd.unique(value[value != 0])[:3])
        log = self.said.log
        # Of molar logs: 1 pM to 0.1 M.
        molar = len(value) > 0 and bool(((-log * value >= 1) & (-log * value <= 12)).all())
        if log and molar:
            unit = Unit("log10(M)" if log > 0 else "-log10(M)", 6, log)
            self.how = f"the range of column {self.name!r}"
            self.notes.append(f"the numbers in {self.name!r} ({values}) are taken as {unit.name}")
            return unit
        if log:
            raise WellsError(
                f"{what} ({values}) is a logarithm of an unknown unit: give {GIVE}, one of "
                f"{', '.join(u for u in UNITS if 'log' in u)}"
            )
        nonzero = value[value != 0]
        if len(nonzero) and (nonzero < 0).all():
            raise WellsError(
                f"{what} ({values}) holds negative numbers alone: a logarithm? Then give "
                "--concentration-unit=log10(M) or log10(µM)"
            )
        positive = nonzero[nonzero > 0]
        if len(positive) and (positive.min() > _HIGH or positive.max() < _LOW):
            raise WellsError(
                f"{what} ({values}) names no unit, and {positive.min():g} to {positive.max():g} "
                f"are implausible as µM: give {GIVE}, one of {', '.join(UNITS)}"
            )
        self.assumed = True
        self.how = f"assumed: neither {self.name!r} nor another column names one"
        return MICROMOLAR


def _result(read: list[_Column], doubted: list[str], path: str) -> Doses:
    """The first column, once the others agree; its gaps are filled from these."""
    first, others = read[0], read[1:]
    um, notes = first.um.copy(), list(first.notes)
    assumed = ""
    if first.assumed:
        assumed = ": no unit is named, --concentration-unit says otherwise"
    by = f", by {first.how}" if first.how.startswith(("column", "the cells")) else ""
    notes.insert(
        0,
        f"concentration_um: the numbers in {first.name!r} are taken as {first.unit}{by}{assumed}",
    )
    for other in others:
        _agree(path, first, other)
        gaps = np.isnan(um) & np.isfinite(other.um) & (first.reason == "")
        filled = f", and gives the {gaps.sum():,} rows that {first.name!r} lacks"
        notes.append(
            f"concentration_um: column {other.name!r} ({other.unit}) agrees with {first.name!r}"
            f"{filled if gaps.any() else ''}"
        )
        um[gaps] = other.um[gaps]
    if doubted:
        notes.append(f"no dose and no feature: {short([repr(name) for name in doubted], 10)}")
    positive = um[np.isfinite(um) & (um > 0)]
    if len(positive) and (positive.max() > _HIGH or positive.max() < _LOW):
        notes.append(
            f"concentrations of {positive.min():g} to {positive.max():g} µM are implausible: check "
            f"the unit of {first.name!r}, or give {GIVE}"
        )
    return Doses(um, first.given, first.reason, first.name, first.unit, first.how, tuple(notes))


def _agree(path: str, first: _Column, other: _Column) -> None:
    """Stops where two columns give a row different doses.

    Where one names no unit it may be off by a constant factor.
    """
    both = (first.um > 0) & (other.um > 0) & np.isfinite(first.um) & np.isfinite(other.um)
    ratio = other.um[both] / first.um[both]
    if first.assumed != other.assumed and len(ratio):
        power = np.log10(np.median(ratio))
        if abs(power - 3 * round(power / 3)) < 0.01:
            ratio = ratio / np.median(ratio)
            if other.assumed:
                other.um = other.um / 10.0 ** (3 * round(power / 3))
    off = np.flatnonzero(np.abs(ratio - 1) > SAME_DOSE)
    if len(off):
        row = np.flatnonzero(both)[off[0]]
        raise WellsError(
            f"{path}: columns {first.name!r} and {other.name!r} give different doses in "
            f"{len(off):,} rows (row {row + 1}: {first.given[row]} {first.unit} and "
            f"{other.given[row]} {other.unit}); name the right one with "
            f"columns={{'concentration_um': ...}} (--columns=concentration_um={first.name})"
        )


def _default(n: int, default_um: float, why: str) -> Doses:
    return Doses(
        um=np.full(n, np.nan),
        given=np.full(n, "", object),
        reason=np.full(n, "", object),
        column="",
        unit="µM",
        how=f"default of {default_um:g} µM: {why}",
        notes=(f"no concentration column: treated wells are at {default_um} µM",),
    )


def _holds_numbers(column: pa.ChunkedArray) -> bool:
    """Whether half of what a column says of treated wells begins with a number."""
    if is_number(column.type):
        return True
    if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type):
        return False
    said = _said(column)
    return sum(bool(_CELL.match(text)) * n for text, n in said.items()) >= 0.5 * max(
        1, sum(said.values())
    )


def _said(column: pa.ChunkedArray) -> dict[str, int]:
    """What a column says, with how often; without gaps and the words for controls."""
    counts = pd.Series(as_text(column)).value_counts().to_dict()
    return {
        text: n
        for text, n in counts.items()
        if text.lower() not in _NONE and kind_of(text) in ("", POSITIVE, TREATED)
    }


def _unit_column(
    table: pa.Table, name: str, said: DoseName, names: Mapping[str, DoseName]
) -> str | None:
    """The column of units of a column of doses: it shares its words, or is the only one."""
    units = [other for other, of in names.items() if of.kind == "unit"]
    units = [other for other in units if _names_units(table.column(other))]
    same = [other for other in units if names[other].stem == said.stem]
    with_stem = [other for other in units if names[other].stem]
    chosen = (
        same or (with_stem if len(with_stem) == 1 else []) or (units if len(units) == 1 else [])
    )
    n_doses = sum(of.kind == "dose" for of in names.values())
    if not same and n_doses > 1 and said.unit:
        return None  # it belongs to another column
    return chosen[0] if chosen else None


def _names_units(column: pa.ChunkedArray) -> bool:
    said = {text for text in as_text(column) if text.lower() not in _NONE}
    return any(parse_unit(t) or needs_mass(t) or has_lost_letter(t) for t in said)


def _parsed(
    path: str, name: str, unique: list[str], decimal_commas: bool
) -> list[tuple[float, Unit | None, str]]:
    """Value, unit of its own, and what is wrong, of each text in a column."""
    matches = {text: _CELL.fullmatch(text) for text in unique}
    with_comma = [m[1] for m in matches.values() if m and "," in m[1]]
    thousands = bool(with_comma) and all(_THOUSANDS.fullmatch(number) for number in with_comma)
    if thousands and not any("." in m[1] for m in matches.values() if m):
        raise WellsError(
            f"{path}: column {name!r}: is the comma in {with_comma[0]!r} a decimal point or "
            "does it group thousands? Write the numbers without it"
        )
    if decimal_commas or (with_comma and not thousands):
        grouped = [m[1] for m in matches.values() if m and _GROUPED.fullmatch(m[1])]
        if grouped:
            raise WellsError(
                f"{path}: column {name!r}: beside decimal commas, is the point in {grouped[0]!r} a "
                "decimal point or does it group thousands? Write the numbers without it"
            )
    return [_cell(text, matches[text], thousands) for text in unique]


def _cell(
    text: str, match: re.Match[str] | None, thousands: bool
) -> tuple[float, Unit | None, str]:
    if text.lower() in _NONE:
        return np.nan, None, ""
    bad = (np.nan, None, "concentration is not a number")
    try:
        return float(text), None, ""
    except ValueError:
        if match is None:
            return bad
    try:
        value = float(match[1].replace(",", "" if thousands else "."))
    except ValueError:
        return bad
    if not match[2]:
        return value, None, ""
    if unit := parse_unit(match[2]):
        return value, unit, ""
    if needs_mass(match[2]):
        return np.nan, None, f"{match[2]!r} needs the molar mass: give the dose in µM"
    if has_lost_letter(match[2]):
        return np.nan, None, f"unit {match[2]!r} has lost the letter before its M"
    return bad
