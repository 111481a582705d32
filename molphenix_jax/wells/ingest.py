"""The stage that reads wells: from each part of each file, features to disk and the rest beside."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from molphenix_jax.stages import run_stage
from molphenix_jax.tables.reading.files import TableFile, encoded
from molphenix_jax.tables.reading.spool import Spool
from molphenix_jax.wells.features.plan import FeaturePlan
from molphenix_jax.wells.features.stand_ins import blank_stand_ins, count_stand_ins

_FITS = "row fits the plan"


@dataclasses.dataclass(frozen=True)
class Ingested:
    """What the stage leaves: embeddings on disk, the other columns in memory.

    Attributes:
        spool: embeddings of all rows, file after file.
        table: the columns asked for, text as dictionaries; null where a file lacks one.
        fits: rows whose list of numbers is as long as the others.
        file_rows: rows of each file.
        notes: what was read as missing.
    """

    spool: Spool
    table: pa.Table
    fits: Bool[np.ndarray, " n"]
    file_rows: tuple[int, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Ingest:
    """Reads one part of one file: `ingest(i)` writes embeddings and columns of item i.

    Attributes:
        work: folder that all workers see.
        name: what the files there begin with.
        files: of one kind of table.
        columns: what is kept beside the features.
        plan: the features.
    """

    work: pathlib.Path
    name: str
    files: tuple[TableFile, ...]
    columns: tuple[str, ...]
    plan: FeaturePlan

    @property
    def items(self) -> list[tuple[int, int]]:
        """File and part of each item."""
        return [(f, i) for f, file in enumerate(self.files) for i in range(len(file.parts))]

    def __call__(self, item: int) -> None:
        """Reads one item, a batch at a time."""
        at, part = self.items[item]
        file, tables = self.files[at], []
        kept = file.having(self.columns)
        stand_ins = 0
        with self._path(item, ".f32").open("wb") as out:
            for batch in file.batches(part, [*kept, *self.plan.columns]):
                matrix, fits = self.plan.matrix(batch)
                out.write(np.ascontiguousarray(matrix).data)  # tofile hides a full disk
                stand_ins += count_stand_ins(matrix)
                table = encoded(batch.select(kept)).append_column(_FITS, pa.array(fits))
                tables.append(table)
        table = pa.concat_tables(tables).unify_dictionaries()
        pq.write_table(table, self._path(item, ".parquet"))
        np.save(self._path(item, ".npy"), stand_ins)

    def run(self, beam_options: Sequence[str]) -> Ingested:
        """Reads all items and gathers what they left."""
        items = self.items
        run_stage(self, len(items), beam_options=beam_options)
        tables, file_rows = [], [0] * len(self.files)
        for item, (file, _) in enumerate(items):
            table = pq.read_table(self._path(item, ".parquet"))
            file_rows[file] += table.num_rows
            tables.append(table)
        table = stacked(tables, [*self.columns, _FITS])
        spool = Spool([self._path(i, ".f32") for i in range(len(items))], len(self.plan.names))
        stand_ins = np.sum([np.load(self._path(i, ".npy")) for i in range(len(items))], axis=0)
        notes = blank_stand_ins(spool, stand_ins, np.array(self.plan.names, object))
        return Ingested(
            spool=spool,
            table=table.drop_columns([_FITS]),
            fits=table.column(_FITS).to_numpy(),
            file_rows=tuple(file_rows),
            notes=tuple(notes),
        )

    def _path(self, item: int, suffix: str) -> pathlib.Path:
        return self.work / f"{self.name}-{item:05d}{suffix}"


def stacked(tables: Sequence[pa.Table], columns: Sequence[str]) -> pa.Table:
    """Tables below each other; a column of several types becomes text, a missing one is null."""
    kinds = {}
    for name in columns:
        found = [t.schema.field(name).type for t in tables if name in t.column_names]
        kinds[name] = found[0] if found and all(k == found[0] for k in found) else pa.string()
    parts = []
    for table in tables:
        arrays = [
            table.column(name).cast(kind)
            if name in table.column_names
            else pa.nulls(table.num_rows, kind)
            for name, kind in kinds.items()
        ]
        parts.append(encoded(pa.table(arrays, names=list(kinds))))
    return pa.concat_tables(parts).unify_dictionaries()
