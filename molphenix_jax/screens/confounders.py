"""What a screen says of its wells that could be mistaken for a mechanism: cells, sources.

A profile that looks for its molecule may find it by how many cells are left, or by the campaign
that measured it. Both stand in the wells of a screen under names of the user's; here they are
found, for the controls and the subsets of the evaluation. Screens of before format 7 know neither.
"""

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from molphenix_jax.screens.screen import Screen, replicate_rows
from molphenix_jax.tables.columns import as_number, is_list, normal
from molphenix_jax.tables.numbering import words_of
from molphenix_jax.wells.description import counts_cells

# Of `Archived.wells`: the median count of the negative controls that a well is corrected with.
CONTROL_CELLS = "control_cells"
_SOURCES = ("source", "campaign", "dataset", "batch")
# Columns that name the mechanism of a molecule, first the plainest; and what says that none is.
_MECHANISMS = ("moa", "mechanism", "mechanismofaction", "pertmoa", "moaclass", "mechanismclass")
_MECHANISMS += ("compoundclass", "drugclass", "class", "targetclass", "target", "targets")
_NO_MECHANISM = (
    "",
    "nan",
    "none",
    "na",
    "unknown",
    "other",
    "misc",
    "miscellaneous",
    "unspecified",
)
# More would be hardly searched within, and hardly recognised.
_MOST_SOURCES = 256
_RELATIVE = re.compile(r"(^|_)(rel|relative|norm|normali[sz]ed|pct|percent|fraction)(_|$)")


@dataclasses.dataclass(frozen=True)
class Confounders:
    """Of the n replicate wells of a screen.

    Attributes:
        offsets: As of the screen.
        cells: Number of cells, in whatever unit; NaN where unknown, None without such a column.
        share: The same as a share of the negative controls'; None where that cannot be told.
        source: Number of the source of each well; None where there is one.
        sources: Names of the sources.
        told: Of what these were taken, one sentence each.
    """

    offsets: Int[np.ndarray, " bounds"]
    cells: Float[np.ndarray, " n"] | None
    share: Float[np.ndarray, " n"] | None
    source: Int[np.ndarray, " n"] | None
    sources: tuple[str, ...]
    told: tuple[str, ...]

    def mean_cells(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " k"] | None:
        """Mean number of cells in the wells of perturbations; see `Screen.profiles`."""
        return None if self.cells is None else self._mean(self.cells, ids, wells)

    def mean_share(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " k"] | None:
        """The same as a share of the negative controls'."""
        return None if self.share is None else self._mean(self.share, ids, wells)

    def sources_of(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "k s"] | None:
        """Share of the wells of perturbations in each source."""
        if self.source is None:
            return None
        rows, of_id = self._rows(ids, wells)
        count = np.zeros((len(ids), len(self.sources)))
        np.add.at(count, (of_id, self.source[rows]), 1.0)
        return count / np.maximum(count.sum(axis=1, keepdims=True), 1.0)

    def source_labels(self, ids: Int[np.ndarray, " k"]) -> np.ndarray | None:
        """The sources that the wells of each perturbation lie in, together as one text."""
        shares = self.sources_of(ids)
        if shares is None:
            return None
        patterns, which = np.unique(shares > 0, axis=0, return_inverse=True)
        names = np.array(self.sources, object)
        return np.array(["; ".join(names[row]) for row in patterns])[which.reshape(-1)]

    def _mean(self, values, ids, wells) -> Float[np.ndarray, " k"]:
        rows, of_id = self._rows(ids, wells)
        known = np.isfinite(values[rows])
        total = np.bincount(of_id[known], values[rows][known], minlength=len(ids))
        count = np.bincount(of_id[known], minlength=len(ids))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _rows(self, ids, wells) -> tuple[np.ndarray, np.ndarray]:
        rows, of_id = replicate_rows(self.offsets, ids)
        return (rows, of_id) if wells is None else (rows[wells[rows]], of_id[wells[rows]])


def confounders_of(screen: Screen) -> Confounders:
    """Finds the numbers of cells and the sources among what the files say of the wells.

    Raises:
        ScreenError: The wells of the screen cannot be read.
    """
    wells = screen.archive.wells
    names = [str(name) for name in wells.columns]
    cells, share, told = None, None, []
    if column := cell_column(names):
        cells = _numbers(wells, column)
        told.append(f"cells are counted by the column {column}")
        share, against = _share(wells, column, cells)
        told.append(f"{column}, as a share, is {against}")
    source, sources = _sources(wells)
    if source is not None:
        told.append(f"{len(sources)} sources: {', '.join(sources[:5])}")
    return Confounders(screen.offsets, cells, share, source, sources, tuple(told))


