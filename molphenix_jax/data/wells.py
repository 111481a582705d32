"""The wells table: one row per physical sample, checked row by row (DESIGN, "Wells table").

A bad row never stops the job and is never dropped silently: it goes to `Wells.rejected` with its
row number and reason. Every default taken and every feature dropped is a sentence in `Wells.notes`.
"""

import dataclasses
import os
import types
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from molphenix_jax.data import layouts
from molphenix_jax.data.layouts import WellsError
from molphenix_jax.phenomics import aggregate, complete_features

__all__ = ["Wells", "WellsError", "read_wells"]

DEFAULT_CONCENTRATION_UM = 10.0  # the customary dose of a one-dose screen
UNKNOWN = "unknown"
GROUP_CONTROLS = 8  # control wells that make a plate a correction group of its own
GROUP_COVERAGE = 0.9  # share of treated wells that must lie on such plates

_DMSO = frozenset(
    ("CS(=O)C", "CS(C)=O", "O=S(C)C", "C[S+](C)[O-]", "C[S+]([O-])C", "[O-][S+](C)C", "DMSO")
)
_CONTROL = frozenset(
    ("true", "t", "1", "yes", "y", "control", "negcon", "negative_control", "dmso", "vehicle")
    + ("empty_control", "ctl_vehicle")
)
_TREATED = frozenset(
    ("false", "f", "0", "no", "n", "", "trt", "trt_cp", "treated", "treatment", "compound")
    + ("poscon", "positive_control")
)
# Columns that tell controls where there is no is_control, best first, with the values that mean it.
# JUMP calls positive controls `control` in pert_type too: control_type is the finer of the two.
_CONTROL_COLUMNS = (
    ("controltype", ("negcon", "negative_control")),
    ("perttype", ("control", "negcon", "ctl_vehicle")),
    ("treatment", ("empty_control", "dmso")),
    ("pertiname", ("dmso",)),
    ("broadsample", ("dmso",)),
    ("compoundname", ("dmso",)),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Wells:
    """The usable wells of one file.

    Attributes:
        path: the file as given.
        table: one row per well: row (1-based data row in the file), plate, well, batch, smiles (as
            given), concentration_um (µM, 0 for controls), is_control.
        embedding: features of these wells, all finite, [n, d].
        feature_names: column of each feature; feature_0, feature_1, … for a list column.
        rejected: one row per bad row: file, row, field (the file's column), value, reason.
        group_by: the column of `table` that names the correction batch, plate or batch.
        notes: every default taken and every feature dropped, one sentence each.
    """

    path: str
    table: pd.DataFrame
    embedding: Float[np.ndarray, "n d"]
    feature_names: tuple[str, ...]
    rejected: pd.DataFrame
    group_by: str
    notes: tuple[str, ...]


def read_wells(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] = types.MappingProxyType({}),
    features: str = "",
    check_smiles: Callable[[Sequence[str]], Sequence[str | None]] | None,
    group_by: str = "auto",
    feature_names: Sequence[str] = (),
) -> Wells:
    """Reads a wells table and checks every row.

    Columns are found by name, with or without `Metadata_`, in any case, and by the names that
    people use (`layouts.ALIASES`). Rejected are: an unparsable SMILES, or none on a treated well;
    on a treated well a concentration that is missing, no number, infinite, negative or 0; NaN or
    infinite features; an unknown plate or batch where correction groups by it; a second row for
    the same well of a plate (rows that differ in a site column are averaged to wells instead).

    Features with gaps: a gap in up to 3 wells, or 1% of them, is the wells' fault and costs these
    wells. Where more wells are concerned, features are given up, most gaps first, as far as keeps
    most values: features x (wells - wells lost beyond those few) is largest. So 26 of 372 features
    that miss 9 to 42% of the wells go, but 5% of wells that lack every feature are rejected.
    Features that are constant over all wells are dropped.

    Defaults, each with a note: no concentration column, 10 µM; no batch column, one batch "0"; no
    control column, wells labelled DMSO, EMPTY_control or negcon, or with the SMILES of DMSO, or
    with neither SMILES nor dose; a plate or batch that is missing in some wells and that correction
    does not group by (or, with group_by auto, missing in over 10% of wells), "unknown".

    Args:
        path: Parquet or CSV, or "metadata,embeddings" (see `layouts`).
        columns: our name (plate, well, batch, smiles, concentration_um, is_control, embedding,
            site) -> the file's.
        features: regular expression for feature columns; "" finds them (`layouts.find_features`).
        check_smiles: gives for each SMILES the reason why it is unusable, None if it is fine. With
            None in its place only empty SMILES are rejected.
        group_by: what correction groups by: plate, batch, or auto: plate where it is known for 90%
            of wells and 90% of treated ones lie on plates with 8 controls or more, else batch.
        feature_names: exactly these features in this order, none dropped: for a screen that has to
            match another one.

    Returns:
        The usable wells and the rejected rows.

    Raises:
        WellsError: the file cannot be read, has no SMILES or feature column, or no usable treated
            well; the message says why and what to do.
        ValueError: an unknown `group_by`.
    """
    if group_by not in ("auto", "plate", "batch"):
        raise ValueError(f"group_by is auto, plate or batch, got {group_by!r}")
    raw = layouts.open_table(path)
    names = raw.table.column_names
    found, column_notes = layouts.find_columns(raw.path, names, columns)
    if "smiles" not in found:
        raise WellsError(
            f"{raw.path}: no SMILES column{layouts.near('smiles', names)}; "
            "name it with columns={'smiles': ...}"
        )
    chosen, rule = layouts.find_features(raw.path, raw.table.schema, found, features, feature_names)
    notes = [*raw.notes, *column_notes]

    rows = _Rows(raw, found)
    rows.reject(raw.without_embedding, "embedding", "", "no embedding for this key")
    if n_genes := rows.leave_out(layouts.gene_wells(raw.table)):
        notes.append(f"{n_genes} rows left out: gene perturbations have no molecule")
    wells = _treatments(rows, notes)
    _reject_smiles(rows, wells, check_smiles)
    _reject_concentrations(rows, wells)
    group_by = _groups(rows, wells, group_by, notes)

    matrix, labels, fits = layouts.feature_matrix(raw.path, raw.table, chosen, feature_names)
    rows.reject(~fits, chosen[0], "", f"not a list of {len(labels)} numbers")
    if not feature_names:
        complete = complete_features(matrix[rows.kept])
        _note_dropped(notes, labels, ~complete, "missing or infinite in too many wells")
        matrix, labels = matrix[:, complete], labels[complete]
    _reject_gaps(rows, matrix, labels)
    _reject_duplicates(rows, wells)
    _average_sites(rows, wells, matrix, notes)

    kept = rows.kept
    if not (kept & ~wells.is_control).any():
        raise WellsError(rows.why_none())
    embedding = matrix[kept]
    varies = (embedding != embedding[0]).any(axis=0)
    if len(embedding) > 1 and not feature_names:
        if not varies.any():
            raise WellsError(
                f"{raw.path}: all {len(labels)} features ({rule}) are constant; "
                "choose others with features=..."
            )
        _note_dropped(notes, labels, ~varies, "constant")
        embedding, labels = np.ascontiguousarray(embedding[:, varies]), labels[varies]
    notes.append(f"{len(labels)} features: {rule}")
    if not wells.is_control[kept].any():
        notes.append("no control wells")
    return Wells(
        path=raw.path,
        table=wells.table(kept),
        embedding=embedding,
        feature_names=tuple(labels.tolist()),
        rejected=rows.rejected(),
        group_by=group_by,
        notes=tuple(notes),
    )


