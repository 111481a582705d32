"""Tables that list images: reading them, and finding the place (batch, plate, well, field)."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from molphenix_jax.images.fields import ImagesError, Take, number_key
from molphenix_jax.tables.columns import (
    ALIASES,
    COMPOUND_NAMES,
    ROLES,
    as_text,
    normal,
    second_compound,
    short,
    translated,
)
from molphenix_jax.tables.dose_names import dose_name
from molphenix_jax.tables.matching import compared
from molphenix_jax.tables.names import (
    row_and_column,
    row_column_name,
    well_name,
    with_well_names,
)
from molphenix_jax.tables.text import read_text
from molphenix_jax.wells.conditions.columns import FOUND, why_not

PLACE: Mapping[str, tuple[str, ...]] = {
    "batch": ("batch", "batchid", "experiment", "experimentname", "experimentid"),
    "plate": ("plate", "plateid", "platename", "barcode", "assayplatebarcode"),
    "well": ("well", "wellposition", "wellname", "address", "wellid"),
    "field": ("field", "site", "fieldid", "siteid", "fov"),
}
_TIMES = ("timepoint", "timepointid", "time", "timeid", "t", "frame")
_PLANES = ("plane", "zplane", "focalplane", "planeid", "zslice", "z")
_PHENIXPLACE = re.compile(r"r(\d+)c(\d+)f(\d+)")


def read_listing(path: pathlib.Path) -> pd.DataFrame:
    """A table, all columns as text, "" for gaps; rows from 0.

    Where row and column of a plate stand for the well, a column `well` is added.

    Raises:
        WellsError: The file cannot be read or has no rows.
    """
    frame = read_text(path).reset_index(drop=True)
    if row_and_column(list(frame)):
        placed = with_well_names(pa.table({c: pa.array(frame[c], pa.string()) for c in frame}))
        frame["well"] = as_text(placed.column("well"))
    return frame


def find_column(frame: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column that bears the first of some names, whatever its case and separators."""
    by_normal = {normal(str(column)): str(column) for column in reversed(list(frame.columns))}
    return next((by_normal[name] for name in names if name in by_normal), None)


def refuse_take(take: Take, layout: str) -> None:
    """Fails where a layout knows neither time points nor planes."""
    if str(take):
        raise ImagesError(f"--layout={layout} has no time points or planes: {take} cannot be taken")


def taken_rows(frame: pd.DataFrame, path: pathlib.Path, take: Take) -> pd.DataFrame:
    """The rows of a listing with a time point and plane; the index keeps their numbers, from 0.

    Raises:
        ImagesError: No column tells these, or none of its values is the one asked for.
    """
    kept = frame
    for what, wanted, names in (
        ("time point", take.time_point, _TIMES),
        ("plane", take.plane, _PLANES),
    ):
        if not wanted:
            continue
        column = find_column(frame, names)
        if column is None:
            raise ImagesError(
                f"{path}: no column tells {what}s; its columns are {', '.join(frame.columns)}"
            )
        one = Take(time_point=wanted)
        values = kept[column].tolist()
        kept = kept.loc[[one.has(value, "") for value in values]]
        if not len(kept):
            there = ", ".join(sorted(set(values), key=number_key)[:10])
            raise ImagesError(f"{path}: no row has {what} {wanted}; {column!r} holds {there}")
    return kept


@dataclasses.dataclass(frozen=True)
class Places:
    """Place of each row of a listing; n rows."""

    batch: list[str]
    plate: list[str]
    well: list[str]
    field: list[str]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, path: pathlib.Path) -> "Places":
        """Finds the columns of a listing.

        A field like r14c09f05 tells the well too.

        Raises:
            ImagesError: There is no well column.
        """
        column = {name: find_column(frame, aliases) for name, aliases in PLACE.items()}
        text = {name: frame[c].tolist() if c else [""] * len(frame) for name, c in column.items()}
        phenix = [_PHENIXPLACE.fullmatch(v) for v in text["field"]]
        if not column["well"] and all(phenix):
            text["well"] = [row_column_name(int(m[1]), int(m[2])) for m in phenix if m]
            text["field"] = [str(int(m[3])) for m in phenix if m]
        elif not column["well"]:
            raise ImagesError(
                f"{path}: no column for the well; its columns are {', '.join(frame.columns)}"
            )
        return cls(
            text["batch"],
            text["plate"],
            [well_name(v) for v in text["well"]],
            [re.sub(r"^0+(?=\d)", "", v) for v in text["field"]],
            tuple(c for c in column.values() if c),
        )

    def row(self, i: int) -> tuple[str, str, str, str]:
        """Batch, plate, well and field of a row."""
        return self.batch[i], self.plate[i], self.well[i], self.field[i]

    def metadata(
        self, frame: pd.DataFrame, path: pathlib.Path, used: Sequence[bool] | None = None
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """What the other columns of the listing say of each well.

        Images of one well have to agree in what was done to it; a gap agrees with all. Other
        columns in which they differ (places of the stage, times of day) say nothing of a well.

        Args:
            frame: The listing, of which columns may be missing; its index counts rows from 0.
            path: For the message.
            used: Rows that show a field; None for all.

        Returns:
            A row for each well, beside batch, plate and well, and a sentence on what is left out.

        Raises:
            ImagesError: Two images of one well tell different treatments.
        """
        keys = ["batch", "plate", "well"]
        others = frame.drop(columns=[c for c in (*self.columns, *keys) if c in frame])
        rows = frame.index.to_numpy() + 1
        place = pd.DataFrame({"batch": self.batch, "plate": self.plate, "well": self.well})
        joined: pd.DataFrame = pd.concat([place, others.reset_index(drop=True)], axis=1)
        if used is not None:
            at = np.flatnonzero(np.array(used, bool))
            joined, rows = joined.iloc[at], rows[at]
        well = joined.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
        first = np.unique(well, return_index=True)[1]
        varying = []
        for name in others:
            text = joined[name].to_numpy(object)
            known = np.flatnonzero(text != "")
            stands = np.array(first)  # row of each well that tells its value
            stands[well[known[::-1]]] = known[::-1]
            same = translated(text, compared)
            if len(off := known[same[known] != same[stands[well[known]]]]):
                if _decides(name, text):
                    one, two = int(stands[well[off[0]]]), int(off[0])
                    where = " ".join(filter(None, joined[keys].iloc[one]))
                    raise ImagesError(
                        f"{path}: data rows {rows[one]} and {rows[two]} are images of one well "
                        f"({where}) and differ in {name!r}: {text[one]!r} and {text[two]!r} "
                        f"({len(off):,} such rows); correct it, or give the wells other names, or "
                        "take one time point with --time-point"
                    )
                varying.append(name)
            joined[name] = text[stands][well]
        table = joined.iloc[first].drop(columns=varying).reset_index(drop=True)
        if not varying:
            return table, ()
        told = f"{path.name}: left out, for images of one well differ in it: {short(varying, 8)}"
        return table, (told,)


def _decides(name: str, values: np.ndarray) -> bool:
    """Whether a column tells what was done to a well."""
    plain = normal(name)
    dose = dose_name(name)
    if (dose is not None and dose.kind != "doubt") or second_compound(name):
        return True
    if condition := next((field for field in FOUND if plain in ALIASES[field]), None):
        return not why_not(condition, values)
    return plain in {*ALIASES["smiles"], *ALIASES["is_control"], *ROLES, *COMPOUND_NAMES} - {"name"}
