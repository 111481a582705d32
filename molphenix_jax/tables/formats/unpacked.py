"""How large a table becomes: a small file may hold gigabytes of one value."""

import collections
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from molphenix_jax.tables.columns import WellsError

# Times that a table may grow; tables of numbers pack 3 to 20 times.
MOST_PACKED = 500
# Bytes that any table may have, however small its file is.
ALWAYS = 1 << 30
# Of Parquet, in which each value is there as often as it is meant.
_PLAIN = {"PLAIN", "RLE", "BIT_PACKED"}


def refuse_exploding(path: pathlib.Path, n_bytes: int) -> None:
    """Stops before a table is decoded whose size nobody expects from its file.

    Args:
        path: The file.
        n_bytes: Of the decoded table, as its header or metadata tells.

    Raises:
        WellsError: Names both sizes and the limit.
    """
    packed = path.stat().st_size
    if n_bytes > max(ALWAYS, MOST_PACKED * packed):
        raise WellsError(
            f"{path}: it unpacks to more than {MOST_PACKED} times its size ({_said(packed)} to at "
            f"least {_said(n_bytes)}): this is no table; write it anew"
        )


def refuse_exploding_parquet(path: pathlib.Path) -> None:
    """Stops before a Parquet file is decoded: by its metadata, then by how often a text recurs.

    Raises:
        WellsError: As `refuse_exploding`.
        ArrowException, OSError, ValueError: The file is damaged.
    """
    with pq.ParquetFile(path) as file:
        meta = file.metadata
    sizes = {"INT64": 8, "DOUBLE": 8, "INT96": 12, "BOOLEAN": 1}
    total, recurring = 0, collections.defaultdict(list)
    for i in range(meta.num_row_groups):
        for j in range(meta.row_group(i).num_columns):
            column = meta.row_group(i).column(j)
            stored = column.total_uncompressed_size
            values = column.num_values * sizes.get(column.physical_type, 4)
            total += max(values, stored)
            # Of a text that recurs, or begins as the one before, the file may hold one copy.
            once = column.physical_type == "BYTE_ARRAY" and set(column.encodings) - _PLAIN
            if once and column.num_values * stored > ALWAYS:
                delta = "DELTA_BYTE_ARRAY" in column.encodings
                recurring[column.path_in_schema].append((i, stored, delta))
    refuse_exploding(path, total)
    for name, groups in recurring.items():
        with pq.ParquetFile(path, read_dictionary=[name]) as file:
            for i, stored, delta in groups:
                # Arrow keeps dictionaries as they are, and decodes each value of what is coded by
                # the beginnings of others, none of which is longer than all that is stored.
                rows = max(1, min(ALWAYS // 4 // stored, 1 << 16)) if delta else 1 << 16
                columns = pq.ParquetFile(path) if delta else file
                for batch in columns.iter_batches(rows, row_groups=[i], columns=[name]):
                    total += sum(map(_text_bytes, batch.columns))
                    refuse_exploding(path, total)


def repeated_bytes(values: pa.Array, codes: np.ndarray) -> int:
    """Bytes of texts or images that are stored once and meant as often as their number recurs.

    Args:
        values: Each of them.
        codes: The number of that of each row, below 0 where there is none.
    """
    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
        return 0
    lengths = np.asarray(
        pc.fill_null(pc.call_function("binary_length", [values]), 0).to_numpy(), np.int64
    )
    times = np.bincount(codes[codes >= 0], minlength=len(lengths))
    return int((times[: len(lengths)] * lengths).sum())


def _text_bytes(column: pa.Array) -> int:
    if isinstance(column, pa.DictionaryArray):
        codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
        return repeated_bytes(column.dictionary, codes)
    if isinstance(column, pa.StructArray):
        return sum(_text_bytes(field) for field in column.flatten())
    return column.nbytes


def _said(n_bytes: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024 or unit == "GiB":
            break
        n_bytes = n_bytes // 1024
    return f"{n_bytes:,} {unit}"