@dataclasses.dataclass
class _Treatments:
    """What was done to each row of the file, as parallel arrays; text is str, "" where unknown."""

    plate: np.ndarray
    well: np.ndarray
    batch: np.ndarray
    site: np.ndarray
    smiles: np.ndarray
    concentration_um: Float[np.ndarray, "n"]
    is_control: Bool[np.ndarray, "n"]

    def table(self, kept: Bool[np.ndarray, "n"]) -> pd.DataFrame:
        """The kept rows as `Wells.table`."""
        text = {
            name: pd.Series(np.where(values == "", UNKNOWN, values)[kept], dtype="str")
            for name, values in (("plate", self.plate), ("well", self.well), ("batch", self.batch))
        }
        return pd.DataFrame(
            {
                "row": np.flatnonzero(kept) + 1,
                **text,
                "smiles": pd.Series(self.smiles[kept], dtype="str"),
                "concentration_um": self.concentration_um[kept],
                "is_control": self.is_control[kept],
            }
        )


class _Rows:
    """The file's rows and, for each, the first reason against it."""

    def __init__(self, raw: layouts.RawTable, found: Mapping[str, str]):
        self.path, self.raw, self.found = raw.path, raw.table, found
        n = raw.table.num_rows
        self.kept = np.ones(n, bool)
        self._field, self._value, self._reason = (np.full(n, "", object) for _ in range(3))

    def text(self, field: str) -> np.ndarray:
        """The column of one of our names as text, "" throughout where the file has none."""
        if field not in self.found:
            return np.full(len(self.kept), "", object)
        return layouts.as_text(self.raw.column(self.found[field]))

    def reject(
        self, mask: ArrayLike, field: ArrayLike, value: ArrayLike, reason: ArrayLike
    ) -> None:
        """Rejects the rows in mask that are still kept; the rest one for all, or one per row."""
        new = np.asarray(mask, bool) & self.kept
        if isinstance(field, str):
            field = self.found.get(field, field)
        for held, given in ((self._field, field), (self._value, value), (self._reason, reason)):
            held[new] = np.broadcast_to(np.asarray(given, object), new.shape)[new]
        self.kept &= ~new

    def leave_out(self, mask: Bool[np.ndarray, "n"]) -> int:
        """Sets rows aside that are not bad, only none of ours; returns how many."""
        new = mask & self.kept
        self.kept &= ~new
        return int(new.sum())

    def rejected(self) -> pd.DataFrame:
        """One row per rejected row of the file."""
        bad = np.flatnonzero(self._reason != "")
        held = {"field": self._field, "value": self._value, "reason": self._reason}
        text = {name: pd.Series(values[bad], dtype="str") for name, values in held.items()}
        return pd.DataFrame({"file": self.path, "row": bad + 1, **text})

    def why_none(self) -> str:
        """The error for a file with no usable treated well."""
        bad = np.flatnonzero(self._reason != "")
        if not len(bad):
            return f"{self.path}: every row counts as a control; check the column for is_control"
        causes = []
        for field in dict.fromkeys(self._field[bad]):
            rows = bad[self._field[bad] == field]
            causes.append(
                f"{len(rows)} x {field}: {self._reason[rows[0]]} "
                f"(first: row {rows[0] + 1}, {self._value[rows[0]]!r})"
            )
        return (
            f"{self.path}: no usable treated well among {len(self.kept)} rows: "
            f"{'; '.join(causes[:5])}. Correct these columns, or name others with columns=..."
        )


