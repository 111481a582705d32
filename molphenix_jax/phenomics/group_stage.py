"""The group stage of a batch correction: what each plate or experiment is centred and scaled by."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.phenomics.coral import Axes, Scatter, scatter_of
from molphenix_jax.tables.rows import Rows, chunked, mean_and_spread, total

MIN_TO_CENTER = 2  # controls that a group needs for a mean of its own
_MIN_TO_SCALE = 4  # and for a standard deviation of its own
_DEGENERATE = 0.05  # a group's SD below this share of the usual SD is no estimate of a scale


@dataclasses.dataclass(frozen=True, eq=False)
class Grouped:
    """The wells that groups are fitted on.

    Attributes:
        names: of the groups.
        code: group of each well.
        reference: wells that are fitted on: the controls, or all where there are none.
        minimum: of these that a group needs for statistics of its own.
        pool: condition of each well, whose wells stand in for a group's own.
    """

    names: tuple[str, ...]
    code: Int[np.ndarray, "n"]
    reference: Int[np.ndarray, "c"]
    minimum: int
    pool: Int[np.ndarray, "n"]


def fit_groups(
    x: Rows,
    wells: Grouped,
    *,
    scaling: bool,
    rescaled: Bool[np.ndarray, "k"],
    axes: Axes,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fits the group stage on the reference wells of each group.

    Args:
        x: embeddings, once they went through the screen stage.
        wells: which of them belong together.
        scaling: whether groups have a scale; else they have CORAL axes.
        rescaled: axes that a scale is used on.
        axes: takes the CORAL axes.

    Returns:
        The group fields of a `Correction`, and a note for each fallback.
    """
    reference, k = wells.reference, len(rescaled)
    own = {name: reference[rows] for name, rows in rows_of(wells.names, wells.code[reference])}
    members = {name: rows for name, rows in own.items() if len(rows) >= wells.minimum}
    chunks_of = lambda rows: chunked(x, rows)  # noqa: E731
    means, sums, within = {}, np.zeros(k), Scatter(k)
    for name, rows in own.items():
        chunks = chunks_of(rows)
        n, its = total(chunks)
        sums, means[name] = sums + its, its / n
        if name in members:
            for chunk in chunks():
                within.add(chunk - means[name])
    mean = sums / len(reference)
    if not members:
        for chunk in chunks_of(reference)():
            within.add(chunk - mean)
    usual = np.sqrt(within.squares / within.n)
    usual = np.where(usual > 1e-12, usual, 1.0)

    centers, scales = [mean], [np.where(rescaled, usual, 1.0)]
    if not scaling:
        axes.add(within)

    def add(rows: Int[np.ndarray, "m"], center: Float[np.ndarray, "k"]) -> int:
        """Fits an entry on some wells; returns its number."""
        centers.append(center)
        chunks = chunks_of(rows)
        if scaling:
            spread = mean_and_spread(chunks)[1]
            usable = (spread > _DEGENERATE * usual) & (len(rows) >= _MIN_TO_SCALE)
            scales.append(np.where(rescaled, np.where(usable, spread, usual), 1.0))
        else:
            axes.add(scatter_of(lambda: (chunk - center for chunk in chunks()), k))
        return len(centers) - 1

    entry = np.zeros(len(wells.names), np.int64)
    without = [i for i, name in enumerate(wells.names) if name not in members]
    for i, name in enumerate(wells.names):
        if name in members:
            entry[i] = add(members[name], means[name])
    several = len(np.unique(wells.pool)) > 1
    entry_of_pool: dict[int, int] = {}
    for i in without if several else ():
        pool = int(wells.pool[np.argmax(wells.code == i)])
        rows = reference[wells.pool[reference] == pool]
        if pool not in entry_of_pool and len(rows) >= wells.minimum:
            n, its = total(chunks_of(rows))
            entry_of_pool[pool] = add(rows, its / n)
        entry[i] = entry_of_pool.get(pool, 0)
    return {
        "groups": wells.names,
        "entry": entry,
        "group_center": np.stack(centers),
        "group_scale": np.stack(scales) if scaling else np.ones((len(centers), k)),
        **axes.fields(),
    }, _notes(wells, entry, without, members, scaling=scaling)


def _notes(
    wells: Grouped,
    entry: Int[np.ndarray, "g"],
    without: Sequence[int],
    members: dict[str, np.ndarray],
    *,
    scaling: bool,
) -> tuple[str, ...]:
    kind = "controls" if wells.minimum == MIN_TO_CENTER else "wells"
    notes = ()
    for of, chosen in (
        (f"all {kind}", [wells.names[i] for i in without if not entry[i]]),
        (f"the {kind} of their condition", [wells.names[i] for i in without if entry[i]]),
    ):
        if chosen:
            notes += (
                f"{len(chosen)} groups have fewer than {wells.minimum} {kind} and use the "
                f"statistics of {of}: {_listed(chosen)}",
            )
    few = [name for name, rows in members.items() if len(rows) < _MIN_TO_SCALE]
    if few and scaling:
        notes += (
            f"{len(few)} groups have fewer than {_MIN_TO_SCALE} controls and use the scale of all "
            f"controls: {_listed(few)}",
        )
    return notes


def rows_of(
    names: Sequence[str], code: Int[np.ndarray, "n"]
) -> Iterator[tuple[str, Int[np.ndarray, "m"]]]:
    """Each name that occurs, with its row numbers."""
    order = np.argsort(code, kind="stable")
    counts = np.bincount(code, minlength=len(names))
    for name, rows in zip(names, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        if len(rows):
            yield name, rows


def _listed(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
