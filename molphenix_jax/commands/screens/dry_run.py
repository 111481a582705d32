"""The tables of `molphenix prepare --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

import rich.box
import rich.markup
import rich.table

from molphenix_jax.runtime.progress import console, say
from molphenix_jax.screens.preparing.dry_run import DryRun
from molphenix_jax.tables.columns import short
from molphenix_jax.wells.inputs.source import FEATURE

_SHOWN = 10  # names of columns of one role


def show(found: DryRun) -> None:
    """Prints what a dry run found."""
    _print("Columns", ("column", "taken for", "unit"), _columns(found))
    titles = ("condition", "treated", "controls", "molecules", "perturbations", "one replicate")
    _print("Wells", titles, found.counts.astype(str).to_numpy().tolist(), numbers_from=1)
    if len(found.rejected):
        titles = ("rows", "field", "reason of the first", "first row")
        columns = ["wells", "field", "reason", "first_row"]
        rejected = found.rejected[columns].astype(str).to_numpy().tolist()
        _print("Rejected", titles, rejected)
    for note in found.notes:
        say(f"- {note}")
    say(f"corrected within each {found.group_by}; nothing was written")


def _columns(found: DryRun) -> list[list[str]]:
    """A row for each column with a role of its own, one for all columns of a common role."""
    of_role: dict[str, list[str]] = {}
    for name, role in found.roles.items():
        of_role.setdefault(role, []).append(name)
    rows = []
    for role, names in sorted(of_role.items(), key=lambda item: _place(item[0])):
        unit = found.concentration.get("unit", "") if role == "concentration_um" else ""
        shown = names
        if role == FEATURE:
            role = f"{len(found.features):,} features"
            shown = list(found.features) if len(names) > 1 else names
        rows.append([short(shown, _SHOWN), role, unit])
    return rows


def _place(role: str) -> int:
    """Roles of our own first, then features, then what is not used."""
    return 2 if role.startswith(("no feature", "a feature", "not used")) else role == FEATURE


def _print(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 99
) -> None:
    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*(rich.markup.escape(cell) for cell in row))
    console.print(table)
