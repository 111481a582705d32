"""The wells table (docs/architecture.md): one row per physical sample, checked row by row.

A bad row never stops the job and is never dropped silently: it goes to `Wells.rejected` with its
row number and reason. Every default taken and every feature dropped is a sentence in `Wells.notes`.
"""

import dataclasses
import os
import pathlib
import types
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from molphenix_jax.phenomics import Rows, complete_features
from molphenix_jax.storage import temporary_folder
from molphenix_jax.tables.columns import WellsError, gene_wells, short
from molphenix_jax.tables.reading.spool import SpooledRows
from molphenix_jax.wells.checked import UNKNOWN, CheckedRows, Treatments
from molphenix_jax.wells.combinations import reject_combinations
from molphenix_jax.wells.conditions.columns import AUTO, condition_groups
from molphenix_jax.wells.conditions.reading import read_conditions
from molphenix_jax.wells.conditions.values import Conditions
from molphenix_jax.wells.controls.exclusions import reject_excluded
from molphenix_jax.wells.controls.reading import say_per_plate
from molphenix_jax.wells.doses.reading import Doses, read_doses
from molphenix_jax.wells.features.gaps import (
    WITHOUT_DIGITS,
    note_dropped,
    reject_empty,
    reject_gaps,
    varying,
    without_digits,
)
from molphenix_jax.wells.features.plan import FeaturePlan
from molphenix_jax.wells.granularity import (
    gather_wells,
    reject_summaries,
    row_codes,
    say_copies,
    settle_names,
)
from molphenix_jax.wells.inputs.source import RawWells, open_wells
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.set_aside import set_aside
from molphenix_jax.wells.treatments import (
    Checker,
    lost_rows,
    reject_concentrations,
    reject_lost,
    reject_smiles,
    treatments,
)

__all__ = ["Wells", "WellsError", "read_wells", "scan_wells"]

GROUP_CONTROLS = 8  # control wells that make a plate a correction group of its own
_TEXT = ("plate", "well", "batch", "group", "smiles", "name")
GROUP_COVERAGE = 0.9  # share of treated wells that must lie on such plates


@dataclasses.dataclass(frozen=True, eq=False)
class Wells:
    """The usable wells of one screen.

    Attributes:
        path: the files as given.
        table: one row per well: row (1-based data row in its file), plate, well, batch, smiles (as
            given), name ("" unless wells need no molecule), concentration_um (µM, 0 for controls),
            is_control, condition (its number in `conditions`), group (what it is corrected within).
        beside: what else the files say of these wells: file, compound, and the users' columns.
        embedding: features of these wells, all finite, [n, d]: an array, or rows on disk.
        feature_names: column of each feature; feature_0, feature_1, … for a list column.
        rejected: one row per bad row: file, row, field (the file's column), value, reason.
        group_by: what `group` is: plate or batch, each condition apart.
        conditions: of these wells.
        plan: how features are read from another file of the same columns.
        concentration: column, unit and how these were told, of the concentrations.
        roles: what each column of the files is taken for, in words.
        notes: every default taken and every feature dropped, one sentence each.
    """

    path: str
    table: pd.DataFrame
    beside: pa.Table
    embedding: Rows
    feature_names: tuple[str, ...]
    rejected: pd.DataFrame
    group_by: str
    conditions: Conditions
    plan: FeaturePlan
    concentration: Mapping[str, str]
    roles: Mapping[str, str]
    notes: tuple[str, ...]


def read_wells(
    path: str | os.PathLike[str] | Sources,
    *,
    columns: Mapping[str, str] = types.MappingProxyType({}),
    features: str = "",
    check_smiles: Checker | None,
    group_by: str = "auto",
    concentration_unit: str = "",
    feature_names: Sequence[str] = (),
    conditions: str = AUTO,
    controls: str = AUTO,
    named_by: str = "",
) -> Wells:
    """Reads a wells table into memory; arguments and errors are those of `scan_wells`."""
    with temporary_folder() as work:
        wells = scan_wells(
            Sources.of(path, columns),
            work,
            columns=columns,
            features=features,
            check_smiles=check_smiles,
            group_by=group_by,
            concentration_unit=concentration_unit,
            feature_names=feature_names,
            conditions=conditions,
            controls=controls,
            named_by=named_by,
        )
        text = {name: wells.table[name].astype("str") for name in _TEXT}
        return dataclasses.replace(
            wells,
            table=wells.table.assign(**text),
            embedding=wells.embedding[np.arange(len(wells.table))],
        )