def mechanisms_of(screen: Screen) -> tuple[str, np.ndarray | None]:
    """The column of the wells that names mechanisms, and the name for each perturbation.

    Returns:
        The name of most wells of a perturbation, "" where none or as many have another one; None
        without such a column, or where all of its names are one or as many as there are molecules.
    """
    wells = screen.archive.wells
    by_name = {normal(str(name)): name for name in reversed(wells.columns)}
    column = next((by_name[name] for name in _MECHANISMS if name in by_name), None)
    if column is None:
        return "", None
    text = wells[column].astype(object).where(wells[column].notna(), "").astype(str).str.strip()
    text = text.where(~text.str.lower().isin(_NO_MECHANISM), "")
    code, names = pd.factorize(text.to_numpy(object), sort=True)
    count = np.zeros((screen.n_perturbations, len(names)), np.int64)
    rows, of_id = replicate_rows(screen.offsets, np.arange(screen.n_perturbations))
    np.add.at(count, (of_id, code[rows]), 1)
    best = np.sort(count, axis=1)
    label = names.astype(str)[count.argmax(axis=1)]
    if len(names) > 1:
        label = np.where(best[:, -1] > best[:, -2], label, "")
    told = len(np.unique(label[label != ""]))
    return str(column), label if 1 < told < len(screen.molecules) else None


def cell_column(names: list[str]) -> str:
    """The column that counts the cells of a well, relative ones first; "" for none."""
    found = [name for name in names if name != CONTROL_CELLS and counts_cells(name)]
    # Cells before their parts, numbers relative to controls before bare ones, the file's order.
    found.sort(key=lambda name: ("cell" not in words_of(name), not _is_relative(name)))
    return found[0] if found else ""


def control_cells(wells: Any, rows: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"] | None:
    """Median number of cells of the negative controls of the correction group of some wells.

    Args:
        wells: `Wells`, controls among them.
        rows: Which are asked for.

    Returns:
        NaN where a group has no control with a number; None where no column counts cells.
    """
    column = cell_column(wells.beside.column_names)
    if not column:
        return None
    is_control = wells.table["is_control"].to_numpy(bool)
    group = wells.table["group"].astype(str).to_numpy(object)
    cells = pd.DataFrame({"group": group, "cells": as_number(wells.beside.column(column))})
    median = cells[is_control].groupby("group")["cells"].median()
    return median.reindex(group[rows]).to_numpy(np.float64)


def relative_share(
    column: str, cells: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], str]:
    """Numbers of cells without controls beside them as shares, and of what these are.

    Args:
        column: Name of what counts them; one that says relative is taken by its word.
        cells: Numbers, some of them finite.
    """
    middle = float(np.nanmedian(cells))
    if _is_relative(column):
        return cells / (100 if middle > 5 else 1), "relative by its name" + " (in %)" * (middle > 5)
    return cells / middle if middle > 0 else np.full(len(cells), np.nan), "of the median one"


def _is_relative(name: str) -> bool:
    return bool(_RELATIVE.search(words_of(name)))


def _share(
    wells: pd.DataFrame, column: str, cells: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"] | None, str]:
    if not np.isfinite(cells).any():
        return None, "unknown, for no well has a number"
    if CONTROL_CELLS in wells.columns:
        control = _numbers(wells, CONTROL_CELLS)
        if np.isfinite(control).any() and np.nanmin(control) > 0:
            return cells / control, "of the median control of the same group"
    if _is_relative(column):
        return relative_share(column, cells)
    # Most treatments leave the cells alone, so the median one stands in for controls.
    grouped = pd.DataFrame({"group": wells["group"].astype(str).to_numpy(object), "cells": cells})
    median = grouped.groupby("group")["cells"].transform("median").to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = cells / median
    return np.where(np.isfinite(share), share, np.nan), "of the median treated well of its group"


def _sources(wells: pd.DataFrame) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...]]:
    """Every combination of the columns that tell a source or batch and vary."""
    by_name = {normal(str(name)): name for name in reversed(wells.columns)}
    columns = [by_name[name] for name in _SOURCES if name in by_name]
    texts = [wells[name].astype(str).tolist() for name in columns]
    texts = [values for values in texts if len(set(values)) > 1]
    for together in (texts, texts[:1]) if texts else ():
        label = np.array([" / ".join(row) for row in zip(*together, strict=True)], object)
        code, names = pd.factorize(label, sort=True)
        if 2 <= len(names) <= _MOST_SOURCES:
            return code.astype(np.int64), tuple(map(str, names))
    return None, ()


def _numbers(wells: pd.DataFrame, column: str) -> Float[np.ndarray, " n"]:
    values = pa.Table.from_pandas(wells[[column]], preserve_index=False).column(column)
    if is_list(values.type):
        return np.full(len(wells), np.nan)
    return as_number(values).astype(np.float64)
