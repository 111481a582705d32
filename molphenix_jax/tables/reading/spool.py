"""Embeddings on disk between two stages: raw float32 rows in part files, read by their numbers."""

import bisect
import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass
class Spool:
    """Rows of `width` float32 numbers, numbered through all part files in their order."""

    paths: list[pathlib.Path]
    width: int
    _starts: list[int] = dataclasses.field(default_factory=list, init=False)

    def __post_init__(self):
        self._starts = [0]
        for path in self.paths:
            self._starts.append(self._starts[-1] + path.stat().st_size // (4 * self.width))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, width)."""
        return self._starts[-1], self.width

    @property
    def starts(self) -> list[int]:
        """First row of each part, and the end."""
        return self._starts

    def __getitem__(self, ids: Any) -> Float[np.ndarray, "*n d"]:
        ids = np.asarray(ids)
        flat = ids.ravel()
        out = np.empty((len(flat), self.width), np.float32)
        # In the order of the file; each part is mapped only while it is read, so that its pages do
        # not count as this process's memory afterwards.
        order = np.argsort(flat, kind="stable")
        ordered, at = flat[order], 0
        while at < len(ordered):
            part = bisect.bisect_right(self._starts, int(ordered[at])) - 1
            end = int(np.searchsorted(ordered, self._starts[part + 1]))
            own = ordered[at:end] - self._starts[part]
            rows = np.memmap(self.paths[part], np.float32, "r").reshape(-1, self.width)
            out[order[at:end]] = rows[own]
            at = end
        return out.reshape(*ids.shape, self.width)

    def add(self, path: pathlib.Path) -> Int[np.ndarray, " n"]:
        """Takes another part file; returns the numbers of its rows."""
        start = self._starts[-1]
        self.paths.append(path)
        self._starts.append(start + path.stat().st_size // (4 * self.width))
        return np.arange(start, self._starts[-1])


@dataclasses.dataclass(frozen=True)
class SpooledRows:
    """Some rows and columns of a spool, as an array would give them.

    Attributes:
        spool: Where they lie.
        rows: Number in the spool of each row.
        columns: Columns that are seen; None sees all.
    """

    spool: Spool
    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " d"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.rows), self.spool.width if self.columns is None else len(self.columns)

    def __getitem__(self, ids: Any) -> Float[np.ndarray, "*n d"]:
        read = self.spool[self.rows[ids]]
        return read if self.columns is None else np.ascontiguousarray(read[..., self.columns])