def scan_wells(
    sources: Sources,
    work: pathlib.Path,
    *,
    columns: Mapping[str, str] = types.MappingProxyType({}),
    features: str = "",
    check_smiles: Checker | None,
    group_by: str = "auto",
    concentration_unit: str = "",
    feature_names: Sequence[str] = (),
    conditions: str = AUTO,
    controls: str = AUTO,
    named_by: str = "",
    beam_options: Sequence[str] = (),
) -> Wells:
    """Reads a wells table and checks every row; the embeddings stay on disk, in `work`.

    Columns are found by name, with or without `Metadata_`, in any case, and by the names that
    people use (`columns.ALIASES`). Rejected are: an unparsable SMILES, or none on a treated well;
    on a treated well a concentration that is missing, no number, infinite, negative or 0, or off
    the grid of the layout; NaN or infinite features; an unknown plate or batch where correction
    groups by it; no value of a column that tells conditions apart; a row that repeats another of
    the same well; all rows of a well with several treatments under one condition; a well with a
    second compound in a column of its own (`combinations`). Other rows of one well (cells, sites,
    images) are averaged, over gaps; plates and wells are compared however spelled (`names`).

    Features with gaps: a gap in up to 3 wells, or 1% of them, is the wells' fault and costs these
    wells. Where more wells are concerned, features are given up, most gaps first, as far as keeps
    most values: features x (wells - wells lost beyond those few) is largest. So 26 of 372 features
    that miss 9 to 42% of the wells go, but 5% of wells that lack every feature are rejected.
    Features that are constant over all wells are dropped.

    Controls far from the other controls of their group are rejected, and wells with values that no
    biology gives; features that explode are dropped (`phenomics.outliers`).

    Doses are in µM; their unit is that of the cell, the caller, a unit column or the column's name
    (`doses.read_doses`), and doses within 1% of each other are one.

    Defaults, each with a note: no concentration column, 10 µM; no unit of it, µM; no batch column,
    one batch "0"; no control column, wells of DMSO, or with neither SMILES nor dose; a plate or
    batch that is missing in some wells and that correction does not group by (or, with group_by
    auto, missing in over 10% of wells), "unknown".

    Args:
        sources: the files (see `source`).
        work: an empty folder; with Beam on several machines all of them see it.
        columns: our name (plate, well, batch, smiles, concentration_um, is_control, embedding,
            site) -> the file's.
        features: regular expression for feature columns; "" finds them (`features.find_features`).
        check_smiles: gives for each SMILES the reason why it is unusable, None if it is fine. With
            None in its place only empty SMILES are rejected.
        group_by: what correction groups by: plate, batch, or auto: plate where it is known for 90%
            of wells and 90% of treated ones lie on plates with 8 controls or more, else batch.
        concentration_unit: of doses beside which no unit stands, whatever their column says; ""
            asks the column.
        feature_names: exactly these features in this order, none dropped: for a screen that has to
            match another one.
        conditions: columns whose values part wells that are no replicates, by commas; auto finds
            time and cell line, none switches that off (see `wells.conditions`).
        controls: which wells are negative controls: auto, kinds such as dmso,untreated, or
            COLUMN=VALUE+VALUE (see `wells.controls`).
        named_by: for wells that need no molecule: auto or a column by whose names those without
            SMILES go (`wells.names`). Neither SMILES nor dose is asked for then, unknown doses are
            NaN, and wells of genes count. "": every treated well has a molecule.
        beam_options: pipeline options of Beam.

    Returns:
        The usable wells and the rejected rows. Text columns of the table are categories.

    Raises:
        WellsError: the file cannot be read, has no SMILES or feature column, or no usable treated
            well; the message says why and what to do.
        ValueError: an unknown `group_by`.
    """
    if group_by not in ("auto", "plate", "batch"):
        raise ValueError(f"group_by is auto, plate or batch, got {group_by!r}")
    raw = open_wells(
        sources,
        work,
        columns=columns,
        features=features,
        feature_names=feature_names,
        conditions=conditions,
        named_by=named_by,
        beam_options=beam_options,
    )
    notes = list(raw.notes)
    rows = CheckedRows(raw)
    reject_empty(rows)
    rows.reject(raw.without_embedding != "", "embedding", "", raw.without_embedding)
    if not raw.named and (n_genes := rows.leave_out(gene_wells(raw.table))):
        notes.append(f"{n_genes} rows left out: gene perturbations have no molecule")
    doses = read_doses(
        raw.path,
        raw.table,
        column=raw.given.get("concentration_um"),
        unit=concentration_unit,
        default_um=raw.layout.default_um,
        needed=not raw.named,
        decimal_commas=raw.decimal_commas,
    )
    if doses.column:
        rows.found = {**rows.found, "concentration_um": doses.column}
    reject_excluded(rows, notes)
    reject_combinations(rows)
    lost = lost_rows(rows, doses)
    wells = treatments(rows, doses, controls, notes)
    reject_lost(rows, wells, lost)
    reject_smiles(rows, wells, check_smiles)
    reject_concentrations(rows, wells, doses, notes)
    found = read_conditions(rows, wells, raw.conditions, conditions, notes)
    reject_summaries(rows, wells)
    settle_names(wells, notes)
    _distinguish_plates(wells, notes)
    labels = np.array(raw.plan.names, object)
    rows.reject(~raw.fits, raw.plan.columns[0], "", f"not a list of {len(labels)} numbers")
    row = gather_wells(rows, wells, work, notes)
    group_by = _groups(rows, wells, found, group_by, notes)
    used = np.arange(len(labels))
    if not feature_names:
        complete = complete_features(SpooledRows(raw.spool, row[rows.kept]))
        note_dropped(notes, labels, ~complete, "missing or infinite in too many wells")
        used = used[complete]
    reject_gaps(rows, row, used, labels)
    say_copies(rows, wells, row, notes)
    used = set_aside(rows, wells, row, used, labels, group_by, bool(feature_names), notes)

    kept = rows.kept
    if not (kept & ~wells.is_control).any():
        raise WellsError(rows.why_none())
    embedding = SpooledRows(raw.spool, row[kept], used)
    if not feature_names:
        used = _telling(raw, embedding, used, labels, notes)
        embedding = dataclasses.replace(embedding, columns=used)
    elif (blurred := without_digits(embedding)).any():
        names = short(labels[used[blurred]].tolist(), 5)
        notes.append(f"features {WITHOUT_DIGITS}, and needed by the training screen: {names}")
    labels = labels[embedding.columns]
    notes.append(f"{len(labels)} features: {raw.rule}")
    at = np.flatnonzero(kept)
    table = wells.table(kept, rows.numbers(at))
    say_per_plate(table, group_by, notes)
    return Wells(
        path=raw.path,
        table=table,
        beside=rows.described(at),
        embedding=embedding,
        feature_names=tuple(labels.tolist()),
        rejected=rows.rejected(),
        group_by=group_by,
        conditions=found,
        plan=raw.plan,
        concentration=doses.record(),
        roles=_roles(raw, doses, labels),
        notes=tuple(notes),
    )


