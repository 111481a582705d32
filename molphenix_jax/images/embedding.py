"""Fields through an encoder, in parts that survive a kill.

A part is a fixed number of fields. Its crops fill batches of one shape, the last one padded, and
no batch crosses the border of a part; so what a part holds depends on its own fields alone, and a
job that was killed and started again gives the same bits. Threads read ahead of the encoder.
"""

import collections
import concurrent.futures
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int, UInt8

from molphenix_jax.images.fields import Field, FieldReader, ImagesError, Rejection, reject
from molphenix_jax.images.files import ImageError
from molphenix_jax.phenomics import CropConfig, CropError, aggregate, field_crops
from molphenix_jax.storage import new_file

# Seconds between two lines on how far it is.
_SAY_EVERY_S = 15.0


class Encode(Protocol):
    """An encoder for batches of one shape."""

    def __call__(self, crops: UInt8[np.ndarray, "b c s s"]) -> Any:
        """Embeddings [b, d], as an array that may still be computing."""
        ...


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """How fields go through the encoder.

    Attributes:
        crop: How a field becomes crops.
        batch_size: Crops in a batch.
        part_fields: Fields in a part.
        threads: Threads that read and crop.
    """

    crop: CropConfig
    batch_size: int
    part_fields: int
    threads: int


@dataclasses.dataclass(frozen=True)
class FieldEmbeddings:
    """What came out. f fields.

    Attributes:
        at: Position in the list of fields of each embedded one.
        embedding: Mean over the crops of each.
        rejected: Fields that could not be used.
        n_crops: Crops in all.
    """

    at: Int[np.ndarray, " f"]
    embedding: Float[np.ndarray, "f d"]
    rejected: tuple[Rejection, ...]
    n_crops: int


def embed_fields(
    fields: Sequence[Field],
    read: FieldReader,
    encode: Encode,
    config: EmbedConfig,
    folder: pathlib.Path,
    *,
    say: Callable[[str], None],
) -> FieldEmbeddings:
    """Embeds fields part by part; parts that are in `folder` already are not computed again.

    Args:
        fields: In the order in which they are read best.
        read: Reader, told the usual shape.
        encode: Encoder.
        config: Sizes.
        folder: Of the parts.
        say: Is told how far it is.

    Raises:
        ImagesError: A part cannot be read.
    """
    n_parts = -(-len(fields) // config.part_fields)
    missing = [i for i in range(n_parts) if not _part_path(folder, i).exists()]
    if len(missing) < n_parts:
        say(f"{n_parts - len(missing):,} of {n_parts:,} parts are there already")

    def members(part: int) -> range:
        start = part * config.part_fields
        return range(start, min(start + config.part_fields, len(fields)))

    def cropped(i: int) -> UInt8[np.ndarray, "k c s s"] | Rejection:
        try:
            return field_crops(read(fields[i]), config.crop)
        except ImageError as error:
            return reject(fields[i], str(error), error.source)
        except CropError as error:
            return reject(fields[i], str(error))

    wanted = (i for part in missing for i in members(part))
    progress = _Rate(sum(len(members(part)) for part in missing), say)
    with concurrent.futures.ThreadPoolExecutor(config.threads) as pool:
        stream = in_order(cropped, wanted, pool, ahead=2 * config.threads + 2)
        for part in missing:
            batches = _Batches(encode, config.batch_size)
            rejected: dict[int, Rejection] = {}
            for i in members(part):
                crops = next(stream)
                if isinstance(crops, Rejection):
                    rejected[i] = crops
                    progress.field(0)
                else:
                    batches.add(i, crops)
                    progress.field(len(crops))
            at, n_crops, embedding = batches.finish()
            finite = np.isfinite(embedding).all(axis=1)
            for i in at[~finite].tolist():
                rejected[i] = reject(fields[i], "its embedding is not finite")
            rows = (at[finite], n_crops[finite], embedding[finite])
            _write_part(_part_path(folder, part), *rows, rejected)
    progress.done()
    return _read_parts(folder, n_parts, fields)


def in_order(
    function: Callable[[Any], Any],
    items: Iterator[Any],
    pool: concurrent.futures.Executor,
    *,
    ahead: int,
) -> Iterator[Any]:
    """Results of a function over items, in their order, computed at most `ahead` items early."""
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Batches:
    """Fills batches of one size with the crops of fields; the mean of each field comes back."""

    def __init__(self, encode: Encode, size: int):
        self._encode, self._size = encode, size
        self._crops: list[np.ndarray] = []
        self._of_crop: list[int] = []
        self._results: list[Any] = []

    def add(self, i: int, crops: UInt8[np.ndarray, "k c s s"]) -> None:
        """Adds the crops of field i; encodes what fills a batch."""
        self._crops += list(crops)
        self._of_crop += [i] * len(crops)
        while len(self._crops) >= self._size:
            self._results.append(self._encode(np.stack(self._crops[: self._size])))
            del self._crops[: self._size]

    def finish(
        self,
    ) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " f"], Float[np.ndarray, "f d"]]:
        """Fields in their order, the crops of each, and their mean embeddings."""
        if self._crops:
            padded = np.zeros((self._size, *self._crops[0].shape), self._crops[0].dtype)
            padded[: len(self._crops)] = self._crops
            self._results.append(self._encode(padded))
            self._crops = []
        if not self._results:
            return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 0), np.float32)
        embedding = np.concatenate([np.asarray(r) for r in self._results])[: len(self._of_crop)]
        at, row, counts = np.unique(self._of_crop, return_inverse=True, return_counts=True)
        return at, counts, aggregate(embedding, row, len(at))


