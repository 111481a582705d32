"""What a row is: a well, or a part of one (a cell, a site, an image), whose rows are averaged.

Of several rows for one well none wins: equal ones are repeats, different ones are averaged, and
contradictory treatments are rejected together.
"""

import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Int

from molphenix_jax.tables.columns import WellsError, as_text, short
from molphenix_jax.tables.matching import average_rows
from molphenix_jax.tables.names import (
    names_well,
    numbers_frames,
    one_spelling,
    parts_profiles,
    plate_key,
    well_key,
)
from molphenix_jax.tables.reading.spool import Spool
from molphenix_jax.tables.rows import chunk_rows
from molphenix_jax.wells.checked import CheckedRows, Treatments

_NAMED_SO = 0.9  # share of the rows
_TELLING = 6  # different numbers in a row of which it is no chance that two wells have it


def row_codes(*columns: np.ndarray) -> np.ndarray:
    """One integer per row, equal where all columns are."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        inner, unique = pd.factorize(column, use_na_sentinel=False)
        code = pd.factorize(code * len(unique) + inner)[0]
    return code


def settle_names(wells: Treatments, notes: list[str]) -> None:
    """Gives each plate and well one spelling: A1 and A01 are one well, plates 7 and 007 are one.

    Plates whose spellings hold the same wells are different plates.
    """
    wells.well, others = one_spelling(wells.well, well_key)
    if others:
        notes.append(f"wells are spelled in several ways and taken as one: {short(others, 5)}")
    plate, others = one_spelling(wells.plate, plate_key)
    if not others:
        return
    known = (plate != "") & (wells.well != "")
    one = row_codes(wells.batch, plate, wells.well, wells.condition)[known]
    each = row_codes(wells.batch, wells.plate, wells.well, wells.condition)[known]
    if len(np.unique(one)) == len(np.unique(each)):
        wells.plate = plate
        notes.append(f"plates are spelled in several ways and taken as one: {short(others, 5)}")
    else:
        notes.append(
            f"plates are spelled nearly alike ({short(others, 5)}), but hold the same wells: they "
            "are taken as different plates"
        )


def reject_summaries(rows: CheckedRows, wells: Treatments) -> None:
    """Rejects rows whose well is none ("Mean", "Total") where nearly all others are called A01."""
    code, unique = pd.factorize(wells.well)
    is_name = np.array([names_well(text) for text in unique], bool)[code]
    known = rows.kept & (wells.well != "")
    other = known & ~is_name
    if other.any() and is_name[known].mean() >= _NAMED_SO:
        reason = "no well where the others are named as A01: a row of means or totals?"
        rows.reject(other, "well", wells.well, reason)


def gather_wells(
    rows: CheckedRows, wells: Treatments, work: pathlib.Path, notes: list[str]
) -> Int[np.ndarray, "n"]:
    """Averages the rows of each well into its first, and leaves out the others.

    Rejects rows of a well that contradict each other in treatment, and rows that repeat another
    value by value.

    Returns:
        The row in the spool of each well.

    Raises:
        WellsError: rows are parts of wells, and no column says of which.
    """
    row = rows.raw.row.copy()
    _refuse_unknown(rows, wells)
    known = np.flatnonzero(rows.kept & (wells.plate != "") & (wells.well != ""))
    place = row_codes(wells.batch[known], wells.plate[known], wells.well[known])
    place = row_codes(place, wells.condition[known])
    _reject_strays(rows, wells, known, place)
    if not len(known) or len(np.unique(place)) == len(place):
        return row
    _reject_contradictions(rows, wells, known, place)
    known, place = _still(rows, known, place)
    _refuse_parts_of_profiles(rows, known, place)
    if not rows.raw.parts:
        _reject_repeats(rows, wells, known, place)
        known, place = _still(rows, known, place)
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    if len(first) == len(known):
        return row
    several = np.bincount(group)[group] > 1
    averaged = np.where(several, group, -1)
    row[known], skipped = average_rows(rows.raw.spool, row[known], averaged, work / "wells.f32")
    others = np.ones(len(known), bool)
    others[first] = False
    rows.leave_out(_mask(len(row), known[others]))
    notes.append(
        f"{len(known):,} {_word(rows)} were averaged to {len(first):,} wells"
        + (f", over the {skipped:,} values that are missing or infinite" if skipped else "")
    )
    return row


def _word(rows: CheckedRows) -> str:
    """What rows are called."""
    if any("image" not in name.lower() for name in rows.raw.parts):
        return "cells"
    return "sites" if "site" in rows.found or rows.raw.parts else "rows"


def _mask(n: int, at: np.ndarray) -> Bool[np.ndarray, "n"]:
    mask = np.zeros(n, bool)
    mask[at] = True
    return mask


def _still(rows: CheckedRows, known: np.ndarray, place: np.ndarray) -> tuple:
    kept = rows.kept[known]
    return known[kept], place[kept]


def _refuse_unknown(rows: CheckedRows, wells: Treatments) -> None:
    """Stops where rows are cells or sites of wells that cannot be told apart."""
    missing = [field for field in ("plate", "well") if field not in rows.found]
    if not missing:
        return
    column = next(iter(rows.raw.parts), None)
    if column is None and "site" in rows.found and "well" in rows.found:
        kept = rows.kept & (wells.well != "")
        of_well = row_codes(wells.batch, wells.well, wells.condition)[kept]
        if len(np.unique(of_well)) < len(of_well) and len(np.unique(wells.site[kept])) > 1:
            column = rows.found["site"]
    if column:
        raise WellsError(
            f"{rows.path}: rows are parts of wells (column {column!r}), but there is no column for "
            f"{' and '.join(missing)} that says of which: name it with columns={{{missing[0]!r}: "
            "...}, or average to wells first"
        )


def _refuse_parts_of_profiles(rows: CheckedRows, known: np.ndarray, place: np.ndarray) -> None:
    """Stops where rows of a well are no samples of it: channels, statistics, frames of a film."""
    for name, column in _columns(rows, lambda name: parts_profiles(name) or numbers_frames(name)):
        text = as_text(column)[known]
        if len(np.unique(row_codes(place, text))) == len(np.unique(place)):
            continue
        told = f"column {name!r}: {short(sorted(set(text.tolist())), 4)}"
        if numbers_frames(name):
            raise WellsError(
                f"{rows.path}: the rows of a well are of several times ({told}): keep the rows of "
                f"one, or part wells by it (conditions={name})"
            )
        raise WellsError(
            f"{rows.path}: the rows of a well are parts of its profile ({told}), which are not to "
            "be averaged: write them side by side, one row for each well, or keep one"
        )


def _columns(
    rows: CheckedRows, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for table in (rows.raw.table, rows.raw.beside):
        yield from ((name, table.column(name)) for name in table.column_names if wanted(name))


def _reject_strays(
    rows: CheckedRows, wells: Treatments, known: np.ndarray, place: np.ndarray
) -> None:
    """Rejects parts of wells that do not say of which: alone they would count as wells."""
    column = next(iter(rows.raw.parts), None)
    if column is None and "site" in rows.found and len(known):
        of_site = row_codes(place, wells.site[known])
        if len(np.unique(of_site)) > len(np.unique(place)):
            column = rows.found["site"]
    if column is None:
        return
    for field, text in (("plate", wells.plate), ("well", wells.well)):
        reason = f"a part of a well (column {column!r} tells parts), and its {field} is not named"
        rows.reject(text == "", field, "", reason)


def _reject_contradictions(
    rows: CheckedRows, wells: Treatments, known: np.ndarray, place: np.ndarray
) -> None:
    """Rejects all rows of a well that was treated in several ways."""
    control = wells.is_control[known]
    smiles, name = (np.where(control, "", text[known]) for text in (wells.smiles, wells.name))
    treatment = row_codes(smiles, name, wells.concentration_um[known], control)
    of_pairs = np.unique(np.stack([place, treatment]), axis=1)[0]
    twice = np.flatnonzero(np.bincount(of_pairs) > 1)
    if not len(twice):
        return
    bad = np.flatnonzero(np.isin(place, twice))
    values, reasons = (np.full(len(rows.kept), "", object) for _ in range(2))
    for at in pd.Series(bad).groupby(place[bad]).indices.values():
        own = bad[at]
        other = own[int((treatment[own] != treatment[own[0]]).argmax())]
        two = known[[own[0], other]]
        said = [
            f"{_treatment(wells, i)} in row {number}"
            for i, number in zip(two, rows.numbers(two), strict=True)
        ]
        reasons[known[own]] = f"one well, two treatments: {said[0]}, {said[1]}"
    at = known[bad]
    values[at] = wells.plate[at] + " " + wells.well[at]
    rows.reject(_mask(len(rows.kept), at), "well", values, reasons)


def _treatment(wells: Treatments, i: int) -> str:
    if wells.is_control[i]:
        return "control"
    what = " ".join(filter(None, (wells.name[i], wells.smiles[i])))
    return f"{what} at {wells.concentration_um[i]:g} µM"


def _reject_repeats(
    rows: CheckedRows, wells: Treatments, known: np.ndarray, place: np.ndarray
) -> None:
    """Rejects rows that hold the same values as another row of the same site of a well."""
    several = np.flatnonzero(np.bincount(place)[place] > 1)
    if not len(several):
        return
    at = known[several]
    values_code = _fingerprints(rows.raw.spool, rows.raw.row[at])
    same = row_codes(place[several], wells.site[at], values_code)
    _, first, group = np.unique(same, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[group] != np.arange(len(group)))
    if not len(again):
        return
    origin = rows.numbers(at[first[group[again]]])
    values, reasons = (np.full(len(rows.kept), "", object) for _ in range(2))
    values[at[again]] = wells.plate[at[again]] + " " + wells.well[at[again]]
    reasons[at[again]] = [f"same well and values as row {number}" for number in origin]
    rows.reject(reasons != "", "well", values, reasons)


def say_copies(rows: CheckedRows, wells: Treatments, row: np.ndarray, notes: list[str]) -> None:
    """Says which wells hold the very values of another well of their condition."""
    kept = np.flatnonzero(rows.kept)
    code = row_codes(wells.condition[kept], _fingerprints(rows.raw.spool, row[kept]))
    first = pd.Series(np.arange(len(kept))).groupby(code).transform("first").to_numpy()
    again = np.flatnonzero(first != np.arange(len(kept)))
    step = chunk_rows(rows.raw.spool.width)
    told = np.zeros(len(again), bool)
    for start in range(0, len(again), step):
        values = np.sort(rows.raw.spool[row[kept[again[start : start + step]]]], axis=1)
        # Few different numbers (an empty well, a handful of counts) recur by chance.
        told[start : start + step] = (np.diff(values, axis=1) != 0).sum(axis=1) + 1 >= _TELLING
    if not told.any():
        return
    place = wells.plate + " " + wells.well
    one = again[told][0]
    copy, original = place[kept[one]], place[kept[first[one]]]
    notes.append(
        f"{told.sum():,} wells hold the very values of another well ({copy} first: those of "
        f"{original}): copies are no replicates and make p-values small; leave them out of the file"
    )


def _fingerprints(spool: Spool, ids: np.ndarray) -> np.ndarray:
    """A number for the bits of each row: equal rows have equal ones."""
    weight = np.random.default_rng(0).integers(1, 2**63, spool.width, np.uint64) * 2 + 1
    step, out = chunk_rows(spool.width), np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), step):
        bits = spool[ids[start : start + step]].view(np.uint32).astype(np.uint64)
        out[start : start + step] = ((bits + np.uint64(1)) * weight).sum(axis=1, dtype=np.uint64)
    return out
