"""What preparing a screen would do with its files: all that is decided before any correction.

The files are read and checked as they are for a screen, so the same mistakes end in the same
errors; embeddings lie in a temporary folder meanwhile, and nothing stays.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from molphenix_jax.screens.preparing.grouping import StandardForms, group_wells
from molphenix_jax.screens.preparing.pipeline import (
    PrepareConfig,
    scan,
    stored_embeddings,
)
from molphenix_jax.screens.screen import Screen
from molphenix_jax.storage import temporary_folder
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import Wells


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What would be prepared.

    Attributes:
        roles: what each column is taken for, in words.
        features: names of the features of a profile.
        concentration: column, unit of the doses, and how these were told.
        group_by: what is corrected within, plate or batch.
        counts: of each condition: condition, treated, controls, molecules, perturbations, and
            perturbations with a single replicate; a last row for the whole screen.
        rejected: columns wells, field, reason, first_row: rows that cannot be used, by reason.
        notes: every default and choice, one sentence each.
    """

    roles: Mapping[str, str]
    features: tuple[str, ...]
    concentration: Mapping[str, str]
    group_by: str
    counts: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...]


def dry_run(
    sources: Sources,
    config: PrepareConfig,
    *,
    reference: Screen | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DryRun:
    """Reads and checks the wells of a screen, and writes nothing.

    Args:
        sources: the files.
        config: parameters.
        reference: see `prepare_screen`.
        say: is told what is being done.

    Raises:
        WellsError: as `prepare_screen`.
        ScreenError: as `prepare_screen`.
    """
    say(f"reading {sources}")
    forms = StandardForms()
    with temporary_folder() as work:
        wells = scan(sources, config, work, forms, reference)
    counts, molecules = _counts(wells, forms)
    for _ in stored_embeddings(config, molecules):
        pass  # they fit
    return DryRun(
        roles=wells.roles,
        features=wells.feature_names,
        concentration=wells.concentration,
        group_by=wells.group_by,
        counts=counts,
        rejected=_by_reason(wells.rejected),
        notes=(*wells.notes, *forms.notes),
    )


def _counts(wells: Wells, forms: StandardForms) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts of each condition and of all, and the molecules."""
    is_control = wells.table["is_control"].to_numpy(bool)
    treated = wells.table.iloc[np.flatnonzero(~is_control)]
    grouped = group_wells(treated, wells.conditions, forms.table)
    replicates = np.diff(grouped.offsets)
    of_control = wells.table["condition"].to_numpy(np.int64)[is_control]
    rows = []
    for value, label in zip(grouped.conditions.values, grouped.conditions.labels, strict=True):
        own = grouped.condition == grouped.conditions.values.index(value)
        rows.append(
            {
                "condition": label or "one",
                "treated": int(replicates[own].sum()),
                "controls": int((of_control == wells.conditions.values.index(value)).sum()),
                "molecules": len(np.unique(grouped.molecule[own])),
                "perturbations": int(own.sum()),
                "single": int((replicates[own] == 1).sum()),
            }
        )
    if len(rows) > 1:
        rows.append(
            {
                "condition": "all",
                "treated": len(treated),
                "controls": int(is_control.sum()),
                "molecules": len(grouped.molecules),
                "perturbations": len(replicates),
                "single": int((replicates == 1).sum()),
            }
        )
    return pd.DataFrame(rows), grouped.molecules


def _by_reason(rejected: pd.DataFrame) -> pd.DataFrame:
    """How many rows were rejected for which reason; numbers in a reason make no other reason."""
    if not len(rejected):
        return pd.DataFrame({"wells": [], "field": [], "reason": [], "first_row": []})
    alike = rejected["reason"].str.replace(r"\d+(\.\d+)?", "#", regex=True)
    groups = rejected.assign(alike=alike).groupby(["field", "alike"], sort=False)
    found = groups.agg(
        wells=("row", "size"), reason=("reason", "first"), first_row=("row", "first")
    )
    table = found.reset_index().drop(columns="alike")
    return table.sort_values("wells", ascending=False, ignore_index=True)
