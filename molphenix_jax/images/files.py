"""Image files to arrays: TIFF, PNG, JPEG, JPEG-2000 and NumPy, told by their first bytes."""

import collections
import dataclasses
import functools
import io
import logging
import math
import pathlib
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Num

from molphenix_jax import extras
from molphenix_jax.images.decoded_size import (
    JPEG,
    JPEG2000,
    NUMPY,
    PNG,
    TIFF,
    decoded_bytes,
    tiff_bytes,
)
from molphenix_jax.tables.formats.arrays import array_header
from molphenix_jax.tables.formats.unpacked import refuse_exploding, refuse_exploding_parquet

# Row groups of Parquet shards, or arrays of many images, that are kept for the next fields.
KEPT = 4
# MiB that one image may have once it is decoded; every reading thread holds one.
MAX_IMAGE_MIB = 256
# Of TIFF: photometric interpretations, and what extra samples are.
_WHITE_IS_0, _PALETTE, _ALPHA = 0, 3, (1, 2)
_OME_FILE = re.compile(r'FileName="([^"]*)"')


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


def decode(data: bytes, *, key: str = "", max_mib: float = MAX_IMAGE_MIB) -> Num[np.ndarray, "..."]:
    """Decodes an image from its bytes.

    Args:
        data: The whole file.
        key: Array within an .npz file; empty takes the only one.
        max_mib: MiB that the decoded image may have, by its header.

    Raises:
        ImageError: Unknown format, a damaged file, or too large an image.
        MissingExtraError: What decodes TIFF, PNG and JPEG is not installed.
    """
    decoder = _decoder(data, key, max_mib)
    try:
        _check_size(decoded_bytes(data, key=key), max_mib)
        image = decoder(data)
    except ImageError:
        raise
    except Exception as error:  # decoders raise anything on damage: SystemError, struct.error, ...
        raise ImageError(f"unreadable: {str(error) or type(error).__name__}") from error
    if not image.size:
        raise ImageError("unreadable: it holds no pixels")
    return image


def _check_size(n_bytes: int, max_mib: float) -> None:
    """Fails on an image that would be too large.

    Raises:
        ImageError: It would.
    """
    if n_bytes > max_mib * 2**20:
        raise ImageError(
            f"it would have {n_bytes / 2**20:,.0f} MiB once decoded, more than {max_mib:,.0f}: if "
            "it is an image after all, raise the limit with --max-image-mib (images.max_image_mib)"
        )


def _decoder(data: bytes, key: str, max_mib: float) -> Callable[[bytes], np.ndarray]:
    """What decodes a file that begins like this one."""
    if not data:
        raise ImageError("the file is empty")
    if data.startswith(TIFF):
        # What it logs of a damaged file is in the error too, which `rejected.csv` gets.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        _codecs("imagecodecs")  # which tifffile needs for most compressions, and asks for late
        return functools.partial(_tiff, _codecs("tifffile"), max_mib)
    if data.startswith(PNG):
        return functools.partial(_png, _codecs("imagecodecs"))
    if data.startswith(JPEG2000):
        return _codecs("imagecodecs").jpeg2k_decode
    if data.startswith(JPEG):
        return _codecs("imagecodecs").jpeg_decode
    if data.startswith(NUMPY):
        return functools.partial(_numpy, key=key)
    raise ImageError("neither TIFF, PNG, JPEG, JPEG-2000 nor NumPy")


def _codecs(module: str) -> Any:
    return extras.load(module, extra="images", what="reading TIFF, PNG and JPEG images")


