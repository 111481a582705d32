"""Tables as text: every cell as the file has it. For listings, keys and molecules."""

import dataclasses
import pathlib
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from molphenix_jax.tables.columns import WellsError, as_text
from molphenix_jax.tables.reading.files import TableFile, csv_frames, describe_dialects, open_file

# Rows of one chunk.
CHUNK_ROWS = 10_000


@dataclasses.dataclass(frozen=True)
class TextTable:
    """A table, opened as far as its header.

    Attributes:
        path: where it lies.
        names: of its columns; those of lists and structures are not among them.
        notes: what is unusual about the file, one sentence each.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    notes: tuple[str, ...]
    _file: TableFile

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[pd.DataFrame]:
        """The rows, so many at a time at most: str objects without blanks around, "" for gaps.

        The index counts the rows of data from 1.

        Raises:
            WellsError: the file is damaged.
        """
        start = 1
        for frame in self._csv(rows) if self._file.dialect else self._columns(rows):
            index = pd.RangeIndex(start, start + len(frame))
            yield frame.set_axis(index, axis=0)
            start += len(frame)

    def _columns(self, rows: int) -> Iterator[pd.DataFrame]:
        for part in range(len(self._file.parts)):
            for batch in self._file.batches(part, self.names):
                for at in range(0, batch.num_rows, rows):
                    some = batch.slice(at, rows)
                    yield pd.DataFrame(
                        {name: as_text(some.column(name)) for name in self.names}, dtype=object
                    )

    def _csv(self, rows: int) -> Iterator[pd.DataFrame]:
        dialect = self._file.dialect
        assert dialect is not None, "asked before"
        for frame in csv_frames(dialect, rows, dtype=str, keep_default_na=False):
            # A row that is cut short has gaps at its end.
            cells = {name: frame[name].fillna("").str.strip() for name in frame.columns}
            yield pd.DataFrame(cells, dtype=object)


def open_text(path: pathlib.Path) -> TextTable:
    """Opens a CSV or Parquet file, also compressed by gzip, or the obs of an .h5ad.

    Raises:
        WellsError: it is missing, damaged, or of another format.
    """
    file = open_file(path)
    if file.kind in ("npz", "HDF5"):
        raise WellsError(f"{path}: a table is needed, as CSV or Parquet; this is {file.kind}")
    names = [
        f.name for f in file.schema if not pa.types.is_nested(f.type) and f.name not in file.profile
    ]
    # Without styles: text stays text, "007" and all.
    plain = dataclasses.replace(file, styles={})
    return TextTable(path, tuple(names), tuple(describe_dialects([file])), plain)


def read_text(path: pathlib.Path) -> pd.DataFrame:
    """All rows of a table as `TextTable.chunks` gives them.

    Raises:
        WellsError: as `open_text`.
    """
    return pd.concat([*open_text(path).chunks()])
