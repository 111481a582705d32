"""Which perturbations do anything: replicate consistency against a matched null.

Source and equation: docs/method.md §3 and §11.9. The statistic of a perturbation is the mean cosine
between its replicate wells. Its null is the same statistic over equally many wells of as many
different perturbations: a mean over six pairs varies less than one over one pair, so each replicate
count is held against its own null. Replicates share their condition (time, cell line), and so do
the wells of a null group: wells of two conditions are less alike than unrelated wells of one, and
would make everything look active.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.tables.rows import Rows

# Beyond this many replicates the mean cosine hardly moves, while the null costs in proportion.
MAX_REPLICATES = 32

_CHUNK_VALUES = 1 << 24  # embedding values gathered at once: 64 MiB of float32


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicateConsistency:
    """One entry per perturbation.

    Attributes:
        statistic: mean pairwise cosine of the replicates, NaN with fewer than 2.
        p_value: (1 + #{null >= statistic}) / (1 + n_null), NaN where the statistic is.
        n_replicates: wells of each perturbation.
        n_null: size of each null set.
        notes: what was limited, in one sentence each.
    """

    statistic: Float[np.ndarray, "p"]
    p_value: Float[np.ndarray, "p"]
    n_replicates: Int[np.ndarray, "p"]
    n_null: int
    notes: tuple[str, ...] = ()


def replicate_consistency(
    x: Float[np.ndarray, "n d"],
    perturbation: Int[np.ndarray, "n"],
    *,
    n_null: int,
    seed: int,
    condition: Int[np.ndarray, "p"] | None = None,
) -> ReplicateConsistency:
    """Tests for every perturbation whether its replicates agree more than unrelated wells do.

    For r unit vectors u the mean pairwise cosine is (|sum u|^2 - sum |u|^2) / (r (r - 1)), so no
    pair is ever formed (an all-zero embedding has cosine 0 with everything). The null for r
    replicates is `n_null` groups of r wells, from r different perturbations drawn uniformly, one
    random well each: a perturbation with hundreds of wells weighs no more than another.

    A perturbation with more than 32 replicates, or more than there are perturbations to draw a
    null from, is tested on a random subset of that size; a note says so. Where a condition has a
    single perturbation there is no null and its p-value is NaN.

    Args:
        x: corrected embeddings of the treated wells.
        perturbation: id of each well's perturbation, 0 to P-1.
        n_null: size of the null; the smallest p-value is 1 / (1 + n_null).
        seed: of the null and the subsets; the same seed gives the same p-values.
        condition: of each perturbation; None: all have the same.

    Returns:
        Statistic and p-value of perturbations 0 to P-1.

    Raises:
        ValueError: shapes disagree, an id is negative, or n_null is below 1.
    """
    x, perturbation = np.asarray(x), np.asarray(perturbation)
    if x.ndim != 2 or perturbation.shape != x.shape[:1]:
        raise ValueError(
            f"expected x [n, d] and perturbation [n], got {x.shape} and {perturbation.shape}"
        )
    draw = draw_replicates(perturbation, n_null=n_null, seed=seed, condition=condition)
    ids = np.arange(len(draw.counts))
    statistic, p_value = consistency_of(x, ids, draw, null_statistics(x, draw))
    return ReplicateConsistency(statistic, p_value, draw.counts, n_null, draw.notes)


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicateDraw:
    """Every random choice behind the p-values of a screen; made without looking at embeddings.

    Attributes:
        counts: wells of each perturbation, [p].
        order: wells sorted by perturbation, in random order within each, [n].
        starts: where each perturbation starts in `order`, [p].
        used: wells of each perturbation that are tested, [p]; 0 or 1 is not tested.
        condition: of each perturbation, [p].
        null_wells: wells of the null groups of each condition, nested: the first r of a row make a
            group of size r.
        n_null: number of null groups.
        notes: what was limited, in one sentence each.
    """

    counts: Int[np.ndarray, "p"]
    order: Int[np.ndarray, "n"]
    starts: Int[np.ndarray, "p"]
    used: Int[np.ndarray, "p"]
    condition: Int[np.ndarray, "p"]
    null_wells: tuple[Int[np.ndarray, "_ _"], ...]
    n_null: int
    notes: tuple[str, ...]


def draw_replicates(
    perturbation: Int[np.ndarray, "n"],
    *,
    n_null: int,
    seed: int,
    condition: Int[np.ndarray, "p"] | None = None,
) -> ReplicateDraw:
    """Draws the wells that are tested and those of the null (see `replicate_consistency`).

    Raises:
        ValueError: an id is negative, or n_null is below 1.
    """
    if len(perturbation) and perturbation.min() < 0:
        raise ValueError(f"perturbation ids start at 0, got {perturbation.min()}")
    if n_null < 1:
        raise ValueError(f"n_null must be at least 1, got {n_null}")
    counts = np.bincount(perturbation)
    condition = np.zeros(len(counts), np.int64) if condition is None else np.asarray(condition)
    if condition.shape != counts.shape:
        raise ValueError(f"{len(counts)} perturbations have {condition.shape} conditions")
    members = [
        np.flatnonzero((condition == c) & (counts > 0)) for c in range(condition.max(initial=0) + 1)
    ]
    limits = np.array([min(MAX_REPLICATES, len(present)) for present in members])
    notes = _limit_notes(counts, limits[condition])
    starts = np.cumsum(counts) - counts
    used = np.minimum(counts, np.maximum(limits[condition], 1))
    if used.max(initial=0) < 2:
        nothing = (np.zeros((0, 0), np.int64),) * len(members)
        return ReplicateDraw(counts, np.arange(0), starts, used, condition, nothing, n_null, notes)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(perturbation))
    order = shuffled[np.argsort(perturbation[shuffled], kind="stable")]
    null_wells = []
    for present in members:
        size = int(used[present].max(initial=0))
        if size < 2:
            null_wells.append(np.zeros((0, 0), np.int64))
            continue
        drawn = _distinct(len(present), n_null, size, rng)
        slot = (rng.random(drawn.shape) * used[present][drawn]).astype(np.int64)
        null_wells.append(order[starts[present][drawn] + slot])
    return ReplicateDraw(counts, order, starts, used, condition, tuple(null_wells), n_null, notes)


def null_statistics(x: Rows, draw: ReplicateDraw) -> dict[tuple[int, int], Float[np.ndarray, "m"]]:
    """Sorted null statistics of each condition and replicate count that is tested.

    The groups are nested: the first r wells of one sequence make the group of size r, so that all
    counts together cost no more than the largest.
    """
    return {
        (c, r): np.sort(values)
        for c, wells in enumerate(draw.null_wells)
        for r, values in _null_of(x, wells, draw.used[draw.condition == c]).items()
    }


def _null_of(
    x: Rows, null_wells: Int[np.ndarray, "m r"], used: Int[np.ndarray, "q"]
) -> dict[int, Float[np.ndarray, "m"]]:
    n, largest = null_wells.shape
    null = {int(r): np.empty(n) for r in np.unique(used) if 1 < r <= largest}
    step = max(1, _CHUNK_VALUES // max(1, x.shape[1]))
    for begin in range(0, n, step):
        wells = null_wells[begin : begin + step]
        part = slice(begin, begin + step)
        sums = np.zeros((len(wells), x.shape[1]), np.float32)
        squares = np.zeros(len(sums))
        for r in range(1, largest + 1):
            units = _units(x[wells[:, r - 1]])
            sums += units
            squares += np.einsum("nd,nd->n", units, units)
            if r in null:
                null[r][part] = _mean_cosine(sums, squares, r)
    return null


def consistency_of(
    x: Rows,
    ids: Int[np.ndarray, "q"],
    draw: ReplicateDraw,
    null: dict[tuple[int, int], Float[np.ndarray, "m"]],
    *,
    first_well: int = 0,
) -> tuple[Float[np.ndarray, "q"], Float[np.ndarray, "q"]]:
    """Statistic and p-value of some perturbations, NaN where they are not tested.

    Args:
        x: embeddings; row i is well `first_well` + i.
        ids: perturbations, all of whose wells are in x.
        draw: from `draw_replicates`.
        null: from `null_statistics`.
        first_well: see x.
    """
    statistic, p_value = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    for r in np.unique(draw.used[ids]):
        if r < 2:
            continue
        at = np.flatnonzero(draw.used[ids] == r)
        for part in np.array_split(at, -(-len(at) * r * x.shape[1] // _CHUNK_VALUES)):
            wells = draw.order[draw.starts[ids[part]][:, None] + np.arange(r)] - first_well
            units = _units(x[wells])
            statistic[part] = _mean_cosine(units.sum(axis=1), _square_sum(units), r)
        for c in np.unique(draw.condition[ids[at]]):
            own = at[draw.condition[ids[at]] == c]
            below = np.searchsorted(null[int(c), int(r)], statistic[own], side="left")
            p_value[own] = (1 + draw.n_null - below) / (1 + draw.n_null)
    return statistic, p_value


def activity_against_controls(
    x: Float[np.ndarray, "n d"],
    perturbation: Int[np.ndarray, "n"],
    controls: Float[np.ndarray, "c d"],
    *,
    n_null: int,
    seed: int,
) -> Float[np.ndarray, "p"]:
    """Tests whether replicates agree more than as many control wells do.

    The statistic is that of `replicate_consistency`, its null over groups of control wells: a file
    that is looked up may hold one perturbation alone. A single replicate is held against the
    controls by its distance from their centre, the origin. Of more replicates than 32, or than half
    of the controls, as many are taken at random.

    Args:
        x: corrected wells.
        perturbation: id of each well's perturbation, 0 to p - 1.
        controls: corrected control wells, two or more.
        n_null: groups of controls for each number of replicates.
        seed: of the groups and the subsets.

    Returns:
        The p-value of each perturbation, (1 + #{null >= statistic}) / (1 + n_null).
    """
    counts, rng = np.bincount(perturbation), np.random.default_rng(seed)
    most = max(1, min(MAX_REPLICATES, len(controls) // 2))
    used = np.minimum(counts, most)
    groups = _distinct(len(controls), n_null, int(used.max(initial=1)), rng)
    null = {r: np.sort(values) for r, values in _null_of(controls, groups, used).items()}
    null[1] = np.sort(np.linalg.norm(controls.astype(np.float64), axis=1))
    shuffled = rng.permutation(len(perturbation))
    order = shuffled[np.argsort(perturbation[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    p_value = np.full(len(counts), np.nan)
    for i in np.flatnonzero(used):
        r, own = int(used[i]), x[order[starts[i] : starts[i] + used[i]]]
        statistic = np.linalg.norm(own.astype(np.float64)) if r == 1 else mean_pairwise_cosine(own)
        above = len(null[r]) - np.searchsorted(null[r], statistic, side="left")
        p_value[i] = (1 + above) / (1 + len(null[r]))
    return p_value


def activity_within_conditions(
    x: Float[np.ndarray, "n d"],
    perturbation: Int[np.ndarray, "n"],
    condition: Int[np.ndarray, "p"],
    controls_of: Callable[[int], Float[np.ndarray, "c d"]],
    *,
    n_null: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "p"]:
    """`activity_against_controls` of the perturbations of each condition, against its own controls.

    Args:
        x: corrected wells.
        perturbation: id of each well's perturbation, 0 to p - 1.
        condition: number of the condition of each perturbation.
        controls_of: corrected control wells of a condition.
        n_null: groups of controls for each number of replicates.
        seed: of the groups and the subsets, in each condition anew.

    Returns:
        The p-value of each perturbation; NaN where its condition has fewer than two controls.
    """
    p_value = np.full(len(condition), np.nan)
    for c in np.unique(condition):
        controls = controls_of(int(c))
        if len(controls) < 2:
            continue
        members = np.flatnonzero(condition == c)
        number = np.full(len(condition), -1)
        number[members] = np.arange(len(members))
        at = number[perturbation] >= 0
        p_value[members] = activity_against_controls(
            x[at], number[perturbation[at]], controls, n_null=n_null, seed=seed
        )
    return p_value


def mean_pairwise_cosine(x: Float[np.ndarray, "r d"]) -> float:
    """Of two or more replicates: how much they agree."""
    units = _units(x)[None]
    return float(_mean_cosine(units.sum(axis=1), _square_sum(units), len(x))[0])


def _distinct(n: int, n_rows: int, size: int, rng: np.random.Generator) -> Int[np.ndarray, "m r"]:
    """Rows of `size` different numbers below n, uniformly."""
    if n <= 4 * size * size:  # collisions would be frequent: shuffle and cut
        return np.stack([rng.permutation(n)[:size] for _ in range(n_rows)])
    drawn = rng.integers(n, size=(n_rows, size))
    while True:
        ordered = np.sort(drawn, axis=1)
        again = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if not again.any():
            return drawn
        drawn[again] = rng.integers(n, size=(int(again.sum()), size))


def _units(x: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    """Embeddings of length 1 (0 where they are all zero)."""
    norms = np.linalg.norm(x.astype(np.float64), axis=-1)
    return (x / np.where(norms > 0, norms, 1.0)[..., None]).astype(np.float32)


def _square_sum(units: Float[np.ndarray, "p r d"]) -> Float[np.ndarray, "p"]:
    return np.einsum("prd,prd->p", units, units).astype(np.float64)


def _mean_cosine(
    total: Float[np.ndarray, "p d"], squares: Float[np.ndarray, "p"], r: int
) -> Float[np.ndarray, "p"]:
    return (np.einsum("pd,pd->p", total, total).astype(np.float64) - squares) / (r * (r - 1))


def _limit_notes(counts: Int[np.ndarray, "p"], limit: Int[np.ndarray, "p"]) -> tuple[str, ...]:
    alone = int((limit < 2).sum())
    notes = ()
    if alone and alone == len(counts):
        return ("fewer than two perturbations: no null, so no p-value",)
    if alone:
        notes = (f"{alone} perturbations are alone in their condition: no null, so no p-value",)
    for most in np.unique(limit[(counts > limit) & (limit > 1)]):
        above = int(((counts > limit) & (limit == most)).sum())
        notes += (
            f"{above} perturbations have more than {most} replicates and are tested on a random "
            f"subset of {most}",
        )
    return notes