def _roles(raw: RawWells, doses: Doses, labels: np.ndarray) -> dict[str, str]:
    """What each column is taken for, with the doses and without the features that were dropped."""
    roles, kept = dict(raw.roles), set(labels.tolist())
    if doses.column:
        roles[doses.column] = "concentration_um"
    if not raw.plan.width:
        dropped = "a feature that is dropped: see the notes"
        roles |= {name: dropped for name in raw.plan.names if name not in kept}
    return roles


def _telling(
    raw: RawWells,
    x: SpooledRows,
    used: Int[np.ndarray, " d"],
    labels: np.ndarray,
    notes: list[str],
) -> Int[np.ndarray, " k"]:
    """Of the features in use, those that differ between wells, in digits that are kept."""
    if x.shape[0] < 2:
        return used
    varies = varying(x)
    if not varies.any():
        raise WellsError(
            f"{raw.path}: all {len(used)} features ({raw.rule}) are constant in the seven digits "
            "that are read; choose others with features=..., or subtract a constant from them"
        )
    note_dropped(notes, labels[used], ~varies, "constant in the seven digits that are read")
    used = used[varies]
    blurred = without_digits(dataclasses.replace(x, columns=used))
    if blurred.all():
        raise WellsError(
            f"{raw.path}: all {len(used)} features ({raw.rule}) are {WITHOUT_DIGITS}; choose "
            "others with features=..., or subtract a constant from them"
        )
    note_dropped(notes, labels[used], blurred, f"{WITHOUT_DIGITS}: subtract a constant from them")
    return used[~blurred]


