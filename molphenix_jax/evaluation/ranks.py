"""The place of the true candidate among all candidates, and what it takes to be a hit.

docs/method.md §5 and §14 rows 18 and 27: a query hits at K% when its true (molecule,
concentration) is among the ``max(1, ceil(K% · M))`` best of M candidates. Ties count against the
query, so a model that gives every candidate the same place gets nothing for it.

Scores are float64 products on the host. Float32 products on an accelerator come in TF32 or bfloat16
unless asked otherwise and round differently with the shape of the block; here neither the device,
nor the number of threads, nor the chunk size may move a rank.
"""

import dataclasses
import fractions
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

Distance = Literal["cosine", "euclidean"]

# Embeddings come in float32: scores closer than this are the same score to within its rounding.
TIE_TOLERANCE = 1e-6


class Part(NamedTuple):
    """Of `n` that share the queries between them, the one of this number, from 0."""

    number: int
    n: int


WHOLE = Part(0, 1)


@dataclasses.dataclass(frozen=True)
class PositiveRanks:
    """Ranks of the true candidates, counted from 1.

    Attributes:
        strict: 1 + the number of candidates with a better score.
        pessimistic: the same, with every other candidate of equal score counted as better.

    Both are 0 for queries of another part.
    """

    strict: Int[np.ndarray, "n"]
    pessimistic: Int[np.ndarray, "n"]

    def drawn(self, luck: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Ranks with candidates of equal score in an order drawn by numbers in [0, 1)."""
        return self.strict + np.floor(luck * (1 + self.pessimistic - self.strict)).astype(np.int64)


def rank_of_positive(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    positive: Int[np.ndarray, "n"],
    *,
    metric: Distance = "cosine",
    group: Int[np.ndarray, "m"] | None = None,
    chunk_size: int = 256,
    tie_tolerance: float = TIE_TOLERANCE,
    part: Part = WHOLE,
) -> PositiveRanks:
    """Rank the true candidate of each query among the whole gallery.

    Scores are equal when they differ by no more than ``tie_tolerance`` (in units of the cosine; for
    squared distances in units of the squared length of the query and a mean gallery row, both taken
    from the gallery's centre). Identical candidates are therefore tied whatever the rounding. A row
    of zeros has cosine 0 with everything.

    Args:
        query: the rows that search, [n, d].
        gallery: the candidates, [m, d].
        positive: index into ``gallery`` of each query's own candidate, [n].
        metric: ``cosine`` (higher is better) or ``euclidean`` (lower is better).
        group: number from 0 of each candidate's group (its molecule). Groups are ranked then, each
            by its best candidate, and a query's own is that of its own candidate.
        chunk_size: queries handled at once; memory is ``chunk_size * m`` float64.
        tie_tolerance: see above.
        part: whose queries are ranked. Chunks are dealt out whole, so a score is the same number
            whoever computes it.

    Returns:
        Strict and pessimistic ranks, both in 1..m, or in 1..the number of groups; 0 for queries of
        another part.

    Raises:
        ValueError: for shapes that do not fit, non-finite values or an unknown metric.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    scores = scores_of(query, gallery, metric, tie_tolerance=tie_tolerance)
    query, gallery, tolerance = scores.query, scores.gallery, scores.tolerance
    positive = np.asarray(positive)
    if positive.shape != (len(query),) or not np.issubdtype(positive.dtype, np.integer):
        raise ValueError(
            f"positive must be {len(query)} integers, one for each query; "
            f"got shape {positive.shape} of {positive.dtype}"
        )
    if len(query) and not (positive.min() >= 0 and positive.max() < len(gallery)):
        raise ValueError(f"positive must lie in 0..{len(gallery) - 1}, the rows of the gallery")

    turns = None
    if group is not None:
        turns, place = _turns(group)
        positive = place[positive]
    strict = np.zeros(len(query), np.int64)
    pessimistic = np.zeros(len(query), np.int64)
    for start in range(part.number * chunk_size, len(query), part.n * chunk_size):
        rows = slice(start, start + chunk_size)
        score = scores(rows) if turns is None else _best(scores, rows, turns)
        own = np.take_along_axis(score, positive[rows, None], axis=1)
        margin = tolerance[rows, None]
        strict[rows] = 1 + np.count_nonzero(score > own + margin, axis=1)
        pessimistic[rows] = np.count_nonzero(score >= own - margin, axis=1)
    return PositiveRanks(strict, pessimistic)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of candidates, more being better, to be computed for some queries at a time.

    Attributes:
        query: Rows that search, in float64.
        gallery: Rows of the candidates.
        penalty: What is subtracted of each candidate.
        tolerance: Scores of a query that differ by no more are the same.
    """

    query: Float[np.ndarray, "n d"]
    gallery: Float[np.ndarray, "m d"]
    penalty: Float[np.ndarray, "m"]
    tolerance: Float[np.ndarray, "n"]

    def __call__(
        self,
        rows: slice | Int[np.ndarray, "k"],
        candidates: slice | Int[np.ndarray, "c"] = slice(None),
    ) -> Float[np.ndarray, "k c"]:
        """Score of every candidate, or of some, for some queries."""
        return self.query[rows] @ self.gallery[candidates].T - self.penalty[None, candidates]


def scores_of(
    query: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "m d"],
    metric: Distance,
    *,
    tie_tolerance: float = TIE_TOLERANCE,
) -> Scores:
    """The scores that `rank_of_positive` ranks by; arguments as there.

    Raises:
        ValueError: for widths that do not fit, non-finite values or an unknown metric.
    """
    if metric not in get_args(Distance):
        raise ValueError(f"unknown metric {metric!r}; choose one of {get_args(Distance)}")
    query, gallery = _checked("query", query), _checked("gallery", gallery)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query is {query.shape[1]} wide, gallery {gallery.shape[1]}")
    if metric == "cosine":
        tolerance = np.full(len(query), tie_tolerance)
        return Scores(_unit_rows(query), _unit_rows(gallery), np.zeros(len(gallery)), tolerance)
    # -|q - g|² = 2 q·g - |g|² - |q|², where |q|² is the same for all candidates. Distances do
    # not change with the origin, rounding does: the centre is where it is smallest.
    centre = gallery.mean(axis=0, keepdims=True)
    query, gallery = query - centre, gallery - centre
    penalty = 0.5 * np.square(gallery).sum(axis=1)
    length = np.square(query).sum(axis=1) + 2 * penalty.mean()
    return Scores(query, gallery, penalty, 0.5 * tie_tolerance * length)


def cutoff(n_gallery: int, percent: float) -> int:
    """Largest rank that is a hit: ``max(1, ceil(percent / 100 · n_gallery))``, in exact numbers.

    Args:
        n_gallery: number of candidates.
        percent: K of top-K%, in (0, 100].

    Raises:
        ValueError: for an empty gallery or a percentage outside (0, 100].
    """
    if n_gallery < 1:
        raise ValueError(f"a gallery needs at least one candidate, got {n_gallery}")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be in (0, 100], got {percent}")
    # In floats 0.07 * 100 is 7.000000000000001, and the ceiling of that 8.
    return max(1, math.ceil(fractions.Fraction(str(percent)) * int(n_gallery) / 100))


def hits(
    rank: Int[np.ndarray, "n"], n_gallery: int | Int[np.ndarray, "n"], percent: float
) -> Float[np.ndarray, "n"]:
    """1 for each query whose rank is within the top ``percent`` % of its own gallery, else 0."""
    return (np.asarray(rank) <= _cutoffs(rank, n_gallery, percent)).astype(np.float64)


def chance_hits(
    rank: Int[np.ndarray, "n"], n_gallery: int | Int[np.ndarray, "n"], percent: float
) -> Float[np.ndarray, "n"]:
    """Probability that a query would hit were its rank drawn at random from 1..n_gallery."""
    return _cutoffs(rank, n_gallery, percent) / np.asarray(n_gallery, np.float64)


def recall_at(
    rank: Int[np.ndarray, "n"], n_gallery: int | Int[np.ndarray, "n"], percent: float
) -> float:
    """Top-``percent``% recall, as a share of the queries in [0, 1].

    Args:
        rank: rank of each query's true candidate, from 1.
        n_gallery: number of candidates, one for all or one for each query (pooled folds).
        percent: K of top-K%; 1 is the paper's headline.

    Raises:
        ValueError: if there is no query: the recall of nothing is not a number.
    """
    if len(rank) == 0:
        raise ValueError("no queries, so no recall")
    return float(hits(rank, n_gallery, percent).mean())


def _cutoffs(
    rank: Int[np.ndarray, "n"], n_gallery: int | Int[np.ndarray, "n"], percent: float
) -> Int[np.ndarray, "n"]:
    sizes, where = np.unique(np.broadcast_to(n_gallery, np.shape(rank)), return_inverse=True)
    return np.array([cutoff(size, percent) for size in sizes.tolist()], np.int64)[where]


def _turns(
    group: Int[np.ndarray, "m"],
) -> tuple[list[Int[np.ndarray, "g"]], Int[np.ndarray, "m"]]:
    """The first member of every group, the second of all that have one, and so on.

    Returns:
        Candidates of each turn, those of larger groups first, and the place of each candidate's
        group in all turns.
    """
    order, size = np.argsort(group, kind="stable"), np.bincount(group)
    first, larger = np.cumsum(size) - size, np.argsort(-size, kind="stable")
    turns = [order[first[larger[size[larger] > turn]] + turn] for turn in range(size.max())]
    return turns, np.argsort(larger)[group]


def _best(
    scores: Scores, rows: slice, turns: Sequence[Int[np.ndarray, "g"]]
) -> Float[np.ndarray, "k g"]:
    """Score of every group for some queries, that of its best candidate.

    Turn by turn: the maximum over runs of columns would take longer than their products.
    """
    best = scores(rows, turns[0])
    for turn in turns[1:]:
        part = best[:, : len(turn)]
        np.maximum(part, scores(rows, turn), out=part)
    return best


def _checked(name: str, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"{name} must be rows of embeddings [n, d], got shape {rows.shape}")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name}: {bad.sum()} of {len(rows)} rows hold NaN or infinite values, first row "
            f"{bad.argmax()}; such rows have no rank, find out where they come from"
        )
    return rows


def _unit_rows(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
