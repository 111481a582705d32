"""Files as streams of Arrow tables: Parquet, CSV (also .gz), AnnData, named arrays (npz, HDF5).

A file is opened by its content, not by its name. Its schema is known after a look at its first
rows; after that it is read in batches, never as a whole.
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax.tables.columns import (
    ALIASES,
    WellsError,
    as_text,
    is_list,
    is_number,
    is_text,
    normal,
    short,
)
from molphenix_jax.tables.formats.anndata import OBSM, AnnData, is_anndata, open_anndata
from molphenix_jax.tables.formats.arrays import NamedArrays, open_named_arrays
from molphenix_jax.tables.formats.unpacked import refuse_exploding_parquet
from molphenix_jax.tables.numbers import (
    Style,
    are_codes,
    mixes_percent,
    numbers_of,
    sample,
    style_of,
)
from molphenix_jax.tables.reading.csv_text import GZIP, Dialect, dialect_of, unpacked_head

# Values of one batch: 32 MiB as float32.
BATCH_VALUES = 1 << 23
# Parquet row groups are bundled to parts of at least so many rows, which Beam hands out.
PART_ROWS = 1 << 16
_HEAD_ROWS = 20_000
_HEAD_BYTES = 4096

# How files begin that are taken for tables, and what to do with them.
_PACKED = (
    (b"PK", "an Excel workbook or another zip archive: save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"BZh", "packed by bzip2: unpack it, or pack it by gzip"),
    (b"\xfd7zXZ", "packed by xz: unpack it, or pack it by gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it, or pack it by gzip"),
    (b"ARROW1", "a Feather file: export the table as Parquet or CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the table: run `git lfs pull`"),
)
_WRITTEN = (
    (b"<", "a web page or XML, not a table: download or export it again"),
    (b"{", "JSON: export the table as Parquet or CSV"),
    (b"[", "JSON: export the table as Parquet or CSV"),
)
_AGAIN = "copy it again, or write it anew"


@dataclasses.dataclass(frozen=True)
class TableFile:
    """One file, opened as far as its schema.

    Attributes:
        path: where it lies.
        kind: how it is read.
        schema: columns that batches have.
        parts: what can be read by itself: (first, last) row group, or the whole file.
        dialect: how a CSV file is written.
        styles: columns of text that hold numbers, each with how these are written. Batches have
            them as numbers, but for those whose commas may be decimal points or not ("?").
        codes: columns of text that hold whole numbers alone, beside columns of numbers.
        arrays: reads a file that is neither Parquet nor CSV.
        profile: the columns that the file itself says are features; () where it does not.
    """

    path: pathlib.Path
    kind: Literal["parquet", "csv", "npz", "HDF5", "h5ad"]
    schema: pa.Schema
    parts: tuple[tuple[int, int], ...]
    dialect: Dialect | None = None
    styles: Mapping[str, Style] = dataclasses.field(default_factory=dict)
    codes: tuple[str, ...] = ()
    arrays: NamedArrays | AnnData | None = None
    profile: tuple[str, ...] = ()

    def having(self, columns: Iterable[str]) -> list[str]:
        """Those of some columns that the file has."""
        return [name for name in columns if name in self.schema.names]

    def batches(self, part: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of a part, a batch at a time; only some columns.

        Raises:
            WellsError: the file is damaged.
        """
        wide = any(not (pa.types.is_string(self.schema.field(c).type)) for c in columns)
        width = max(len(columns), _list_width(self) if wide else 0)
        size = max(64, min(PART_ROWS, BATCH_VALUES // max(1, width)))
        if self.kind == "parquet":
            yield from self._parquet(self.parts[part], list(columns), size)
        elif self.kind == "csv":
            yield from self._csv(list(columns), size)
        else:
            assert self.arrays is not None, "of every other file"
            yield from self.arrays.batches(columns, size)

    def head(self, columns: Sequence[str]) -> pa.Table:
        """The first rows."""
        for batch in self.batches(0, columns):
            return batch
        raise WellsError(f"{self.path}: the table has columns but no rows")

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows, text as dictionaries."""
        batches = [encoded(b) for i in range(len(self.parts)) for b in self.batches(i, columns)]
        return pa.concat_tables(batches).unify_dictionaries()

    def _parquet(self, part: tuple[int, int], columns: list[str], size: int) -> Iterator[pa.Table]:
        try:
            with pq.ParquetFile(self.path, pre_buffer=False) as file:
                groups = list(range(*part))
                for batch in file.iter_batches(size, row_groups=groups, columns=columns):
                    table = pa.Table.from_batches([batch]).select(columns)
                    for i, name in enumerate(columns):
                        column = table.column(i)
                        if self.styles.get(name, "?") != "?":
                            numbers = numbers_of(column, self.styles[name])
                            table = table.set_column(i, name, pa.chunked_array([numbers]))
                        elif (kind := _plain(column.type)) != column.type:
                            table = table.set_column(i, name, column.cast(kind))
                    yield table
        except (pa.ArrowException, OSError, ValueError) as error:
            raise WellsError(f"{self.path}: damaged Parquet file: {_AGAIN}") from error

    def _csv(self, columns: list[str], size: int) -> Iterator[pa.Table]:
        assert self.dialect is not None, "of every CSV file"
        for frame in _csv_frames(self.dialect, size, columns):
            arrays = [
                _as_type(
                    cast(pd.Series, frame[name]),
                    self.schema.field(name).type,
                    self.styles.get(name, "."),
                )
                for name in columns
            ]
            yield pa.table(arrays, names=columns)


def open_file(path: pathlib.Path, *, wanted: Sequence[str] = ()) -> TableFile:
    """Opens a table.

    Args:
        path: the file.
        wanted: columns that the user names, for files that have more than they show.

    Raises:
        WellsError: the file is missing, empty, or of another format.
    """
    head = head_of(path)
    if head.startswith(b"PAR1"):
        return _open_parquet(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise WellsError(f"{path}: not a Parquet file, whatever its name; write it again")
    if head.startswith(b"PK") and path.suffix.lower() == ".npz":
        return _open_arrays(path, "npz")
    if head.startswith(b"\x89HDF"):
        if is_anndata(path):
            return _open_anndata(path, wanted)
        return _open_arrays(path, "HDF5")
    head = text_head(path, head)
    for begins, what in _WRITTEN:
        if head.lstrip().startswith(begins):
            raise WellsError(f"{path}: {what}")
    return _open_csv(path, head)


def head_of(path: pathlib.Path) -> bytes:
    """The first bytes of a file.

    Raises:
        WellsError: the file is missing or empty.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise WellsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WellsError(f"{str(path)!r} can be no file's name ({error})") from error
    if not head:
        raise WellsError(f"{path}: the file is empty")
    return head


def text_head(path: pathlib.Path, head: bytes) -> bytes:
    """The first bytes of a text, unpacked.

    Raises:
        WellsError: it is something else.
    """
    if head.startswith(GZIP):
        head = unpacked_head(path, _HEAD_BYTES)
        if head.startswith((GZIP, b"PAR1")):
            what = "another gzip file" if head.startswith(GZIP) else "a Parquet file"
            raise WellsError(f"{path}: a gzip file that holds {what}: unpack it once")
        if not head:
            raise WellsError(f"{path}: a gzip file that holds nothing")
    for begins, what in _PACKED:
        if head.lstrip().startswith(begins):
            raise WellsError(f"{path}: {what}")
    return head


def describe_dialects(files: Iterable[TableFile]) -> list[str]:
    """What is unusual about the files and how it was read, in sentences."""
    told = [source for file in files for source in (file.dialect, file.arrays) if source]
    return [note for source in told for note in source.notes]


def describe_styles(files: Iterable[TableFile]) -> list[str]:
    """What was read as numbers though it is text, in sentences."""
    by_style: dict[Style, dict[str, None]] = {}
    for file in files:
        for name, style in file.styles.items():
            if file.kind != "csv" or style != ".":  # all that is in a CSV file is text
                by_style.setdefault(style, {})[name] = None
    told = {
        ".": "hold numbers as text: they are read as numbers",
        ".,": "hold numbers whose thousands are grouped by commas: 1,234.5 is read as 1234.5",
        ",": "hold numbers with decimal commas: 1,5 is read as 1.5",
    }
    return [
        f"{len(names):,} columns {told[style]}: {short(list(names), 5)}"
        for style, names in by_style.items()
        if style in told
    ]


def encoded(table: pa.Table) -> pa.Table:
    """The same table with its text as dictionaries, which repeat no value."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(i).cast(field.type.value_type)
            table = table.set_column(i, field.name, column)
            field = table.schema.field(i)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(i).cast(pa.string()).dictionary_encode()
            table = table.set_column(i, field.name, column)
    return table


def _open_parquet(path: pathlib.Path) -> TableFile:
    try:
        with pq.ParquetFile(path) as file:
            schema, meta = file.schema_arrow.remove_metadata(), file.metadata
            schema = pa.schema([(field.name, _plain(field.type)) for field in schema])
            rows = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        refuse_exploding_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, WellsError):
            raise
        raise WellsError(f"{path}: damaged Parquet file: {_AGAIN}") from error
    _refuse_columns(path, schema)
    if not sum(rows):
        raise WellsError(f"{path}: the table has columns but no rows")
    parts, start = [], 0
    for end in range(1, len(rows) + 1):
        if sum(rows[start:end]) >= PART_ROWS or end == len(rows):
            parts.append((start, end))
            start = end
    file = TableFile(path, "parquet", schema, tuple(parts))
    text = [f.name for f in schema if _is_string(f.type) and not is_text(f.name)]
    if not text:
        return file
    head = file.head(text)
    texts = {name: sample([t for t in as_text(head.column(name)) if t]) for name in text}
    codes = [name for name in text if are_codes(texts[name])]
    if not any(is_number(field.type) or is_list(field.type) for field in schema):
        codes = []  # all is text, numbers too
    styles = _styles({name: said for name, said in texts.items() if name not in codes})
    kinds = [pa.float64() if styles.get(f.name, "?") != "?" else f.type for f in file.schema]
    schema = pa.schema(list(zip(schema.names, kinds, strict=True)))
    return dataclasses.replace(file, schema=schema, styles=styles, codes=tuple(codes))


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type that all functions know: of tensors, UUIDs and the like what they are stored as."""
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.list_(kind.value_type)
    return kind


def _refuse_columns(path: pathlib.Path, schema: pa.Schema) -> None:
    """Refuses columns of one name, and lists where words are needed.

    Raises:
        WellsError: There is one; names it.
    """
    for field in schema:
        if schema.names.count(field.name) > 1:
            raise WellsError(f"{path}: has several columns {field.name!r}: rename or remove one")
        plain = normal(field.name) not in ALIASES["embedding"]
        if plain and pa.types.is_nested(field.type) and is_text(field.name):
            raise WellsError(
                f"{path}: column {field.name!r} holds {field.type}, where a text or number is "
                "needed in each row: write it so, or rename it"
            )


def _open_arrays(path: pathlib.Path, kind: Literal["npz", "HDF5"]) -> TableFile:
    arrays = open_named_arrays(path, kind)
    return TableFile(path, kind, arrays.schema, ((0, 0),), arrays=arrays)


def _open_anndata(path: pathlib.Path, wanted: Sequence[str]) -> TableFile:
    found = open_anndata(path, wanted)
    _refuse_columns(path, found.schema)
    profile = (*found.features, *(name for name in found.schema.names if name.startswith(OBSM)))
    return TableFile(path, "h5ad", found.schema, ((0, 0),), arrays=found, profile=profile)


def _open_csv(path: pathlib.Path, head: bytes) -> TableFile:
    dialect = dialect_of(path, head)
    frame = next(_csv_frames(dialect, _HEAD_ROWS, None), None)
    if frame is None or not len(frame):
        raise WellsError(f"{path}: the table has columns but no rows")
    words = [
        name
        for name in frame.columns
        if not is_text(name) and not pd.api.types.is_numeric_dtype(frame[name])
    ]
    # A feature with a stray word in it is still a feature; the word is a gap.
    styles = _styles({n: sample(frame[n].dropna().astype(str).tolist()) for n in words})
    kinds = [
        pa.float64() if styles.get(name, "?") != "?" else _kind_of(cast(pd.Series, frame[name]))
        for name in frame.columns
    ]
    schema = pa.schema(list(zip(frame.columns, kinds, strict=True)))
    return TableFile(path, "csv", schema, ((0, 0),), dialect, styles)


def _styles(texts: Mapping[str, Sequence[str]]) -> dict[str, Style]:
    """The columns of text that hold numbers, and how these are written.

    What a comma is can be told by another column of the file where a column leaves it open. Beside
    numbers with a percent sign it is open what those without are.
    """
    found: dict[str, Style] = {}
    for name, said in texts.items():
        if said and (style := style_of(said)):
            found[name] = style
    told: set[Style] = {style for style in found.values() if style in (",", ".,")}
    if len(told) == 1:
        (one,) = told
        found = {name: one if style == "?" else style for name, style in found.items()}
    return {name: "?" if mixes_percent(texts[name]) else style for name, style in found.items()}


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _csv_frames(
    dialect: Dialect, size: int, columns: Sequence[str] | None
) -> Iterator[pd.DataFrame]:
    text = {name: str for name in dialect.names if is_text(name)}
    for frame in csv_frames(dialect, size, dtype=text, low_memory=False):
        yield frame if columns is None else cast(pd.DataFrame, frame[list(columns)])


def csv_frames(dialect: Dialect, size: int, **options: Any) -> Iterator[pd.DataFrame]:
    """The rows of a CSV, so many at a time; `options` are pandas'.

    Raises:
        WellsError: a quotation mark swallows rows.
    """
    options |= {"sep": dialect.separator, "header": 0, "names": dialect.names}
    options |= {"index_col": False, "chunksize": size}
    with dialect.open() as text, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        with cast(Any, pd.read_csv(text, **options)) as frames:
            for frame in frames:
                for name in frame.columns:
                    if not pd.api.types.is_numeric_dtype(frame[name]):
                        dialect.refuse_torn(frame[name])
                yield frame


def _kind_of(column: pd.Series) -> pa.DataType:
    if pd.api.types.is_bool_dtype(column):
        return pa.bool_()
    return pa.float64() if pd.api.types.is_numeric_dtype(column) else pa.string()


def _as_type(column: Any, kind: pa.DataType, style: Style) -> pa.Array:
    """A CSV column as the kind that its first rows have."""
    if pa.types.is_floating(kind):
        if pd.api.types.is_numeric_dtype(column):
            return pa.array(np.asarray(column, np.float64))
        text = column.astype(str).where(column.notna(), None)
        return pa.array(numbers_of(pa.chunked_array([pa.array(text, pa.string())]), style))
    if pa.types.is_boolean(kind) and pd.api.types.is_bool_dtype(column):
        return pa.array(column, kind, from_pandas=True)
    text = column.astype(str).where(column.notna(), None)
    return pa.array(text, pa.string(), from_pandas=True)


def _list_width(file: TableFile) -> int:
    """Numbers in the longest list column, as far as the schema or the file's size tells."""
    kinds = [field.type for field in file.schema]
    widths = [kind.list_size for kind in kinds if pa.types.is_fixed_size_list(kind)]
    if widths:
        return max(widths)
    if file.kind == "parquet" and any(pa.types.is_nested(kind) for kind in kinds):
        with pq.ParquetFile(file.path) as parquet:
            meta = parquet.metadata
            group = meta.row_group(0)
            values = max(group.column(j).num_values for j in range(group.num_columns))
            return values // max(1, group.num_rows)
    return 0
