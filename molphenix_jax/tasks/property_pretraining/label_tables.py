"""Files of labels as tables: CSV in any dress, Parquet with lists, SDF with its properties."""

import collections
import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax.errors import InputError
from molphenix_jax.molecules.files import kind_of, read_molecules, smiles_column_of
from molphenix_jax.tables.reading.files import describe_dialects, open_file

# Compressions whose first bytes tell nothing of the table inside; pandas opens them by name.
_PACKED = (".bz2", ".xz", ".zip", ".zst")


class LabelsError(InputError):
    """A label table that cannot be used; names the file, the field and the remedy."""


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """One file; n rows.

    Attributes:
        frame: Its columns, [n].
        smiles: The one of SMILES.
        field: What these are from, for the rejected rows.
        rows: Number of each row in the file, from 1.
        reasons: Why a record gives no SMILES, "" where it does.
        notes: What was chosen and what is unusual, one sentence each.
    """

    frame: pd.DataFrame
    smiles: str
    field: str
    rows: Sequence[int]
    reasons: Sequence[str]
    notes: tuple[str, ...]


def read_label_table(path: pathlib.Path, *, smiles_column: str = "") -> LabelTable:
    """Reads a file of molecules with labels; words for a missing value stay, so they can be said.

    Raises:
        LabelsError: It cannot be read, has no SMILES or several columns of one name.
    """
    try:
        if path.suffix.lower() not in _PACKED and kind_of(path) != "table":
            file, read = read_molecules(path)
            name = "smiles" if "smiles" not in read.others else "SMILES of the record"
            frame = read.others.assign(**{name: read.smiles})
            return LabelTable(frame, name, file.field, read.row, read.reason, file.notes)
        frame, notes = _table(path)
        names = [str(name) for name in frame]
        frame.columns = names
        if twice := [name for name, n in collections.Counter(names).items() if n > 1]:
            raise LabelsError(f"{path}: several columns are called {twice[0]!r}; rename them")
        field, more = smiles_column_of(path, names, smiles_column)
    except LabelsError:
        raise
    except InputError as error:
        raise LabelsError(str(error)) from error
    rows = range(1, len(frame) + 1)
    return LabelTable(frame, field, field, rows, [""] * len(frame), (*notes, *more))


def _table(path: pathlib.Path) -> tuple[pd.DataFrame, list[str]]:
    """The whole table, and what is unusual about it."""
    file = None if path.suffix.lower() in _PACKED else open_file(path)
    notes = describe_dialects([file] if file else [])
    try:
        if file and file.kind == "parquet":
            # With the index that pandas may have made of a column.
            return pq.read_table(path).to_pandas(ignore_metadata=True), notes
        if file and file.kind != "csv":
            raise LabelsError(f"{path}: label tables are CSV or Parquet, this is {file.kind}")
        dialect = file.dialect if file else None
        options: Any = {"sep": ",", "encoding": "utf-8-sig"}
        if dialect:
            options = {"sep": dialect.separator, "header": 0, "names": dialect.names}
        with (
            dialect.open() if dialect else contextlib.nullcontext(path) as text,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame: Any = pd.read_csv(
                text,
                **options,
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
            return frame, notes
    except InputError:
        raise
    except (ValueError, OSError, EOFError, pd.errors.ParserWarning, pa.ArrowException) as error:
        raise LabelsError(
            f"{path}: damaged, or no table: write it anew, as CSV or Parquet"
        ) from error
