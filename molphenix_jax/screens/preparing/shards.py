"""The records of a screen, shard by shard, from what earlier stages left in the work folder."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int, UInt8

from molphenix_jax.molecules import featurise
from molphenix_jax.phenomics import ReplicateDraw, aggregate, consistency_of
from molphenix_jax.screens.builders import Record, molecule_records
from molphenix_jax.screens.ties import row_digests
from molphenix_jax.tables.reading.spool import Spool

SHARD_VALUES = 1 << 23  # of replicates: 32 MiB
SHARD_MOLECULES = 1 << 13
_DRAW = ("counts", "order", "starts", "used", "condition")


def shard_bounds(offsets: Int[np.ndarray, " bounds"], width: int) -> list[tuple[int, int]]:
    """First and last perturbation of each shard: of about equal size, in order."""
    per_shard = max(1, SHARD_VALUES // width)
    bounds, first, p = [], 0, len(offsets) - 1
    while first < p:
        last = int(np.searchsorted(offsets, offsets[first] + per_shard, side="right")) - 1
        last = min(max(last, first + 1), p)
        bounds.append((first, last))
        first = last
    return bounds


@dataclasses.dataclass(frozen=True)
class PerturbationShard:
    """Perturbations first to last: yields their records, and leaves their p-values as a file.

    Attributes:
        work: folder that all workers see.
        first: first perturbation.
        last: one past the last.
        corrected: corrected wells.
        truth: corrected wells without noise, if known.
    """

    work: pathlib.Path
    first: int
    last: int
    corrected: Spool
    truth: Spool | None

    def __call__(self) -> Iterator[Record]:
        """The records, in order."""
        ids = np.arange(self.first, self.last)
        offsets = self._array("offsets")[self.first : self.last + 1]
        wells = slice(offsets[0], offsets[-1])
        rows = self._array("row")[wells]
        x = self.corrected[rows]
        draw = _load_draw(self.work)
        with np.load(self.work / "null.npz") as archive:
            null = {_null_key(name): archive[name] for name in archive.files}
        _, p_value = consistency_of(x, ids, draw, null, first_well=offsets[0])
        p_value = p_value.astype(np.float32)
        np.save(_p_value_path(self.work, self.first), p_value)
        columns = {
            name: self._array(name)[self.first : self.last]
            for name in ("molecule", "concentration", "condition")
        }
        group = self._array("group")[wells]
        molecule = columns["molecule"]
        table = molecule_slice(self.work, int(molecule[0]), int(molecule[-1]) + 1)
        smiles, inchikey = (table[name].tolist() for name in ("smiles", "inchikey"))
        truth = None
        if self.truth is not None:
            own = np.repeat(ids - self.first, np.diff(offsets))
            truth = aggregate(self.truth[rows], own, len(ids))
        for i, start, stop in zip(ids - self.first, offsets, offsets[1:], strict=False):
            own, at = slice(start - offsets[0], stop - offsets[0]), int(molecule[i] - molecule[0])
            record = {
                "replicates": x[own],
                "replicate_group": group[own],
                "molecule": molecule[i],
                "smiles": smiles[at],
                "inchikey": inchikey[at],
                "concentration_um": columns["concentration"][i],
                "condition": columns["condition"][i],
                "p_value": p_value[i],
            }
            yield self.first + int(i), record if truth is None else {**record, "truth": truth[i]}

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.work / f"{name}.npy", mmap_mode="r")


@dataclasses.dataclass(frozen=True)
class MoleculeShard:
    """Molecules first to last: featurises them and yields their records.

    Attributes:
        work: folder that all workers see.
        first: first molecule.
        last: one past the last.
        blocks: names of the blocks to compute.
        embeddings: names of the blocks that lie in the work folder.
    """

    work: pathlib.Path
    first: int
    last: int
    blocks: tuple[str, ...]
    embeddings: tuple[str, ...]

    def __call__(self) -> Iterator[Record]:
        """The records, in order."""
        table = molecule_slice(self.work, self.first, self.last)
        blocks = {name: featurise(table["smiles"].tolist(), name) for name in self.blocks}
        for name in self.embeddings:
            rows = np.load(embedding_path(self.work, name), mmap_mode="r")
            blocks[name] = np.array(rows[self.first : self.last])
        if blocks:
            np.save(_digest_path(self.work, self.first), row_digests(list(blocks.values())))
        yield from molecule_records(table, blocks, first=self.first)


def store_index(work: pathlib.Path, arrays: dict[str, np.ndarray], draw: ReplicateDraw) -> None:
    """Puts what perturbation shards need into the work folder.

    `arrays` are offsets, molecule, concentration and condition of the perturbations, and row (in
    the corrected spool) and group of each replicate.
    """
    for name, array in arrays.items():
        np.save(work / f"{name}.npy", array)
    for name in _DRAW:
        np.save(work / f"draw-{name}.npy", getattr(draw, name))
    np.save(work / "draw-n_null.npy", draw.n_null)


def store_null(work: pathlib.Path, null: Mapping[tuple[int, int], np.ndarray]) -> None:
    """Puts the null of each condition and replicate count into the work folder."""
    arrays: dict[str, Any] = {f"{c}-{r}": values for (c, r), values in null.items()}
    np.savez(work / "null.npz", **arrays)


def _null_key(name: str) -> tuple[int, int]:
    condition, _, replicates = name.partition("-")
    return int(condition), int(replicates)


def store_molecules(work: pathlib.Path, molecules: pd.DataFrame) -> None:
    """Puts the molecules into the work folder, where slices of them can be read."""
    table = pa.Table.from_pandas(molecules, preserve_index=False)
    path = str(work / "molecules.arrow")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=SHARD_MOLECULES)


def molecule_slice(work: pathlib.Path, first: int, last: int) -> pd.DataFrame:
    """Molecules first to last."""
    with pa.memory_map(str(work / "molecules.arrow")) as file:
        reader = pa.ipc.open_file(file)
        begin, end = first // SHARD_MOLECULES, -(-last // SHARD_MOLECULES)
        batches = [reader.get_batch(i) for i in range(begin, end)]
        table = pa.Table.from_batches(batches)
        return table.slice(first - begin * SHARD_MOLECULES, last - first).to_pandas()


def embedding_path(work: pathlib.Path, name: str) -> pathlib.Path:
    """Where a block of precomputed embeddings lies."""
    return work / f"embedding-{name}.npy"


def read_p_values(work: pathlib.Path, bounds: Sequence[tuple[int, int]]) -> np.ndarray:
    """The p-values that the shards left."""
    return np.concatenate([np.load(_p_value_path(work, first)) for first, _ in bounds])


def read_digests(work: pathlib.Path, n_molecules: int) -> UInt8[np.ndarray, "m 16"]:
    """The digests of the molecules' features that the shards left; none of a screen without."""
    paths = [_digest_path(work, first) for first in range(0, n_molecules, SHARD_MOLECULES)]
    found = [np.load(path) for path in paths if path.exists()]
    return np.concatenate(found) if found else np.zeros((0, 16), np.uint8)


def _digest_path(work: pathlib.Path, first: int) -> pathlib.Path:
    return work / f"features-{first}.npy"


def _p_value_path(work: pathlib.Path, first: int) -> pathlib.Path:
    return work / f"p-value-{first}.npy"


def _load_draw(work: pathlib.Path) -> ReplicateDraw:
    arrays = {name: np.load(work / f"draw-{name}.npy", mmap_mode="r") for name in _DRAW}
    n_null = int(np.load(work / "draw-n_null.npy"))
    return ReplicateDraw(**arrays, null_wells=(), n_null=n_null, notes=())
