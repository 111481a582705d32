"""The condition of each well: gaps settled or rejected, and said."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from molphenix_jax.tables.columns import as_text
from molphenix_jax.tables.missing import MISSING
from molphenix_jax.wells.checked import CheckedRows, Treatments
from molphenix_jax.wells.conditions.columns import (
    AUTO,
    FOUND,
    hours_of,
    may_tell,
    one_level,
    why_not,
)
from molphenix_jax.wells.conditions.values import Conditions, level_order, listed_levels

_FEW = 24  # levels that a column of conditions may have


def read_conditions(
    rows: CheckedRows, wells: Treatments, fields: Sequence[str], wanted: str, notes: list[str]
) -> Conditions:
    """Finds the condition of each well, writes its number into `wells.condition`.

    Where a column varies among the treated wells, one that lacks it is rejected. A control that
    lacks it takes that of the treated wells of its plate, if they have one; else it is rejected.
    Where a column does not vary, gaps are no matter.

    Returns:
        The conditions of the kept wells.
    """
    if wanted == AUTO:
        _say_what_may_tell(rows, wells, notes)
    text, taken = [], []
    for field in fields:
        given = rows.text(field)
        level = hours_of(given, rows.found[field]) if field == "time_h" else given
        if wanted == AUTO and (why := why_not(field, level[rows.kept])):
            notes.append(
                f"conditions: column {rows.found[field]!r} {why}, so it is taken for no "
                f"{'time' if field == 'time_h' else 'cell line'}; name it with conditions=… if it "
                "tells wells apart that are no replicates"
            )
            continue
        text.append(_completed(rows, wells, field, one_level(level), notes))
        taken.append(field)
    if not taken:
        return Conditions()
    code, values = pd.factorize(pd.MultiIndex.from_arrays(text))
    order = sorted(range(len(values)), key=lambda c: [level_order(level) for level in values[c]])
    wells.condition[:] = np.argsort(order)[code]
    conditions = Conditions(tuple(taken), tuple(tuple(values[c]) for c in order))
    present, wells.condition[rows.kept] = conditions.kept(wells.condition[rows.kept])
    wells.condition[~rows.kept] = 0
    _say(rows, wells, present, notes)
    return present


def _say_what_may_tell(rows: CheckedRows, wells: Treatments, notes: list[str]) -> None:
    """Names columns that often tell experiments apart, where they do vary."""
    for name in rows.raw.table.column_names:
        if name in rows.found.values() or not may_tell(name):
            continue
        given = set(as_text(rows.raw.table.column(name))[rows.kept & ~wells.is_control].tolist())
        levels = sorted((v for v in given if v.casefold() not in MISSING), key=level_order)
        # Without a stimulus, or in wells where nobody noted the virus: a level too.
        if len(levels) < len(given) and levels:
            levels.append("none")
        if 1 < len(levels) <= _FEW:
            notes.append(
                f"conditions: column {name!r} ({', '.join(levels[:5])}) is not used: wells that "
                "differ in it count as replicates, or as parts of one well; name it with "
                "conditions=… if it tells experiments apart"
            )


def _completed(
    rows: CheckedRows, wells: Treatments, field: str, level: np.ndarray, notes: list[str]
) -> np.ndarray:
    """The levels of a column, those that are missing settled as `read_conditions` says."""
    treated = rows.kept & ~wells.is_control
    levels = {value for value in level[treated if treated.any() else rows.kept] if value}
    missing = (level == "") & rows.kept
    if not missing.any() or not levels:
        return level
    level = level.copy()
    if len(levels) == 1:
        (only,) = levels
        if field not in FOUND and (missing & treated).any():
            # What a user names beside time and cell line: no stimulus is a condition too.
            level[level == ""] = "none"
            notes.append(f"{field} is empty in {int(missing.sum())} wells: 'none', beside {only!r}")
            return level
        level[level == ""] = only
        notes.append(f"{field} is missing in {int(missing.sum())} wells: {only!r}, its only value")
        return level
    rows.reject(missing & treated, field, "", f"no {field}, which is a condition of this screen")
    of_plate: dict[str, set[str]] = {}
    for plate, value in zip(wells.plate[treated], level[treated], strict=True):
        of_plate.setdefault(plate, set()).add(value)
    lacking = np.flatnonzero(missing & wells.is_control)
    filled = 0
    for at in lacking:
        found = of_plate.get(wells.plate[at], set()) - {""} if wells.plate[at] else set()
        if len(found) == 1:
            (level[at],) = found
            filled += 1
    if filled:
        notes.append(
            f"{filled} controls have no {field}: they take that of the treated wells of their plate"
        )
    rows.reject(
        (level == "") & wells.is_control,
        field,
        "",
        f"a control without {field}, and the treated wells of its plate have none or several",
    )
    return level


def _say(rows: CheckedRows, wells: Treatments, found: Conditions, notes: list[str]) -> None:
    treated = rows.kept & ~wells.is_control
    n_treated = np.bincount(wells.condition[treated], minlength=len(found))
    n_controls = np.bincount(wells.condition[rows.kept & wells.is_control], minlength=len(found))
    fixed = [j for j, name in enumerate(found.columns) if name not in found.levels]
    constant = [f"{found.columns[j]} {found.values[0][j]}" for j in fixed]
    if len(found) == 1:
        notes.append(f"conditions: one, {', '.join(constant)}")
        return
    of = ", ".join(
        f"{name} ({listed_levels(name, levels)})" for name, levels in found.levels.items()
    )
    counts = "; ".join(
        f"{label}: {a:,} treated and {b:,} control wells"
        for label, a, b in zip(found.labels[:12], n_treated, n_controls, strict=False)
    )
    more = f"; {len(found) - 12} more" if len(found) > 12 else ""
    of += f"; {', '.join(constant)} throughout" if constant else ""
    notes.append(
        f"conditions: {len(found)}, told by {of}; wells of different conditions are no replicates "
        f"({counts}{more})"
    )
    without = [
        label
        for label, a, b in zip(found.labels, n_treated, n_controls, strict=True)
        if a and not b and n_controls.any()
    ]
    if without:
        notes.append(
            f"no control well is of {', '.join(without[:8])}: these wells are corrected by the "
            "controls of other conditions"
        )
