"""Exact search: the best of a library for each query, block by block.

A block of the library meets a block of queries in one matrix product. Of its scores only those
above the query's worst kept one are looked at, which after the first blocks are few; so the time is
that of the product, and memory is that of a block however many queries and molecules there are.
Equal scores go to the lower molecule, then the lower dose.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

QUERIES, ROWS = 1024, 4096  # of a block; rows are those of a library, a molecule at a dose


class Found(NamedTuple):
    """The best of a library for each of q queries, best first.

    Attributes:
        scores: Cosines; -inf where the library has no more molecules.
        molecule: Their numbers in the library; -1 there.
        dose: Number of the dose; -1 there.
    """

    scores: Float32[np.ndarray, "q top"]
    molecule: Int[np.ndarray, "q top"]
    dose: Int[np.ndarray, "q top"]


class Block(NamedTuple):
    """Some molecules of a library that follow one another.

    Attributes:
        start: Number of the first.
        embeddings: Unit vectors.
        dropped: Which of them do not count, from the first of the block; often none.
    """

    start: int
    embeddings: Float32[np.ndarray, "b k d"]
    dropped: Int[np.ndarray, " x"]


def query_blocks(n: int) -> Iterator[slice]:
    """Queries that are searched for together."""
    return (slice(start, min(start + QUERIES, n)) for start in range(0, n, QUERIES))


def search_blocks(
    blocks: Iterable[Block],
    queries: Float32[np.ndarray, "q d"],
    *,
    top: int,
    doses: int,
    best_dose: bool,
) -> Found:
    """The best of some blocks for a block of queries.

    Args:
        blocks: In the order of their numbers.
        queries: Unit vectors.
        top: How many for each query.
        doses: k, of each molecule.
        best_dose: A molecule comes once, at its best dose; else each dose is an entry of its own.
    """
    best = _Best(len(queries), top, doses, best_dose)
    scores = _Scores(queries)
    for block in blocks:
        best.add(scores.of(block), block.start)
    return best.found()


def count_above(
    blocks: Iterable[Block],
    queries: Float32[np.ndarray, "q d"],
    thresholds: Float[np.ndarray, "q t"],
) -> Int[np.ndarray, "q t"]:
    """How many molecules score above each threshold at their best dose."""
    n_queries, n = thresholds.shape
    order = np.argsort(thresholds, axis=1)
    ascending = np.take_along_axis(thresholds, order, axis=1).astype(np.float32)
    passed = np.zeros((n_queries, n + 1), np.int64)
    scores = _Scores(queries)
    for block in blocks:
        best = scores.of(block).max(axis=0)
        for i in range(n_queries):
            below = np.searchsorted(ascending[i], best[i], side="left")
            passed[i] += np.bincount(below, minlength=n + 1)
    # A score that lies above j thresholds counts for the first j.
    above = passed.sum(axis=1, keepdims=True) - np.cumsum(passed, axis=1)[:, :n]
    counts = np.empty((n_queries, n), np.int64)
    np.put_along_axis(counts, order, above, axis=1)
    return counts


class _Scores:
    """Cosines of queries and blocks, in memory that is used again for the next block."""

    def __init__(self, queries: Float32[np.ndarray, "q d"]):
        self._queries, self._memory = queries, np.zeros(0, np.float32)

    def of(self, block: Block) -> Float32[np.ndarray, "k q b"]:
        """For each dose; -inf of molecules that do not count."""
        n, doses, _ = block.embeddings.shape
        size = doses * len(self._queries) * n
        if len(self._memory) < size:
            self._memory = np.empty(size, np.float32)
        scores = self._memory[:size].reshape(doses, len(self._queries), n)
        for dose in range(doses):
            np.matmul(self._queries, block.embeddings[:, dose].T, out=scores[dose])
        if len(block.dropped):
            scores[:, :, block.dropped] = -np.inf
        return scores


def _few(mask: Bool[np.ndarray, "..."]) -> tuple[np.ndarray, ...]:
    """As `numpy.nonzero`, for a mask that has few: eight at a time are looked at first."""
    flat = mask.reshape(-1)
    whole = len(flat) // 8 * 8
    eights = np.flatnonzero(flat[:whole].view(np.uint64))
    inside = (eights[:, None] * 8 + np.arange(8)).reshape(-1)
    rest = np.arange(whole, len(flat))
    places = np.concatenate([inside[flat[inside]], rest[flat[rest]]])
    return np.unravel_index(places, mask.shape)


class _Best:
    """The best entries so far; candidates wait until there are enough to be worth a sort."""

    def __init__(self, queries: int, top: int, doses: int, best_dose: bool):
        self._top, self._doses, self._best_dose = top, doses, best_dose
        self._scores = np.full((queries, top), -np.inf, np.float32)
        self._entry = np.full((queries, top), -1, np.int64)  # molecule · doses + dose
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_waiting = 0

    def add(self, scores: Float32[np.ndarray, "k q b"], start: int) -> None:
        """Scores of a block whose first molecule has this number."""
        worst = self._scores[:, -1:]
        if np.isneginf(worst).any() and scores.shape[2] >= self._top:
            # Of the best doses: `top` entries of one dose or another may be fewer molecules.
            best = scores.max(axis=0)
            at = best.shape[1] - self._top
            worst = np.maximum(worst, np.partition(best, at, axis=1)[:, at : at + 1])
            self._take(scores, start, scores >= worst)
        else:
            self._take(scores, start, scores > worst)

    def _take(self, scores: np.ndarray, start: int, wanted: np.ndarray) -> None:
        if self._best_dose:
            some = wanted[0] if len(wanted) == 1 else np.logical_or.reduce(wanted)
            query, column = _few(some)
            of_doses = scores[:, query, column]
            dose = of_doses.argmax(axis=0)
            found = of_doses[dose, np.arange(len(query))]
        else:
            query, column, dose = _few(np.ascontiguousarray(wanted.transpose(1, 2, 0)))
            found = scores[dose, query, column]
        real = found > -np.inf
        entry = (start + column) * self._doses + dose
        self._waiting.append((query[real], entry[real], found[real]))
        self._n_waiting += len(query)
        if self._n_waiting >= self._scores.size:
            self._merge()

    def _merge(self) -> None:
        if not self._n_waiting:
            return
        query, entry, found = (np.concatenate(each) for each in zip(*self._waiting, strict=True))
        self._waiting, self._n_waiting = [], 0
        order = np.argsort(query, kind="stable")
        query, entry, found = query[order], entry[order], found[order]
        n = np.bincount(query, minlength=len(self._scores))
        column = self._top + np.arange(len(query)) - np.repeat(np.cumsum(n) - n, n)
        width = self._top + n.max(initial=0)
        scores = np.full((len(n), width), -np.inf, np.float32)
        entries = np.full((len(n), width), -1, np.int64)
        scores[:, : self._top], entries[:, : self._top] = self._scores, self._entry
        scores[query, column], entries[query, column] = found, entry
        # Stable, and those of before have the lower numbers: equal scores keep their order.
        kept = np.argsort(-scores, axis=1, kind="stable")[:, : self._top]
        self._scores = np.take_along_axis(scores, kept, axis=1)
        self._entry = np.take_along_axis(entries, kept, axis=1)

    def found(self) -> Found:
        """All of them, best first."""
        self._merge()
        none = self._entry < 0
        molecule, dose = np.divmod(self._entry, self._doses)
        return Found(self._scores, np.where(none, -1, molecule), np.where(none, -1, dose))
