"""CORAL: the axes along which a group's controls are brought to the covariance of all.

Source: docs/method.md §8. (cov + ridge I)^-1/2 is kept as ridge^-1/2 I + axes' diag(gain) axes. The
covariance of n wells has rank n - 1: its own axes are all that has to be kept, where a [k, k]
matrix for each of a thousand plates would not fit.
"""

import pathlib
from collections.abc import Iterator
from typing import IO

import numpy as np
from jaxtyping import Float

from molphenix_jax.tables.rows import Chunks, RowsOnDisk, chunk_rows

CORAL_RIDGE = 0.5


class Scatter:
    """Centred wells as they come in: their number, their squares, and what CORAL needs of them."""

    def __init__(self, width: int):
        self.n, self.squares = 0, np.zeros(width)
        self._width, self._size = width, max(width, chunk_rows(width))
        self._held: list[np.ndarray] = []
        self._products: np.ndarray | None = None

    def add(self, centred: Float[np.ndarray, "n k"]) -> None:
        """Takes wells in; hundreds of small groups are not hundreds of matrix products."""
        self.n += len(centred)
        self.squares += np.square(centred).sum(axis=0)
        self._held.append(centred)
        if sum(map(len, self._held)) >= self._size:
            self._multiply()

    def _multiply(self) -> np.ndarray:
        rows = np.concatenate([np.zeros((0, self._width)), *self._held])
        self._held = []
        products = rows.T @ rows
        self._products = products if self._products is None else self._products + products
        return self._products

    def coral(self) -> tuple[Float[np.ndarray, "r k"], Float[np.ndarray, "r"]]:
        """Axes and gains of the wells taken in."""
        divisor = max(self.n - 1, 1)
        if self._products is None and self.n <= self._width:
            rows = np.concatenate([np.zeros((0, self._width)), *self._held])
            _, singular, axes = np.linalg.svd(rows / np.sqrt(divisor), full_matrices=False)
            variance = singular**2
        else:
            variance, columns = np.linalg.eigh(self._multiply() / divisor)
            variance, axes = np.maximum(variance, 0.0), columns.T
        return axes, (variance + CORAL_RIDGE) ** -0.5 - CORAL_RIDGE**-0.5


def scatter_of(centred: Chunks, width: int) -> Scatter:
    """The scatter of the wells of one group."""
    scatter = Scatter(width)
    for chunk in centred():
        scatter.add(chunk)
    return scatter


class Axes:
    """The axes of one group after the other, in memory or in a file."""

    def __init__(self, path: pathlib.Path | None, width: int):
        self._file = RowsOnDisk(path, width) if path else None
        self._held: list[np.ndarray] = [np.zeros((0, width))]
        self._gains: list[np.ndarray] = []
        if path:
            path.write_bytes(b"")

    def add(self, scatter: Scatter) -> None:
        """Appends the axes of the next group."""
        axes, gain = scatter.coral()
        self._gains.append(gain)
        if self._file:
            self._file.append(axes)
        else:
            self._held.append(axes)

    def fields(self) -> dict[str, np.ndarray | RowsOnDisk]:
        """The fields of a `Correction`."""
        gains = self._gains or [np.zeros(0)]
        return {
            "coral_axes": self._file or np.concatenate(self._held),
            "coral_gain": np.concatenate(gains),
            "coral_start": np.cumsum([0, *map(len, gains)]),
        }


def write_npy(file: IO[bytes], rows: RowsOnDisk) -> None:
    """Writes rows from disk in NumPy's format, chunk by chunk."""
    header = {"descr": "<f8", "fortran_order": False, "shape": rows.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for chunk in _slices(rows):
        file.write(chunk.tobytes())


def _slices(rows: RowsOnDisk) -> Iterator[np.ndarray]:
    step = chunk_rows(rows.width)
    for start in range(0, rows.shape[0], step):
        yield rows[start : start + step]
