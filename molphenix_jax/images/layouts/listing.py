"""Tables that list images: reading them, and finding the place (batch, plate, well, field)."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

import pandas as pd

from molphenix_jax.images.fields import ImagesError, Take, number_key
from molphenix_jax.tables.columns import normal
from molphenix_jax.tables.names import row_column_name, well_name
from molphenix_jax.tables.text import read_text

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

    Raises:
        WellsError: The file cannot be read or has no rows.
    """
    return read_text(path).reset_index(drop=True)


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

    def metadata(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The other columns of the listing, beside batch, plate and well; one row for a well."""
        others = frame.drop(columns=[c for c in self.columns if c in frame])
        others = others.drop(columns=[c for c in ("batch", "plate", "well") if c in others])
        place = pd.DataFrame({"batch": self.batch, "plate": self.plate, "well": self.well})
        joined = pd.concat([place, others.reset_index(drop=True)], axis=1)
        return joined.drop_duplicates(["batch", "plate", "well"]).reset_index(drop=True)