def _tiff(tifffile: Any, max_mib: float, data: bytes, **how: Any) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data), **how) as file:
        # Smaller copies of an image (thumbnails, levels of a pyramid) say so.
        whole = [one for one in file.series if not one.keyframe.is_reduced] or file.series[:1]
        if len(whole) > 1:
            shapes = ", ".join("x".join(map(str, one.shape)) for one in whole[:4])
            raise ImageError(
                f"it holds {len(whole)} images ({shapes}), and which is meant cannot be told: "
                "write each into a file of its own"
            )
        if missing := sum(page is None for page in whole[0].pages):
            if len(set(_OME_FILE.findall(file.ome_metadata or ""))) > 1:
                # Planes of other files, which are images of their own.
                return _tiff(tifffile, max_mib, data, is_ome=False)
            n = len(whole[0].pages)
            raise ImageError(f"unreadable: it names {n} planes, and {missing} are not there")
        _check_size(tiff_bytes(file, whole[0]), max_mib)
        page, image = whole[0].keyframe, whole[0].asarray()
        if page.photometric == _WHITE_IS_0:
            return _inverted(image, page.bitspersample)
        if (
            page.photometric == _PALETTE
            and (np.diff(page.colormap.sum(axis=0, dtype=int)) < 0).any()
        ):
            raise ImageError(
                "its pixels are numbers of colours in a palette, no brightness: write grey values"
            )
        if page.extrasamples and page.extrasamples[-1] in _ALPHA:
            whole, last = _without_last(image, whole[0].axes.index("S"))
            # Programs mark the fourth of any four channels so: one that varies is a channel.
            return whole if (last == last.flat[0]).all() else image
        return image


def _png(imagecodecs: Any, data: bytes) -> np.ndarray:
    image = imagecodecs.png_decode(data)
    if image.ndim != 3 or image.shape[2] not in (2, 4):
        return image
    # Beyond grey, or red, green and blue, a PNG has transparency and nothing else.
    whole, last = _without_last(image, 2)
    if (last != last.flat[0]).any():
        raise ImageError(
            "it has transparency, which differs from pixel to pixel: write channels into files of "
            "their own, or into a TIFF"
        )
    return whole


def _without_last(image: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """An image without its last sample, and that sample."""
    *others, last = np.moveaxis(image, axis, 0)
    return np.stack(others, axis), last


def _inverted(image: np.ndarray, bits: int) -> np.ndarray:
    """An image in which 0 is white, with 0 as black."""
    if image.dtype.kind == "b":
        return ~image
    if image.dtype.kind != "u":
        raise ImageError(f"0 is white in it, and pixels are {image.dtype}: invert it first")
    return image.dtype.type(2**bits - 1) - image


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

    def __init__(self, max_mib: float = MAX_IMAGE_MIB) -> None:
        """Makes a reader of images of at most so many MiB each, once decoded."""
        self.max_mib = max_mib
        self._arrays, self._groups, self._starts = _Newest(1), _Newest(KEPT), _Newest(10_000)

    def __call__(self, source: Source) -> Num[np.ndarray, "..."]:
        """The image as it is in the file.

        Raises:
            ImageError: It is missing, damaged or of an unknown format.
        """
        if source.row >= 0:
            return decode(self._parquet_bytes(source), max_mib=self.max_mib)
        if source.index >= 0:
            array = self._arrays.get(
                (source.path, source.key), lambda: self._array(source.path, source.key)
            )
            if source.index >= len(array):
                raise ImageError(f"the array holds {len(array)} images")
            return array[source.index]
        data = _bytes(source.path, self.max_mib)
        return decode(data, key=source.key, max_mib=self.max_mib)

    def _array(self, path: pathlib.Path, key: str) -> np.ndarray:
        """An array of many images, each of which may have so many MiB."""
        try:
            header = array_header(path, key)
            refuse_exploding(path, header.n_bytes)
            _check_size(header.n_bytes // max(1, *header.shape[:1]), self.max_mib)
        except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
            raise ImageError(f"unreadable: {error}") from error
        return decode(_bytes(path), key=key, max_mib=math.inf)

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
        except Exception as error:  # whatever a damaged shard makes the reader raise
            raise ImageError(f"unreadable: {error}") from error
        # Hugging Face's image columns are {bytes, path}.
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise ImageError("the row holds no image")
        return value


def row_group_starts(path: pathlib.Path) -> np.ndarray:
    """First row of each row group of a Parquet file, and the number of rows at the end."""
    refuse_exploding_parquet(path)
    meta = pq.read_metadata(path)
    return np.cumsum([0, *(meta.row_group(i).num_rows for i in range(meta.num_row_groups))])


def _bytes(path: pathlib.Path, max_mib: float = math.inf) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would never end
            raise ImageError("cannot be read: it is no file")
        _check_size(found.st_size, max_mib)  # none becomes smaller
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error