def _treatments(rows: _Rows, notes: list[str]) -> _Treatments:
    """What was done to each well, defaults filled in; still with the rows that later fail."""
    text = {field: rows.text(field) for field in ("plate", "well", "batch", "site", "smiles")}
    for field, default in (("plate", UNKNOWN), ("well", UNKNOWN), ("batch", "0")):
        if field not in rows.found:
            notes.append(f"no {field} column: {field} is {default!r} for every well")
    if "batch" not in rows.found:
        text["batch"][:] = "0"
    dose = np.full(len(rows.kept), np.nan)
    if name := rows.found.get("concentration_um"):
        dose = layouts.as_number(rows.raw.column(name))
        if dose.dtype != np.float64:
            # 0.37 held as float32 is 0.37 to its owner, not 0.37000000477: doses are compared.
            dose = dose.astype(str).astype(np.float64)
        unit = layouts.concentration_unit(name)
        dose = dose / 1000 if unit == "nM" else dose
        notes.append(f"concentration_um: the numbers in {name!r} are taken as {unit}")
    is_control, note = _controls(rows, text["smiles"], dose)
    notes.append(note)
    if "concentration_um" not in rows.found:
        dose[:] = DEFAULT_CONCENTRATION_UM
        notes.append(f"no concentration column: treated wells are at {DEFAULT_CONCENTRATION_UM} µM")
    return _Treatments(
        **text, concentration_um=np.where(is_control, 0.0, dose), is_control=is_control
    )


def _controls(
    rows: _Rows, smiles: np.ndarray, dose: Float[np.ndarray, "n"]
) -> tuple[Bool[np.ndarray, "n"], str]:
    """Which wells are controls, and how that was told."""
    if name := rows.found.get("is_control"):
        given = rows.text("is_control")
        label = np.array([text.lower().removesuffix(".0") for text in given], object)
        is_control = _among(label, _CONTROL)
        unclear = ~is_control & ~_among(label, _TREATED)
        rows.reject(unclear, "is_control", given, "neither true nor false")
        return is_control, f"controls: column {name!r}"
    by_normal = {layouts.normal(name): name for name in rows.raw.column_names}
    for normal, values in _CONTROL_COLUMNS:
        if normal in by_normal:
            given = layouts.as_text(rows.raw.column(by_normal[normal]))
            is_control = _among(np.array([text.lower() for text in given], object), values)
            if is_control.any():
                return is_control, f"controls: {by_normal[normal]!r} is {' or '.join(values)}"
    untreated = (smiles == "") & (np.isnan(dose) | (dose == 0))
    if "concentration_um" not in rows.found:
        untreated[:] = False  # an empty SMILES alone says nothing
    return _among(smiles, _DMSO) | untreated, (
        "controls: no control column, so wells with DMSO, or with neither SMILES nor dose"
    )


