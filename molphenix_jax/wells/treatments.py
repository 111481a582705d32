"""What was done to each row: molecule or name, dose; rejected where it has to be known and is not.

Wells that are to be looked up rather than learned from (`RawWells.named`) need neither: what is
known of their molecule and dose is kept, and they may be of anything.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from molphenix_jax.tables.names import refuse_shortened
from molphenix_jax.wells.checked import UNKNOWN, CheckedRows, Treatments
from molphenix_jax.wells.controls.reading import find_controls
from molphenix_jax.wells.doses.grid import one_grid
from molphenix_jax.wells.doses.reading import Doses
from molphenix_jax.wells.granularity import row_codes
from molphenix_jax.wells.inputs.source import Unjoined

Checker = Callable[[Sequence[str]], Sequence[str | None]]
_TEXT = ("plate", "well", "batch", "site", "smiles", "name")


def treatments(rows: CheckedRows, doses: Doses, controls: str, notes: list[str]) -> Treatments:
    """What was done to each well, defaults filled in; still with the rows that later fail."""
    named = [rows.found[field] for field in ("plate", "batch") if field in rows.found]
    refuse_shortened(rows.path, rows.raw.table, named)
    text = {field: rows.text(field) for field in _TEXT}
    for field, default in (("plate", UNKNOWN), ("well", UNKNOWN), ("batch", "0")):
        if field not in rows.found:
            notes.append(f"no {field} column: {field} is {default!r} for every well")
    if "batch" not in rows.found:
        text["batch"][:] = "0"
    if doses.column or not rows.raw.named:
        notes += doses.notes
    is_control = find_controls(rows, text["smiles"], doses, controls, notes)
    default = np.nan if rows.raw.named else rows.raw.layout.default_um
    dose = doses.um if doses.column else np.full(len(rows.kept), default)
    return Treatments(
        **text,
        concentration_um=np.where(is_control, 0.0, dose),
        is_control=is_control,
        condition=np.zeros(len(dose), np.int64),
        group=text["plate"],
    )


def lost_rows(rows: CheckedRows, doses: Doses) -> list[tuple[Unjoined, np.ndarray]]:
    """Rows that lack SMILES or dose since a joined table has no row for them, join by join.

    Their doses get that reason, so that nobody takes them for untreated wells.
    """
    if rows.raw.named:
        return []
    lost, smiles = [], rows.text("smiles")
    for join in rows.raw.unjoined:
        at = np.zeros(len(join.rows), bool)
        if rows.found["smiles"] in join.brought:
            at |= smiles[join.rows] == ""
        if doses.column in join.brought:
            at |= np.isnan(doses.um[join.rows])
        doses.reason[join.rows[at]] = join.reason[at]
        lost.append((join, np.flatnonzero(at)))
    return lost


def reject_lost(
    rows: CheckedRows, wells: Treatments, lost: Sequence[tuple[Unjoined, np.ndarray]]
) -> None:
    """Rejects the treated wells among `lost_rows`."""
    for join, at in lost:
        mask = np.zeros(len(rows.kept), bool)
        mask[join.rows[at]] = True
        value, reason = (np.full(len(mask), "", object) for _ in range(2))
        value[join.rows], reason[join.rows] = join.value, join.reason
        rows.reject(mask & ~wells.is_control, join.column, value, reason)


def reject_smiles(rows: CheckedRows, wells: Treatments, check_smiles: Checker | None) -> None:
    """Rejects treated wells without a SMILES that can be used; none where they need no molecule."""
    if rows.raw.named:
        return
    treated = ~wells.is_control
    rows.reject(treated & (wells.smiles == ""), "smiles", "", "no SMILES on a treated well")
    if check_smiles is None:
        return
    codes, unique = pd.factorize(np.where(treated & rows.kept, wells.smiles, ""))
    reasons = dict.fromkeys(unique)
    asked = [smiles for smiles in unique.tolist() if smiles]
    reasons.update(zip(asked, check_smiles(asked), strict=True))
    reason = np.array([reasons[smiles] or "" for smiles in unique], object)[codes]
    rows.reject(reason != "", "smiles", wells.smiles, reason)


def reject_concentrations(
    rows: CheckedRows, wells: Treatments, doses: Doses, notes: list[str]
) -> None:
    """Rejects treated wells whose dose is none, and brings the others to one grid.

    A dose that is not told, or 0, is unknown (NaN) where wells need none.
    """
    field, given = "concentration_um", doses.given
    treated, dose = ~wells.is_control, wells.concentration_um
    if rows.raw.named:
        dose[treated & (dose == 0)] = np.nan
    rows.reject(treated & (doses.reason != ""), field, given, doses.reason)
    rows.reject(treated & np.isinf(dose), field, given, "concentration is infinite")
    rows.reject(treated & (dose < 0), field, given, "concentration is negative")
    if not rows.raw.named:
        rows.reject(treated & np.isnan(dose), field, given, "no concentration")
        rows.reject(treated & (dose == 0), field, given, "concentration is 0 on a treated well")
    known = treated & ~np.isnan(dose)
    moved, off = rows.raw.layout.on_grid(dose)
    rows.reject(known & off, field, given, "concentration is not one of this screen's doses")
    if n_moved := int((known & rows.kept & (moved != dose)).sum()):
        notes.append(f"{n_moved} wells were moved to the nearest of the screen's doses")
    dose[known] = moved[known]
    usable = known & rows.kept
    dose[usable], more = one_grid(dose[usable], row_codes(wells.smiles[usable], wells.name[usable]))
    notes += more
