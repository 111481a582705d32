"""Arrays with names, as CLOOME and CellCLIP write embeddings: npz and HDF5, read a block at a time.

Shapes and types stand in headers; what they claim is checked before a byte is decoded.
"""

import contextlib
import dataclasses
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
import pyarrow as pa

from molphenix_jax.errors import InputError
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.tables.formats.unpacked import refuse_exploding

_NAMES = ("names", "well_id", "keys")  # what arrays of keys are called
# What NumPy and h5py raise on files that are damaged, or hold objects.
DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
_BLOCK = 1 << 25  # bytes that are read at once


class Header(NamedTuple):
    """What an array's header says."""

    shape: tuple[int, ...]
    dtype: np.dtype
    by_column: bool = False

    @property
    def n_bytes(self) -> int:
        """Of the decoded array."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class NamedArrays:
    """A file with an array of names beside one of embeddings [n, d].

    Attributes:
        path: where it lies.
        kind: its format.
        names: what the array of names is called.
        width: d.
        notes: nothing: all that it holds is read.
    """

    path: pathlib.Path
    kind: Literal["npz", "HDF5"]
    names: str
    width: int
    notes: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The two columns."""
        lists = pa.list_(pa.float32(), self.width)
        return pa.schema([(self.names, pa.string()), ("embeddings", lists)])

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """All rows, `size` at a time; only some columns.

        Raises:
            WellsError: the file is damaged.
        """
        with damage_of(self.path, self.kind), _opened(self.path, self.kind) as arrays:
            names = np.concatenate([*arrays.blocks(self.names, size)])
            start = 0
            for block in arrays.blocks("embeddings", size):
                rows = names[start : start + len(block)]
                table = {
                    self.names: [decoded(key) for key in rows],
                    "embeddings": fixed_lists(np.asarray(block, np.float32)),
                }
                start += len(block)
                yield pa.table({name: table[name] for name in columns})


def open_named_arrays(path: pathlib.Path, kind: Literal["npz", "HDF5"]) -> NamedArrays:
    """Looks at the headers of a file of names and embeddings.

    Raises:
        WellsError: it holds others, or is damaged, or claims a size that it cannot have.
    """
    with damage_of(path, kind), _opened(path, kind) as arrays:
        headers = arrays.headers()
    names = next((name for name in _NAMES if name in headers), None)
    if names is None or "embeddings" not in headers:
        raise WellsError(
            f"{path}: needs an array 'embeddings' and one of {', '.join(_NAMES)}; "
            f"has {', '.join(sorted(headers)) or 'none'}"
        )
    shape, n = headers["embeddings"].shape, headers[names].shape
    numbers = headers["embeddings"].dtype.kind in "fiu"
    if len(shape) != 2 or n != shape[:1] or not min(shape) or not numbers:
        raise WellsError(
            f"{path}: embeddings {list(shape)} and {names} {list(n)} do not go together: give "
            "numbers [n, d] and n names"
        )
    if kind == "npz" and headers[names].dtype.kind not in "US":
        raise WellsError(f"{path}: {names} are {headers[names].dtype}, not text: write them as str")
    refuse_exploding(path, sum(headers[name].n_bytes for name in (names, "embeddings")))
    return NamedArrays(path, kind, names, shape[1])


@contextlib.contextmanager
def damage_of(path: pathlib.Path, kind: str) -> Iterator[None]:
    """Makes a sentence of what NumPy, h5py and zipfile raise on a damaged file.

    Raises:
        WellsError: that sentence.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise WellsError(f"{path}: damaged {kind} file: copy it again, or write it anew") from error


def array_header(file: Any, key: str = "") -> Header:
    """Shape and type of an array in an .npy or .npz file.

    Args:
        file: Open, or its path.
        key: Array within an .npz file; empty takes the only one.

    Raises:
        KeyError: There is no such array.
        ValueError: The header is none of an array's.
    """
    if not zipfile.is_zipfile(file):
        if hasattr(file, "seek"):
            file.seek(0)
            return _header(file)
        with open(file, "rb") as opened:
            return _header(opened)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        name = f"{key}.npy" if key else names[0] if len(names) == 1 else ""
        if name not in names:
            raise KeyError(f"no array {key!r}; there are {', '.join(array_names(names))}")
        with archive.open(name) as member:
            return _header(member)


def array_names(names: Sequence[str]) -> list[str]:
    """Names of arrays from those of the files in an .npz."""
    return [name.removesuffix(".npy") for name in names]


def decoded(key: Any) -> str:
    """A name, which h5py gives as bytes."""
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def fixed_lists(rows: np.ndarray) -> pa.Array:
    """The rows of a matrix as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _header(file: Any) -> Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return Header(shape, dtype, by_column)


class _Npz:
    """The arrays of an open archive."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive

    def headers(self) -> Mapping[str, Header]:
        found = {}
        for info in self._archive.infolist():
            with self._archive.open(info) as member:
                header = _header(member)
                # A pickle's size stands in no header; nobody loads one.
                whole = header.n_bytes == info.file_size - member.tell()
            if not (whole or header.dtype.hasobject):
                raise ValueError(f"{info.filename}: its header tells of another size")
            found[info.filename.removesuffix(".npy")] = header
        return found

    def blocks(self, name: str, rows: int) -> Iterator[np.ndarray]:
        """Some rows at a time; an array that lies by column is read as a whole."""
        with self._archive.open(f"{name}.npy") as member:
            header = _header(member)
            if header.by_column:
                whole = np.frombuffer(member.read(), header.dtype)
                yield whole.reshape(header.shape, order="F")
                return
            row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
            while block := member.read(rows * row_bytes):
                yield np.frombuffer(block, header.dtype).reshape(-1, *header.shape[1:])


class _Hdf5:
    """The arrays at the top of an open HDF5 file."""

    def __init__(self, file: h5py.File):
        self._file = file

    def headers(self) -> Mapping[str, Header]:
        return {
            name: Header(of.shape or (), of.dtype)
            for name, of in self._file.items()
            if isinstance(of, h5py.Dataset)
        }

    def blocks(self, name: str, rows: int) -> Iterator[np.ndarray]:
        dataset: Any = self._file[name]
        for start in range(0, len(dataset), rows):
            yield dataset[start : start + rows]


@contextlib.contextmanager
def _opened(path: pathlib.Path, kind: str) -> Iterator[_Npz | _Hdf5]:
    if kind == "HDF5":
        with h5py.File(path) as file:
            yield _Hdf5(file)
    else:
        with zipfile.ZipFile(path) as archive:
            yield _Npz(archive)
