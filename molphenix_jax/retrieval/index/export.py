"""An index written for FAISS or usearch, whose approximate search suits 10⁸ molecules and more."""

import importlib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32

from molphenix_jax import extras, storage
from molphenix_jax.retrieval.index.folder import LibraryError

_PER_CELL = 40  # vectors that a cell of an inverted file is fitted on


def cells_of(n: int) -> int:
    """Cells of an inverted file of n vectors, as FAISS's guide has it."""
    return int(np.clip(4 * np.sqrt(n), 1, min(65_536, max(n // _PER_CELL, 1))))


def load_faiss(what: str) -> Any:
    """FAISS.

    Raises:
        MissingExtraError: It is not installed.
    """
    return extras.load("faiss", extra="faiss", what=what)


def make_faiss(
    vectors: Iterable[Float32[np.ndarray, "e d"]],
    sample: Float32[np.ndarray, "s d"],
    factory: str,
) -> Any:
    """An index of FAISS by inner product; ids count the vectors from 0.

    Args:
        vectors: In blocks.
        sample: Some of them, to fit cells or codes on.
        factory: What `faiss.index_factory` takes.

    Raises:
        MissingExtraError: FAISS is not installed.
        LibraryError: There is no such index, or the sample is too small for it.
    """
    faiss = load_faiss("an index of FAISS")
    try:
        made = faiss.index_factory(sample.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not made.is_trained:
            made.train(np.ascontiguousarray(sample))
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2].strip() or "unknown"
        raise LibraryError(
            f"FAISS makes no index {factory!r} of these vectors ({reason}): IVF1024,Flat, HNSW32 "
            "and the like are in its guide"
        ) from error
    for some in vectors:
        made.add(np.ascontiguousarray(some))
    return made


def load_usearch(what: str) -> Any:
    """The module of usearch's index.

    Raises:
        MissingExtraError: It is not installed.
    """
    extras.load("usearch", extra="usearch", what=what)
    return importlib.import_module("usearch.index")


def make_usearch(vectors: Iterable[Float32[np.ndarray, "e d"]], width: int) -> Any:
    """A graph of usearch by inner product, as it sets it up; keys count the vectors from 0.

    Args:
        vectors: In blocks.
        width: d.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    usearch, first = load_usearch("an index of usearch"), 0
    made = usearch.Index(ndim=width, metric="ip", dtype="f32")
    for some in vectors:
        made.add(np.arange(first, first + len(some), dtype=np.uint64), np.ascontiguousarray(some))
        first += len(some)
    return made


def write_usearch(path: pathlib.Path, made: Any) -> None:
    """Writes an index of usearch.

    Raises:
        StorageError: It cannot be written.
    """
    _write(path, made.save)


def write_faiss(path: pathlib.Path, made: Any) -> None:
    """Writes an index of FAISS.

    Raises:
        StorageError: It cannot be written.
    """
    faiss = load_faiss("an index of FAISS")
    _write(path, lambda private: faiss.write_index(made, private))


def _write(path: pathlib.Path, write: Callable[[str], Any]) -> None:
    with storage.new_file(path) as private:
        try:
            write(str(private))
        except RuntimeError as error:  # what both raise of a disk that refuses
            raise OSError(str(error)) from error
