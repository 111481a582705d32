"""The stage that corrects wells: rows of a spool in, corrected rows of treated wells out."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from molphenix_jax.phenomics import Correction, RowsOnDisk
from molphenix_jax.stages import run_stage
from molphenix_jax.tables.reading.spool import Spool, SpooledRows

ITEM_ROWS = 1 << 16
_CHUNK_VALUES = 1 << 21  # corrected in float64: 16 MiB at a time


@dataclasses.dataclass(frozen=True)
class Correct:
    """Corrects one item of wells: `correct(i)` writes a part file.

    Wells are taken in the order of the file that they come from, where those of a plate lie beside
    each other: an item then needs the statistics of few plates.

    Attributes:
        work: folder that all workers see; holds the statistics, rows and groups of the wells.
        name: what the files written begin with.
        spool: what is corrected.
        columns: features in use.
        groups: names of the correction groups, by the numbers in the work folder.
        shifted: whether each group's offset is added first.
    """

    work: pathlib.Path
    name: str
    spool: Spool
    columns: Int[np.ndarray, " d"]
    groups: tuple[str, ...]
    shifted: bool

    def __call__(self, item: int) -> None:
        """Corrects one item, a chunk at a time."""
        correction = _load(self.work)
        start = item * ITEM_ROWS
        rows = np.load(self.work / "treated-row.npy", mmap_mode="r")[start : start + ITEM_ROWS]
        code = np.load(self.work / "treated-group.npy", mmap_mode="r")[start : start + ITEM_ROWS]
        x = SpooledRows(self.spool, np.array(rows), self.columns)
        offset = np.load(self.work / "offset.npy", mmap_mode="r") if self.shifted else None
        step = max(1, _CHUNK_VALUES // len(self.columns))
        with self._path(item).open("wb") as out:
            for at in range(0, len(rows), step):
                part = slice(at, at + step)
                group = pd.Categorical.from_codes(code[part], list(self.groups))
                embedding = x[part] if offset is None else x[part] + offset[code[part]]
                out.write(np.ascontiguousarray(correction.apply(embedding, group)).data)

    def run(self, n: int, beam_options: Sequence[str]) -> Spool:
        """Corrects all n wells."""
        n_items = -(-n // ITEM_ROWS)
        run_stage(self, n_items, beam_options=beam_options)
        return Spool([self._path(i) for i in range(n_items)], len(self.columns))

    def _path(self, item: int) -> pathlib.Path:
        return self.work / f"{self.name}-{item:05d}.f32"


def store_statistics(
    work: pathlib.Path,
    correction: Correction,
    rows: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    offset: Float[np.ndarray, "g d"] | None,
) -> None:
    """Puts what `Correct` needs into the work folder.

    Args:
        work: the folder.
        correction: fitted; its CORAL axes may lie in the folder already.
        rows: number in the spool of each well, ascending.
        group: number of each well's group.
        offset: what is added to the wells of a group; None for nothing.
    """
    axes = correction.coral_axes
    if isinstance(axes, RowsOnDisk):
        correction = dataclasses.replace(correction, coral_axes=np.zeros((0, axes.width)))
    correction.save(work / "statistics.npz")
    np.save(work / "treated-row.npy", rows)
    np.save(work / "treated-group.npy", group.astype(np.int32))
    if offset is not None:
        np.save(work / "offset.npy", offset)


def axes_path(work: pathlib.Path) -> pathlib.Path:
    """Where the CORAL axes of a screen lie while it is prepared."""
    return work / "axes.f64"


def _load(work: pathlib.Path) -> Correction:
    correction = Correction.load(work / "statistics.npz")
    if len(correction.coral_axes) or not axes_path(work).exists():  # pyright: ignore[reportArgumentType]
        return correction
    axes = RowsOnDisk(axes_path(work), correction.coral_axes.shape[1])
    return dataclasses.replace(correction, coral_axes=axes)