def _reject_smiles(
    rows: _Rows,
    wells: _Treatments,
    check_smiles: Callable[[Sequence[str]], Sequence[str | None]] | None,
) -> None:
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


def _reject_concentrations(rows: _Rows, wells: _Treatments) -> None:
    field, given = "concentration_um", rows.text("concentration_um")
    treated, dose = ~wells.is_control, wells.concentration_um
    rows.reject(treated & np.isnan(dose) & (given == ""), field, "", "no concentration")
    rows.reject(treated & np.isnan(dose), field, given, "concentration is not a number")
    rows.reject(treated & np.isinf(dose), field, given, "concentration is infinite")
    rows.reject(treated & (dose < 0), field, given, "concentration is negative")
    rows.reject(treated & (dose == 0), field, given, "concentration is 0 on a treated well")


def _groups(rows: _Rows, wells: _Treatments, group_by: str, notes: list[str]) -> str:
    """Settles what correction groups by, and rejects wells without that label."""
    if group_by == "plate" and "plate" not in rows.found:
        raise WellsError(
            f"{rows.path}: group_by is plate, but there is no plate column; "
            "name it with columns={'plate': ...}"
        )
    _distinguish_plates(wells, notes)
    chosen = group_by
    if group_by == "auto":
        code, plates = pd.factorize(wells.plate)
        n_controls = np.bincount(code[rows.kept & wells.is_control], minlength=len(plates))
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
    return chosen


def _distinguish_plates(wells: _Treatments, notes: list[str]) -> None:
    """Makes plates of different batches different, where one label is used in several."""
    known = (wells.plate != "") & (wells.batch != "")
    place = _codes(wells.plate, wells.well)[known]
    with_batch = np.unique(np.stack([place, _codes(wells.batch)[known]]), axis=1)
    if with_batch.shape[1] > len(np.unique(place)):
        wells.plate[known] = wells.batch[known] + "/" + wells.plate[known]
        notes.append("plate labels recur in several batches: a plate is named <batch>/<plate>")


def _reject_gaps(rows: _Rows, matrix: Float[np.ndarray, "n d"], labels: np.ndarray) -> None:
    gap = ~np.isfinite(matrix)
    count, first = gap.sum(axis=1), gap.argmax(axis=1)
    value = matrix[np.arange(len(matrix)), first]
    reason = [f"{k} of {len(labels)} features are missing, NaN or infinite" for k in count]
    rows.reject(count > 0, labels[first], value.astype(str), reason)


def _reject_duplicates(rows: _Rows, wells: _Treatments) -> None:
    known = np.flatnonzero(rows.kept & (wells.plate != "") & (wells.well != ""))
    place = _codes(wells.batch, wells.plate, wells.well, wells.site)[known]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    origin = np.arange(len(rows.kept))
    origin[known] = known[first][group]
    rows.reject(
        origin != np.arange(len(origin)),
        "well",
        wells.plate + " " + wells.well,
        [f"same well as row {row + 1}" for row in origin],
    )


def _average_sites(
    rows: _Rows, wells: _Treatments, matrix: Float[np.ndarray, "n d"], notes: list[str]
) -> None:
    """Averages the sites of a well into its first row, in place, and leaves out the others."""
    known = np.flatnonzero(rows.kept & (wells.plate != "") & (wells.well != ""))
    place = _codes(wells.batch, wells.plate, wells.well)[known]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    if len(first) == len(known):
        return
    matrix[known[first]] = aggregate(matrix[known], group, len(first))
    others = np.ones(len(known), bool)
    others[first] = False
    rows.leave_out(np.isin(np.arange(len(matrix)), known[others]))
    notes.append(f"{len(known)} sites were averaged to {len(first)} wells")


def _among(values: np.ndarray, wanted: Collection[str]) -> Bool[np.ndarray, "n"]:
    return np.array([value in wanted for value in values], bool)


def _codes(*columns: np.ndarray) -> np.ndarray:
    """One integer per row, equal where all columns are."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        inner, unique = pd.factorize(column)
        code = pd.factorize(code * len(unique) + inner)[0]
    return code


def _note_dropped(
    notes: list[str], labels: np.ndarray, dropped: Bool[np.ndarray, "d"], why: str
) -> None:
    if dropped.any():
        names = labels[dropped]
        more = ", …" if len(names) > 5 else ""
        notes.append(
            f"{len(names)} of {len(labels)} features dropped, {why}: {', '.join(names[:5])}{more}"
        )