class _Rate:
    """Says fields and crops per second now and then."""

    def __init__(self, total: int, say: Callable[[str], None]):
        self._total, self._say = total, say
        self._fields = self._crops = 0
        self._began = self._said = time.monotonic()

    def field(self, crops: int) -> None:
        """One field more."""
        self._fields += 1
        self._crops += crops
        now = time.monotonic()
        if now - self._said > _SAY_EVERY_S:
            self._said = now
            left = (now - self._began) / self._fields * (self._total - self._fields)
            self._say(f"{self._fields:,} of {self._total:,} fields, {left:.0f} s left")

    def done(self) -> None:
        """The whole."""
        if self._fields:
            seconds = time.monotonic() - self._began
            self._say(
                f"{self._fields:,} fields, {self._crops:,} crops in {seconds:.1f} s: "
                f"{self._fields / seconds:.2f} fields/s, {self._crops / seconds:.2f} images/s "
                "(crops), compilation included"
            )


def _part_path(folder: pathlib.Path, part: int) -> pathlib.Path:
    return folder / f"part-{part:06d}.parquet"


def _write_part(
    path: pathlib.Path,
    at: Int[np.ndarray, " f"],
    n_crops: Int[np.ndarray, " f"],
    embedding: Float[np.ndarray, "f d"],
    rejected: dict[int, Rejection],
) -> None:
    n = len(rejected)
    table = pa.table(
        {
            "at": pa.array([*at.tolist(), *rejected], pa.int64()),
            "n_crops": pa.array([*n_crops.tolist(), *([0] * n)], pa.int64()),
            "embedding": pa.array([*embedding, *([None] * n)], pa.list_(pa.float32())),
            "file": pa.array([*([""] * len(at)), *(r.file for r in rejected.values())]),
            "reason": pa.array([*([""] * len(at)), *(r.reason for r in rejected.values())]),
        }
    )
    with new_file(path) as private:
        pq.write_table(table, private)


def _read_parts(folder: pathlib.Path, n_parts: int, fields: Sequence[Field]) -> FieldEmbeddings:
    at: list[np.ndarray] = []
    embedding: list[np.ndarray] = []
    rejected: list[Rejection] = []
    n_crops = 0
    for part in range(n_parts):
        path = _part_path(folder, part)
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise ImagesError(f"{path}: damaged; delete it and start again") from error
        good = table.filter(pc.field("reason") == "")
        n_crops += int(good.column("n_crops").to_numpy().sum())
        if good.num_rows:
            at.append(good.column("at").to_numpy())
            lists = good.column("embedding").combine_chunks()
            embedding.append(lists.flatten().to_numpy().reshape(good.num_rows, -1))
        for row in table.filter(pc.field("reason") != "").to_pylist():
            blamed = reject(fields[row["at"]], row["reason"])
            rejected.append(blamed._replace(file=row["file"]))
    if not at:
        raise ImagesError(
            f"none of {len(fields)} fields could be used; the first is {rejected[0].file}: "
            f"{rejected[0].reason}"
        )
    return FieldEmbeddings(np.concatenate(at), np.concatenate(embedding), tuple(rejected), n_crops)
