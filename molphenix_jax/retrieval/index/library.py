"""`Index`: a library of molecules as one model sees them."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Float, Float32, Int
from numpy.typing import ArrayLike

from molphenix_jax.retrieval.index import devices, export
from molphenix_jax.retrieval.index.folder import (
    SHARED,
    LibraryError,
    Part,
    need_whole,
    read_parts,
    rejected_of,
)
from molphenix_jax.retrieval.index.search import (
    ROWS,
    Block,
    Found,
    count_above,
    query_blocks,
    search_blocks,
)
from molphenix_jax.retrieval.model import Model
from molphenix_jax.runtime import mesh as meshes

_FITTED_ON = 200_000  # molecules, of cells and codes of an export


def open_index(path: str | pathlib.Path) -> "Index":
    """Opens an index that `molphenix index` made; its embeddings stay on the disk.

    Raises:
        LibraryError: It is not there, not whole, damaged, or of several models.
    """
    path = pathlib.Path(path)
    if path.is_file():
        raise LibraryError(
            f"{path} is a file and no index: molphenix index {path} --model=RUN "
            "--concentrations=1,10 --out=INDEX makes one of a library"
        )
    parts = read_parts(path)
    if not parts:
        raise LibraryError(
            f"{path} is no index: it has no part. molphenix index LIBRARY --out={path} makes one"
        )
    need_whole(path, parts)
    if not sum(part.n_molecules for part in parts):
        raise LibraryError(
            f"{path} holds no molecule: {parts[0].path}/rejected.csv says why each row was left out"
        )
    return Index(path, parts)


class Index:
    """The molecules of one or several libraries, embedded by one model at some doses.

    `len(index)` molecules have numbers from 0, the rows of `molecules`. A molecule that is in
    several shards or libraries counts once, where it comes first.
    """

    def __init__(self, path: pathlib.Path, parts: Sequence[Part]):
        """Of parts that belong together, in order; see `open_index`."""
        self.path, self._parts = path, [part for part in parts if part.n_molecules]
        self._all_parts = parts
        # Numbers of before molecules that are there twice are left out.
        self._starts = np.cumsum([0, *(part.n_molecules for part in self._parts)])
        self._twice = self._repeated()
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """How many molecules there are."""
        return int(self._starts[-1]) - len(self._twice)

    def __repr__(self) -> str:
        doses = ", ".join(f"{dose:.3g}" for dose in self.doses_um)
        told = "".join(f", {name} {value}" for name, value in self.about["conditions"].items())
        return (
            f"molphenix index of {self.path}: {len(self):,} molecules at {doses} µM{told}, "
            f"embedded by {self.about['model']['name']}"
        )

    @property
    def about(self) -> Mapping[str, Any]:
        """`model` (name, digest), `featuriser`, `doses_um`, `conditions`, `width`; `libraries`."""
        libraries = {part.place.source: part.about["library"] for part in self._all_parts}
        shared = {name: self._all_parts[0].about[name] for name in SHARED}
        return {**shared, "libraries": list(libraries.values())}

    @property
    def doses_um(self) -> Float[np.ndarray, " k"]:
        """In µM, in the order of the embeddings."""
        return np.array(self._all_parts[0].about["doses_um"], np.float64)

    @property
    def width(self) -> int:
        """d, the length of an embedding."""
        return int(self._all_parts[0].about["width"])

    @functools.cached_property
    def molecules(self) -> pd.DataFrame:
        """Each with id, smiles (standard), inchikey, scaffold, input_smiles, file and row of it."""
        tables = [part.molecules() for part in self._parts]
        for part, table in zip(self._parts, tables, strict=True):
            table["file"] = part.about["library"]["name"]
        joined = pd.concat(tables, ignore_index=True)
        joined["file"] = joined["file"].astype("category")
        return joined.drop(index=self._twice).reset_index(drop=True)

    @property
    def rejected(self) -> pd.DataFrame:
        """Rows of the libraries that are not in it: file, row, field, value, reason."""
        return pd.concat([rejected_of(part) for part in self._all_parts], ignore_index=True)

    def need_model(self, model: Model) -> None:
        """Stops where an index and a model do not belong together.

        Raises:
            LibraryError: The index was embedded by another model; it names both.
        """
        made_by = self.about["model"]
        if made_by["digest"] != model.digest:
            raise LibraryError(
                f"{self.path} was embedded by {made_by['name']} (weights "
                f"{made_by['digest'][:12]}), not by {model.name} (weights {model.digest[:12]}): "
                "give the model that made the index, or index the library with this one"
            )

    def embeddings(self, rows: Int[np.ndarray, " m"] | ArrayLike) -> Float32[np.ndarray, "m k d"]:
        """Unit vectors of some molecules at each dose.

        Raises:
            IndexError: There is no such molecule.
        """
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"molecules have numbers from 0 to {len(self) - 1}")
        at = self._before(rows)
        part = np.searchsorted(self._starts, at, side="right") - 1
        found = np.empty((len(rows), len(self.doses_um), self.width), np.float32)
        for number in np.unique(part):
            here = part == number
            found[here] = self._map(number)[at[here] - self._starts[number]]
        return found

    def scores(
        self, queries: Float[np.ndarray, "q d"] | ArrayLike, rows: Int[np.ndarray, " m"] | ArrayLike
    ) -> Float32[np.ndarray, "q m k"]:
        """Cosines of queries and chosen molecules at each dose: dose curves.

        Raises:
            LibraryError: Queries of another width, or not finite.
        """
        return np.einsum("qd,mkd->qmk", self._queries(queries), self.embeddings(rows))

    def search(
        self,
        queries: Float[np.ndarray, "q d"] | ArrayLike,
        *,
        top: int = 100,
        best_dose: bool = True,
        mesh: Mesh | None = None,
    ) -> Found:
        """The molecules of the highest cosine to each query; exact.

        Args:
            queries: Embeddings of profiles.
            top: How many for each.
            best_dose: A molecule comes once, at its best dose; else each dose is an entry.
            mesh: Devices to search on; None: all accelerators, on a machine without them the CPU.

        Raises:
            LibraryError: Queries of another width, or not finite.
        """
        z = self._queries(queries)
        doses = len(self.doses_um)
        top = min(top, len(self) * (1 if best_dose else doses))
        if top < 1:
            raise LibraryError(f"top={top}: at least 1")
        if mesh is None and jax.default_backend() != "cpu":
            mesh = meshes.make_mesh()

        def of(some: np.ndarray) -> Found:
            if mesh is None:
                return search_blocks(
                    self._blocks(), some, top=top, doses=doses, best_dose=best_dose
                )
            size = max(devices.ROWS // doses, 1) * mesh.devices.size
            return devices.search_on_devices(
                self._blocks(size), some, top=top, size=size, best_dose=best_dose, mesh=mesh
            )

        found = [of(z[some]) for some in query_blocks(len(z))]
        if not found:
            nothing = np.zeros((0, top))
            return Found(nothing.astype(np.float32), nothing.astype(int), nothing.astype(int))
        scores, molecule, dose = (np.concatenate(each) for each in zip(*found, strict=True))
        return Found(scores, self._after(molecule), dose)

    def percentile(
        self,
        queries: Float[np.ndarray, "q d"] | ArrayLike,
        scores: Float[np.ndarray, "q t"] | ArrayLike,
    ) -> Float[np.ndarray, "q t"]:
        """Share of the library that scores above, each molecule at its best dose.

        Args:
            queries: Embeddings of profiles.
            scores: Cosines of each query.

        Returns:
            From 0 (nothing is better) to 1.

        Raises:
            LibraryError: Queries of another width, or not finite.
        """
        z, wanted = self._queries(queries), np.asarray(scores, np.float64)
        if wanted.ndim != 2 or len(wanted) != len(z):
            raise LibraryError(f"scores: [{len(z)}, t], a row for each query, not {wanted.shape}")
        above = [count_above(self._blocks(), z[s], wanted[s]) for s in query_blocks(len(z))]
        return np.concatenate(above) / len(self) if above else np.zeros(wanted.shape)

    def export_faiss(self, path: str | pathlib.Path, *, factory: str = "") -> str:
        """Writes the embeddings as an index of FAISS, for approximate search in very many.

        A molecule at a dose has there the id molecule · k + dose.

        Args:
            path: Of the file.
            factory: What `faiss.index_factory` takes: "IVF4096,Flat", "HNSW32", "IVF65536,PQ64";
                empty: an inverted file.

        Returns:
            The factory's string.

        Raises:
            MissingExtraError: FAISS is not installed.
            LibraryError: FAISS makes no such index.
            StorageError: The file cannot be written.
        """
        n = len(self) * len(self.doses_um)
        factory = factory or f"IVF{export.cells_of(n)},Flat"
        rows = np.unique(np.linspace(0, len(self) - 1, _FITTED_ON).astype(int))
        sample = self.embeddings(rows).reshape(-1, self.width)
        export.write_faiss(pathlib.Path(path), export.make_faiss(self._vectors(), sample, factory))
        return factory

    def export_usearch(self, path: str | pathlib.Path) -> None:
        """Writes the embeddings as an index of usearch, with ids as of `export_faiss`.

        Args:
            path: Of the file.

        Raises:
            MissingExtraError: usearch is not installed.
            StorageError: The file cannot be written.
        """
        made = export.make_usearch(self._vectors(), self.width)
        export.write_usearch(pathlib.Path(path), made)

    def _vectors(self) -> Iterator[Float32[np.ndarray, "e d"]]:
        """All embeddings in the order of molecules and doses."""
        for block in self._blocks():
            kept = np.delete(np.arange(len(block.embeddings)), block.dropped)
            yield block.embeddings[kept].reshape(-1, self.width)

    def _blocks(self, size: int = 0) -> Iterator[Block]:
        size = size or max(ROWS // len(self.doses_um), 1)
        for number, part in enumerate(self._parts):
            embeddings, first = self._map(number), int(self._starts[number])
            for start in range(0, part.n_molecules, size):
                some = embeddings[start : start + size]
                at = first + start
                low, high = np.searchsorted(self._twice, [at, at + len(some)])
                yield Block(at, some, self._twice[low:high] - at)

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            self._maps[number] = self._parts[number].embeddings()
        return self._maps[number]

    def _queries(self, given: Any) -> Float32[np.ndarray, "q d"]:
        z = np.asarray(given, np.float32)
        if z.ndim != 2 or z.shape[1] != self.width:
            raise LibraryError(
                f"queries: [q, {self.width}] as the index's model gives, not {z.shape}"
            )
        if not np.isfinite(z).all():
            bad = int(np.flatnonzero(~np.isfinite(z).all(axis=1))[0])
            raise LibraryError(f"queries: row {bad} has NaN or infinite values: leave it out")
        return z

    def _repeated(self) -> Int[np.ndarray, " x"]:
        """Numbers of molecules that came before; within a shard its job has seen to that."""
        jobs = {(part.place.source, part.place.shard) for part in self._parts}
        if len(jobs) == 1:
            return np.zeros(0, np.int64)
        keys = pd.concat([part.molecules(["inchikey"]) for part in self._parts])["inchikey"]
        return np.flatnonzero(keys.duplicated().to_numpy())

    def _after(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers without those that are there twice, of numbers with them; -1 stays."""
        return numbers - np.searchsorted(self._twice, numbers)

    def _before(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers with those that are there twice, of numbers without them."""
        # The i-th of `_twice` has this many others before it.
        others = self._twice - np.arange(len(self._twice))
        return numbers + np.searchsorted(others, numbers, side="right")