def _groups(
    rows: CheckedRows, wells: Treatments, conditions: Conditions, group_by: str, notes: list[str]
) -> str:
    """Settles what correction groups by, and rejects wells without that label."""
    if group_by == "plate" and "plate" not in rows.found:
        raise WellsError(
            f"{rows.path}: group_by is plate, but there is no plate column; "
            "name it with columns={'plate': ...}"
        )
    chosen = group_by
    if group_by == "auto":
        code = row_codes(wells.plate, wells.condition)
        n_controls = np.bincount(code[rows.kept & wells.is_control], minlength=len(code))
        treated = rows.kept & ~wells.is_control & (wells.plate != "")
        covered = (n_controls >= GROUP_CONTROLS)[code[treated]].sum() / max(1, treated.sum())
        known = (wells.plate[rows.kept] != "").sum() / max(1, rows.kept.sum())
        chosen = "plate" if min(covered, known) >= GROUP_COVERAGE else "batch"
        notes.append(
            f"correction groups by {chosen}: the plate of {known:.0%} of wells is known, "
            f"{covered:.0%} of these lie on plates with {GROUP_CONTROLS} controls or more"
        )
    missing = (wells.plate if chosen == "plate" else wells.batch) == ""
    if group_by != "auto" or missing[rows.kept].sum() <= (1 - GROUP_COVERAGE) * rows.kept.sum():
        rows.reject(missing, chosen, "", f"unknown {chosen}, which correction groups by")
    for field, label in (("plate", wells.plate), ("batch", wells.batch)):
        absent = int((rows.kept & (label == "")).sum())
        if absent and field in rows.found:
            notes.append(f"{field} is missing in {absent} wells: {UNKNOWN!r} there")
    label = wells.plate if chosen == "plate" else wells.batch
    label = np.where(label == "", UNKNOWN, label)
    wells.group = label.copy()
    wells.group[rows.kept] = condition_groups(
        conditions, wells.condition[rows.kept], label[rows.kept]
    )
    if n_apart := len({*wells.group[rows.kept]} - {*label[rows.kept]}):
        notes.append(
            f"several conditions share a {chosen}: each is corrected by its own controls, in "
            f"{n_apart} groups <condition>/<{chosen}>"
        )
    return chosen


def _distinguish_plates(wells: Treatments, notes: list[str]) -> None:
    """Makes plates of different batches different, where one label is used in several."""
    known = (wells.plate != "") & (wells.batch != "")
    place = row_codes(wells.plate, wells.well)[known]
    with_batch = np.unique(np.stack([place, row_codes(wells.batch)[known]]), axis=1)
    if with_batch.shape[1] > len(np.unique(place)):
        wells.plate[known] = wells.batch[known] + "/" + wells.plate[known]
        notes.append("plate labels recur in several batches: a plate is named <batch>/<plate>")
