"""The rows of a screen while they are checked: what was done to each, what is against it."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from molphenix_jax.tables.columns import COMPOUND_NAMES, as_text, normal
from molphenix_jax.wells.inputs.source import RawWells

UNKNOWN = "unknown"
_COMPOUND_IDS = ("broadid", "jcp2022", "samplekey")


@dataclasses.dataclass
class Treatments:
    """What was done to each row of the file, as parallel arrays; text is str, "" where unknown."""

    plate: np.ndarray
    well: np.ndarray
    batch: np.ndarray
    site: np.ndarray
    smiles: np.ndarray
    name: np.ndarray  # "" unless wells need no molecule
    concentration_um: Float[np.ndarray, "n"]
    is_control: Bool[np.ndarray, "n"]
    condition: Int[np.ndarray, "n"]  # number of each row's condition
    group: np.ndarray  # what each row is corrected within

    def table(self, kept: Bool[np.ndarray, "n"], numbers: Int[np.ndarray, "k"]) -> pd.DataFrame:
        """The kept rows as `Wells.table`, with their row numbers."""
        text = {
            name: pd.Categorical(np.where(values == "", UNKNOWN, values)[kept])
            for name, values in (
                ("plate", self.plate),
                ("well", self.well),
                ("batch", self.batch),
                ("group", self.group),
            )
        }
        return pd.DataFrame(
            {
                "row": numbers,
                **text,
                "smiles": pd.Categorical(self.smiles[kept]),
                "name": pd.Categorical(self.name[kept]),
                "concentration_um": self.concentration_um[kept],
                "is_control": self.is_control[kept],
                "condition": self.condition[kept],
            }
        )


class CheckedRows:
    """The rows of all files and, for each, the first reason against it."""

    def __init__(self, raw: RawWells):
        self.path, self.raw, self.found = raw.path, raw, raw.found
        self.kept = np.ones(raw.table.num_rows, bool)
        self._against: list[pd.DataFrame] = []

    def text(self, field: str) -> np.ndarray:
        """The column of one of our names as text, "" throughout where the file has none."""
        if field not in self.found:
            return np.full(len(self.kept), "", object)
        return as_text(self.raw.table.column(self.found[field]))

    def reject(
        self,
        mask: ArrayLike,
        field: ArrayLike,
        value: ArrayLike,
        reason: ArrayLike,
    ) -> None:
        """Rejects the rows in mask that are still kept; the rest one for all, or one per row."""
        new = np.asarray(mask, bool) & self.kept
        at = np.flatnonzero(new)
        if not len(at):
            return
        if isinstance(field, str):
            field = self.found.get(field, field)
        held = {"field": field, "value": value, "reason": reason}
        rows = {
            name: np.broadcast_to(np.asarray(given, object), new.shape)[new]
            for name, given in held.items()
        }
        self._against.append(pd.DataFrame({"at": at, **rows}))
        self.kept &= ~new

    def leave_out(self, mask: Bool[np.ndarray, "n"]) -> int:
        """Sets rows aside that are not bad, only none of ours; returns how many."""
        new = mask & self.kept
        self.kept &= ~new
        return int(new.sum())

    def numbers(self, at: Int[np.ndarray, "k"]) -> Int[np.ndarray, "k"]:
        """Rows by their number in their own file, from 1."""
        start = np.array(self.raw.file_start)
        return at - start[np.searchsorted(start, at, side="right") - 1] + 1

    def described(self, at: Int[np.ndarray, "k"]) -> pa.Table:
        """Of some rows the file, the compound's name where a column tells it, and further columns.

        The columns that are checked (plate, SMILES, …) are left out; one that is called like one
        of ours is `Metadata_…`.
        """
        raw = self.raw
        code = np.searchsorted(np.array(raw.file_start), at, side="right") - 1
        # By their names, where these tell them apart: where they lie makes no other screen.
        names = [pathlib.Path(path).name for path in raw.files]
        names = names if len({*names}) == len(names) else list(raw.files)
        file = pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), names)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {"file": file}
        by_name = {normal(name): name for name in reversed(raw.table.column_names)}
        told = [by_name[n] for n in (*COMPOUND_NAMES, *_COMPOUND_IDS) if n in by_name]
        if told:
            compound = as_text(raw.table.column(told[0]).take(pa.array(at)))
            columns["compound"] = pa.array(compound, pa.string()).dictionary_encode()
        ours = {*columns, "row", "plate", "well", "batch", "group", "smiles"}
        checked = set(self.found.values())
        for table in (raw.table, raw.beside):
            for name in table.column_names:
                if name not in checked:
                    label = f"Metadata_{name}" if name in ours else name
                    columns[label] = table.column(name).take(pa.array(at))
        return pa.table(columns)

    def _bad(self) -> pd.DataFrame:
        blank = pd.DataFrame({"at": [], "field": [], "value": [], "reason": []})
        frames = self._against or [blank.astype({"at": int})]
        return pd.concat(frames, ignore_index=True).sort_values("at", ignore_index=True)

    def rejected(self) -> pd.DataFrame:
        """One row per rejected row of the files."""
        bad, start = self._bad(), np.array(self.raw.file_start)
        at = bad["at"].to_numpy(np.int64)
        files = np.array(self.raw.files, object)
        # A screen in two files that were joined goes by the name that it was asked for.
        file = files[np.searchsorted(start, at, "right") - 1] if len(files) > 1 else self.path
        text = {name: pd.Series(bad[name], dtype="str") for name in ("field", "value", "reason")}
        return pd.DataFrame({"file": file, "row": self.numbers(at), **text})

    def why_none(self) -> str:
        """The error for a file with no usable treated well."""
        bad = self._bad()
        if not len(bad):
            return f"{self.path}: every row counts as a control; check the column for is_control"
        causes = []
        for field, rows in bad.groupby("field", sort=False):
            first = rows.iloc[0]
            causes.append(
                f"{len(rows)} x {field}: {first['reason']} "
                f"(first: row {first['at'] + 1}, {first['value']!r})"
            )
        return (
            f"{self.path}: no usable treated well among {len(self.kept)} rows: "
            f"{'; '.join(causes[:5])}. Correct these columns, or name others with columns=..."
        )
