"""What counts as a hit: a table of molecules, at concentrations, with a column for each kind."""

import dataclasses
import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from molphenix_jax.errors import InputError
from molphenix_jax.screens.screen import Screen
from molphenix_jax.screens.split_lists import named_molecules
from molphenix_jax.tables.columns import short
from molphenix_jax.tables.text import read_text
from molphenix_jax.wells.doses.reading import read_doses

# Doses of the table and of the screen are one within a tenth of each other.
_SAME_DOSE_LOG10 = 0.05
_FIELD = "--hits"


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """Values of the p perturbations of a screen, a column for each of k kinds of hits.

    Attributes:
        names: Of the kinds.
        value: The mean over the rows of the table; NaN where it says nothing.
        at_least: From which value on a perturbation is a hit.
        notes: What was found, one sentence each.
    """

    names: tuple[str, ...]
    value: Float[np.ndarray, "p k"]
    at_least: float
    notes: tuple[str, ...]

    @property
    def known(self) -> Bool[np.ndarray, "p k"]:
        """Of which the table says anything."""
        return np.isfinite(self.value)

    @property
    def hit(self) -> Bool[np.ndarray, "p k"]:
        """Which are hits."""
        return self.known & (np.nan_to_num(self.value, nan=-np.inf) >= self.at_least)

    def of(self, kinds: Int[np.ndarray, " j"]) -> "Hits":
        """Some of the kinds."""
        names = tuple(self.names[k] for k in kinds)
        return dataclasses.replace(self, names=names, value=self.value[:, kinds])


def read_hits(path: pathlib.Path, screen: Screen, *, at_least: float, columns: str = "") -> Hits:
    """Reads the table of hits of a screen.

    Args:
        path: CSV or Parquet with a column that names molecules (`split_lists.named_molecules`); one
            of concentrations, without which a row speaks of every dose; and those of hits.
        screen: Whose perturbations these are.
        at_least: See `Hits`.
        columns: Regular expression over names of columns of hits; empty takes all that hold
            numbers. Each word in a matching column of words is a kind of hit by itself.

    Raises:
        InputError: The table cannot be read, has no such columns, or none of the molecules.
    """
    table = read_text(path)
    named, molecule = named_molecules(path, table, screen, field=_FIELD)
    doses = read_doses(str(path), pa.Table.from_pandas(table), needed=False)
    um = doses.um if doses.column else np.full(len(table), np.nan)
    used = {named, doses.column}
    chosen = _columns(path, [name for name in table.columns if name not in used], columns)
    values: dict[str, np.ndarray] = {}
    for name in chosen:
        cells = table[name].to_numpy(str)
        numbers = np.asarray(pd.to_numeric(pd.Series(cells), errors="coerce"), np.float64)
        if not np.isfinite(numbers[cells != ""]).all():
            if columns:  # words, of which only who asked for them wants to know
                for word in sorted(set(cells) - {""}):
                    values[word] = np.where(cells == "", np.nan, (cells == word) * at_least)
        elif np.isfinite(numbers).any():
            values[name] = numbers
    if not values:
        raise InputError(
            f"{_FIELD}={path}: no column of hits with numbers, among {short(chosen)}: give 0 "
            "and 1, or values with --at-least, or choose columns of words by --columns"
        )
    row, perturbation = _pairs(screen, molecule, um, every_dose=not doses.column)
    if not len(row):
        raise InputError(
            f"{_FIELD}={path}: no row is of a molecule at a concentration of the screen "
            f"{screen.name} (molecules by column {named!r}"
            + (f", concentrations by {doses.column!r})" if doses.column else ")")
        )
    columns_of = np.stack(list(values.values()), axis=1)
    total, count = (np.zeros((screen.n_perturbations, len(values))) for _ in range(2))
    known = np.isfinite(columns_of[row])
    np.add.at(total, perturbation, np.where(known, columns_of[row], 0.0))
    np.add.at(count, perturbation, known)
    value = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    notes = (
        f"{path.name}: {len(values):,} kinds of hits for {len(np.unique(perturbation)):,} of "
        f"{screen.n_perturbations:,} perturbations; molecules by column {named!r}, "
        + (f"concentrations by {doses.column!r} in {doses.unit}" if doses.column else "every dose"),
    )
    return Hits(tuple(values), value, at_least, notes)


def _columns(path: pathlib.Path, names: list[str], pattern: str) -> list[str]:
    if not pattern:
        return names
    try:
        found = [name for name in names if re.search(pattern, name)]
    except re.error as error:
        raise InputError(f"--columns={pattern}: no regular expression ({error})") from error
    if not found:
        raise InputError(f"--columns={pattern}: no column of {path} matches, among {short(names)}")
    return found


def _pairs(
    screen: Screen,
    molecule: Int[np.ndarray, " r"],
    um: Float[np.ndarray, " r"],
    *,
    every_dose: bool,
) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """Rows of the table with the perturbations that they speak of, under every condition."""
    of_molecule = pd.Series(np.arange(screen.n_perturbations)).groupby(screen.molecule).indices
    log_dose = np.log10(screen.concentration_um.astype(np.float64))
    rows, found = [], []
    for row, m in enumerate(molecule):
        ids = of_molecule.get(int(m), np.zeros(0, int))
        if not every_dose:
            if not um[row] > 0:
                continue
            gap = np.abs(log_dose[ids] - np.log10(um[row]))
            ids = ids[(gap <= _SAME_DOSE_LOG10) & (gap <= gap.min(initial=np.inf) + 1e-9)]
        rows += [row] * len(ids)
        found += ids.tolist()
    return np.array(rows, np.int64), np.array(found, np.int64)
