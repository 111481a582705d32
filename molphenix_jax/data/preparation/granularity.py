"""What a row is: a well, or a part of one whose rows are averaged."""

import pathlib

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.data.preparation.checked import CheckedRows, Treatments
from molphenix_jax.data.preparation.matching import average_rows


def row_codes(*columns: np.ndarray) -> np.ndarray:
    """One integer per row, equal where all columns are."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        inner, unique = pd.factorize(column)
        code = pd.factorize(code * len(unique) + inner)[0]
    return code


def reject_duplicates(rows: CheckedRows, wells: Treatments) -> None:
    """Rejects a second row for the same site of a well."""
    known = np.flatnonzero(rows.kept & (wells.plate != "") & (wells.well != ""))
    place = row_codes(wells.batch, wells.plate, wells.well, wells.site, wells.condition)[known]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    origin = np.arange(len(rows.kept))
    origin[known] = known[first][group]
    again = np.flatnonzero(origin != np.arange(len(origin)))
    if not len(again):
        return
    values, reasons = (np.full(len(origin), "", object) for _ in range(2))
    values[again] = wells.plate[again] + " " + wells.well[again]
    numbers = rows.numbers(origin[again])
    reasons[again] = [f"same well as row {number}" for number in numbers]
    rows.reject(reasons != "", "well", values, reasons)


def average_sites(
    rows: CheckedRows, wells: Treatments, work: pathlib.Path, notes: list[str]
) -> Int[np.ndarray, "n"]:
    """Averages the sites of a well into its first row, and leaves out the others.

    Returns:
        The row in the spool of each well.
    """
    known = np.flatnonzero(rows.kept & (wells.plate != "") & (wells.well != ""))
    place = row_codes(wells.batch, wells.plate, wells.well, wells.condition)[known]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    row = rows.raw.row.copy()
    if len(first) == len(known):
        return row
    several = np.bincount(group)[group] > 1
    row[known] = average_rows(
        rows.raw.spool, row[known], np.where(several, group, -1), work / "sites.f32"
    )
    others = np.ones(len(known), bool)
    others[first] = False
    rows.leave_out(np.isin(np.arange(len(row)), known[others]))
    notes.append(f"{len(known)} sites were averaged to {len(first)} wells")
    return row
