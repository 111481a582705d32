"""Image files to arrays: TIFF, PNG, JPEG, JPEG-2000 and NumPy, told by their first bytes."""

import collections
import dataclasses
import functools
import io
import logging
import pathlib
import threading
import zipfile
import zlib
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Num

from molphenix_jax import extras

# Row groups of Parquet shards, or arrays of many images, that are kept for the next fields.
KEPT = 4

_JPEG2000 = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51")
# What the decoders raise on a damaged file; imagecodecs derives its errors from RuntimeError.
_DAMAGE = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, pa.ArrowException),
)


class ImageError(Exception):
    """One image that cannot be used; the message is the reason for `rejected.csv`.

    Attributes:
        source: The file to blame; None where it is the only one of its field.
    """

    source: "Source | None" = None


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an image lies.

    Attributes:
        path: The file.
        key: Array within an .npz file; empty takes the only one.
        index: Image within an array of images; -1 where the file is one image.
        row: Row of a Parquet file whose column `key` holds an encoded image; -1 for other files.
    """

    path: pathlib.Path
    key: str = ""
    index: int = -1
    row: int = -1

    def __str__(self) -> str:
        place = self.index if self.index >= 0 else self.row
        return f"{self.path}[{place}]" if place >= 0 else str(self.path)


def decode(data: bytes, *, key: str = "") -> Num[np.ndarray, "..."]:
    """Decodes an image from its bytes.

    Args:
        data: The whole file.
        key: Array within an .npz file; empty takes the only one.

    Raises:
        ImageError: Unknown format, or a damaged file.
        MissingExtraError: What decodes TIFF, PNG and JPEG is not installed.
    """
    decoder = _decoder(data, key)
    try:
        image = decoder(data)
    except _DAMAGE as error:
        raise ImageError(f"unreadable: {error}") from error
    if not image.size:
        raise ImageError("unreadable: it holds no pixels")
    return image


def _decoder(data: bytes, key: str) -> Callable[[bytes], np.ndarray]:
    """What decodes a file that begins like this one."""
    if not data:
        raise ImageError("the file is empty")
    if data.startswith((b"II", b"MM")):
        # What it logs of a damaged file is in the error too, which `rejected.csv` gets.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        _codecs("imagecodecs")  # which tifffile needs for most compressions, and asks for late
        tifffile = _codecs("tifffile")
        return lambda data: tifffile.imread(io.BytesIO(data))
    if data.startswith(b"\x89PNG"):
        return _codecs("imagecodecs").png_decode
    if data.startswith(_JPEG2000):
        return _codecs("imagecodecs").jpeg2k_decode
    if data.startswith(b"\xff\xd8\xff"):
        return _codecs("imagecodecs").jpeg_decode
    if data.startswith((b"PK", b"\x93NUMPY")):
        return functools.partial(_numpy, key=key)
    raise ImageError("neither TIFF, PNG, JPEG, JPEG-2000 nor NumPy")


def _codecs(module: str) -> Any:
    return extras.load(module, extra="images", what="reading TIFF, PNG and JPEG images")


def _numpy(data: bytes, key: str) -> np.ndarray:
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if not key and len(loaded.files) == 1:
            key = loaded.files[0]
        if key not in loaded.files:
            raise ImageError(f"no array {key!r}; there are {', '.join(loaded.files)}")
        return loaded[key]


class _Newest:
    """The newest few results of an expensive function; safe among threads, one computing."""

    def __init__(self, size: int):
        self._size, self._lock = size, threading.Lock()
        self._held: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._held:
                while len(self._held) >= self._size:
                    self._held.popitem(last=False)
                self._held[key] = make()
            self._held.move_to_end(key)
            return self._held[key]


class SourceReader:
    """Reads sources; keeps what the next ones are likely to need. Shared among threads."""

    def __init__(self) -> None:
        self._arrays, self._groups, self._starts = _Newest(1), _Newest(KEPT), _Newest(10_000)

    def __call__(self, source: Source) -> Num[np.ndarray, "..."]:
        """The image as it is in the file.

        Raises:
            ImageError: It is missing, damaged or of an unknown format.
        """
        if source.row >= 0:
            return decode(self._parquet_bytes(source))
        if source.index >= 0:
            array = self._arrays.get(
                (source.path, source.key), lambda: decode(_bytes(source.path), key=source.key)
            )
            if source.index >= len(array):
                raise ImageError(f"the array holds {len(array)} images")
            return array[source.index]
        return decode(_bytes(source.path), key=source.key)

    def _parquet_bytes(self, source: Source) -> bytes:
        try:
            starts = self._starts.get(source.path, lambda: row_group_starts(source.path))
            group = int(np.searchsorted(starts, source.row, side="right")) - 1
            column = self._groups.get(
                (source.path, source.key, group),
                lambda: (
                    pq.ParquetFile(source.path)
                    .read_row_group(group, columns=[source.key])
                    .column(source.key)
                ),
            )
            value = column[source.row - int(starts[group])].as_py()
        except _DAMAGE as error:
            raise ImageError(f"unreadable: {error}") from error
        # Hugging Face's image columns are {bytes, path}.
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ImageError("the row holds no image")
        return value


def row_group_starts(path: pathlib.Path) -> np.ndarray:
    """First row of each row group of a Parquet file, and the number of rows at the end."""
    meta = pq.read_metadata(path)
    return np.cumsum([0, *(meta.row_group(i).num_rows for i in range(meta.num_row_groups))])


def _bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
