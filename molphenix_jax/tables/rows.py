"""Embeddings that need not be in memory: an array, or whatever gives rows by their numbers."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int, Num

# Values of one chunk: 32 MiB as float64. All statistics of controls go through chunks.
CHUNK_VALUES = 1 << 22


class Rows(Protocol):
    """n embeddings of width d; `rows[ids]` reads some of them. A NumPy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __getitem__(self, ids: Any, /) -> np.ndarray:
        """The embeddings with these numbers, in this order."""
        ...


@dataclasses.dataclass(frozen=True)
class RowsThrough:
    """Rows by what a function of them and a number of each makes of them.

    Attributes:
        x: The rows.
        number: Of each row.
        of: Embeddings and their numbers → embeddings of the same width.
    """

    x: Rows
    number: Int[np.ndarray, " n"]
    of: Callable[[np.ndarray, np.ndarray], np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return self.x.shape

    def __getitem__(self, ids: Any, /) -> np.ndarray:
        """The embeddings with these numbers, in this order."""
        return self.of(self.x[ids], self.number[ids])


# Chunks that can be gone through again, for statistics that need two passes.
Chunks = Callable[[], Iterator[Float[np.ndarray, "n d"]]]


def chunk_rows(width: int) -> int:
    """Rows of one chunk of embeddings of this width."""
    return max(1, CHUNK_VALUES // max(1, width))


def chunked(
    x: Rows,
    ids: Int[np.ndarray, " n"],
    transform: Callable[[np.ndarray], np.ndarray] = lambda rows: rows.astype(np.float64),
) -> Chunks:
    """Transformed chunks of some rows of x, in order.

    Where they are one chunk it is read and transformed once, else anew on every pass.
    """
    size = chunk_rows(x.shape[1])
    if len(ids) <= size:
        only = transform(x[ids])
        return lambda: iter((only,))
    starts = range(0, len(ids), size)
    return lambda: (transform(x[ids[start : start + size]]) for start in starts)


def total(chunks: Chunks) -> tuple[int, Num[np.ndarray, "d"]]:
    """Number of rows and their sum."""
    n, sums = 0, None
    for chunk in chunks():
        part = chunk.sum(axis=0)
        n, sums = n + len(chunk), part if sums is None else sums + part
    assert sums is not None, "chunked() gives at least one chunk"
    return n, sums


def mean_and_spread(chunks: Chunks) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"]]:
    """Mean and standard deviation (ddof 0) of each column, in two passes."""
    n, sums = total(chunks)
    mean = sums / n
    _, squares = total(lambda: (np.square(chunk - mean) for chunk in chunks()))
    return mean, np.sqrt(squares / n)


@dataclasses.dataclass(frozen=True)
class RowsOnDisk:
    """A float64 matrix in a raw file, of which slices of rows are read."""

    path: pathlib.Path
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.path.stat().st_size // (8 * self.width), self.width

    def __getitem__(self, rows: slice) -> Float[np.ndarray, "n d"]:
        start, stop, _ = rows.indices(self.shape[0])
        n = max(0, stop - start)
        values = np.fromfile(self.path, np.float64, n * self.width, offset=8 * start * self.width)
        return values.reshape(n, self.width)

    def append(self, rows: Float[np.ndarray, "n d"]) -> None:
        """Writes more rows at the end; the file is made if it is not there."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, np.float64).data)
