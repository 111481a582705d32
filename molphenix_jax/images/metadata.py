"""What was done to each imaged well, from the listing of the images or from a table of its own."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from molphenix_jax.images.fields import Field, ImagesError
from molphenix_jax.images.layouts.listing import PLACE, find_column, read_listing
from molphenix_jax.tables.columns import find_columns
from molphenix_jax.tables.dose_names import dose_name
from molphenix_jax.tables.names import key_of, well_name
from molphenix_jax.wells.doses.reading import read_doses

_KEYS = ["batch", "plate", "well"]
# Our names of what a treatment is; the main job finds controls by other columns too (treatment,
# control_type, ...), so every column of the metadata goes along.
_TREATMENT = ("smiles", "concentration_um", "is_control")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Treatments of the imaged wells.

    Attributes:
        table: A row for each well with batch, plate, well, and where they are known smiles,
            concentration_um, is_control; then the other columns as text.
        known: Whether the metadata has this well.
        notes: How wells and metadata were joined.
    """

    table: pd.DataFrame
    known: np.ndarray
    notes: tuple[str, ...]


def find_metadata(
    fields: Sequence[Field],
    listed: pd.DataFrame | None,
    path: pathlib.Path | None,
    columns: Mapping[str, str],
    unit: str = "",
) -> Metadata:
    """Finds the treatment of each well that has a field.

    Args:
        fields: The fields; their wells come in the order of first appearance.
        listed: What the listing of the images knows: columns batch, plate, well and others.
        path: A further table, with plate and well columns, or with a column that `listed` has.
        columns: Our name (smiles, concentration_um, is_control, plate, well, batch) → the table's.
        unit: Of concentrations whose cell names none; "" asks the column (see `doses`).

    Raises:
        ImagesError: The table has no column to join by, or knows none of the wells.
    """
    places = list(dict.fromkeys(field.place for field in fields))
    table = pd.DataFrame(places, columns=_KEYS, dtype=object)
    known = np.ones(len(table), bool)
    notes: list[str] = []
    if listed is not None:
        table = table.merge(listed, how="left", on=_KEYS, validate="1:1").fillna("")
    if path is not None:
        table, known, note = _join(table, path, columns)
        notes.append(note)
    return Metadata(
        _in_our_words(table, str(path or "the listing"), columns, unit, notes), known, tuple(notes)
    )


def _join(
    table: pd.DataFrame, path: pathlib.Path, columns: Mapping[str, str]
) -> tuple[pd.DataFrame, np.ndarray, str]:
    frame = read_listing(path)
    theirs = {k: columns.get(k) or find_column(frame, PLACE[k]) for k in _KEYS}
    if theirs["plate"] and theirs["well"]:
        renamed = {v: k for k, v in theirs.items() if v}
        frame = frame.drop(columns=[k for k in _KEYS if k in frame and k not in renamed])
        frame = frame.rename(columns=renamed)
        frame["well"] = [well_name(v) for v in frame["well"]]
        frame["plate"] = frame["plate"].str.replace(r"^Plate(?=\d+$)", "", regex=True)
        for name in ("plate", "batch"):
            if name in frame:
                ours, others = table[name].tolist(), frame[name].tolist()
                frame[name] = _spelled_as(ours, others, key_of(name))
        keys = ["plate", "well"]
        if "batch" in frame and set(frame["batch"]) & set(table["batch"]) - {""}:
            keys = _KEYS
        else:
            frame = frame.drop(columns="batch", errors="ignore")
    else:
        keys = [c for c in table.columns if c in frame.columns and c not in _KEYS]
        if not keys:
            raise ImagesError(
                f"{path}: neither plate and well columns nor a column of the listing "
                f"({', '.join(table.columns)}); its columns are {', '.join(frame.columns)}. "
                "Name them with --columns plate=...,well=..."
            )
    n_rows = len(frame)
    frame = frame.drop_duplicates()
    twice = n_rows - len(frame)
    again = frame.duplicated(keys, keep=False)
    if again.any():
        rows = (np.flatnonzero(again)[:2] + 1).tolist()
        place = ", ".join(f"{k}={frame.loc[again, k].iat[0]!r}" for k in keys)
        raise ImagesError(
            f"{path}: rows of the same key ({place}, data row {rows[0]} first) say different "
            f"things ({int(again.sum()):,} such rows): leave one of each, or add the column that "
            "tells them apart"
        )
    # What the metadata says goes before what the listing says.
    kept = [c for c in table.columns if c in (*keys, *_KEYS) or c not in frame.columns]
    joined = table[kept].merge(frame, how="left", on=keys, indicator="_found", validate="m:1")
    known = (joined.pop("_found") == "both").to_numpy()
    if not known.any():
        first = ", ".join(f"{k}={table[k].iat[0]!r}" for k in keys)
        other = ", ".join(f"{k}={frame[k].iat[0]!r}" for k in keys)
        raise ImagesError(f"{path}: knows none of the wells; images have {first}, it has {other}")
    note = f"{int(known.sum()):,} of {len(known):,} wells are in {path.name} by {', '.join(keys)}"
    if twice:
        note += f"; {twice:,} rows that repeat another were ignored"
    return joined.fillna(""), known, note


def _spelled_as(ours: Sequence[str], theirs: Sequence[str], key: Callable[[str], str]) -> list[str]:
    """Their names as ours are spelled where that is clear: 007 and 7 are one plate."""
    known = set(ours)
    of_key: dict[str, list[str]] = {}
    for name in known:
        of_key.setdefault(key(name), []).append(name)
    meant = {name: of_key.get(key(name), []) for name in set(theirs) - known}
    spelled = {name: of[0] for name, of in meant.items() if len(of) == 1}
    # One of ours may be meant by one of theirs alone.
    claims = collections.Counter([*spelled.values(), *(known & set(theirs))])
    return [
        spelled[name] if name in spelled and claims[spelled[name]] == 1 else name for name in theirs
    ]


def _in_our_words(
    table: pd.DataFrame, path: str, columns: Mapping[str, str], unit: str, notes: list[str]
) -> pd.DataFrame:
    """Renames the columns of a treatment; the others follow as they are."""
    names = [c for c in table.columns if c not in _KEYS]
    given = {k: v for k, v in columns.items() if k in _TREATMENT}
    found, _ = find_columns(path, names, given)
    out = pd.DataFrame({name: table[name] for name in _KEYS})
    for field in _TREATMENT:
        if field not in found:
            continue
        out[field] = table[found[field]]
    columns_of = pa.table({name: pa.array(table[name], pa.string()) for name in names})
    doses = read_doses(path, columns_of, column=columns.get("concentration_um"), unit=unit)
    if doses.column:
        found["concentration_um"] = doses.column
        out["concentration_um"] = doses.um
        notes += doses.notes
        if unread := int((doses.reason != "").sum()):
            first = int(np.flatnonzero(doses.reason != "")[0])
            notes.append(
                f"{unread:,} wells have no concentration: {doses.reason[first]} "
                f"({doses.given[first]!r} first)"
            )
    missing = [field for field in _TREATMENT if field not in out]
    if missing:
        notes.append(f"the metadata has no column for {', '.join(missing)}")
    taken = {found[field] for field in _TREATMENT if field in found}
    if doses.column:
        # They say again, in other units, what stands in µM now.
        taken |= {n for n in names if (said := dose_name(n)) and said.kind != "doubt"}
    for name in names:
        if name not in taken and name not in out:
            out[name] = table[name]
    return out
