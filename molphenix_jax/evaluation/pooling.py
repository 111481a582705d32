"""Ranks joined: what several processes ranked of one split, and the folds of a run."""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Shaped

from molphenix_jax.evaluation.graded import Graded, asked, together
from molphenix_jax.evaluation.protocol import (
    HELDOUT,
    Ranks,
    RankTable,
    Setting,
    missing_setting,
)


def put_together(
    mine: Ranks,
    from_all: Callable[[Shaped[np.ndarray, "k 2"]], Shaped[np.ndarray, "q 2"]],
) -> Ranks:
    """The ranks of all queries, from those of parts that were ranked elsewhere at the same time.

    Args:
        mine: what ``evaluate`` gave one part.
        from_all: from rows (place, rank or value) of one part to those of all parts.

    Raises:
        ValueError: if the parts did not rank the same queries, each once.
    """
    own = [rank for table in mine.tables for rank in table.rank.values()]
    ranked = np.concatenate(own) if own else np.zeros(0, np.int64)
    place = np.flatnonzero(ranked)
    found = from_all(np.stack([place, ranked[place]], axis=1))
    if not np.array_equal(np.sort(found[:, 0]), np.arange(len(ranked))):
        raise ValueError(
            f"{len(found)} ranks came together for {len(ranked)} queries: the parts were not given "
            "the same candidates"
        )
    ranked[found[:, 0]] = found[:, 1]
    rest = iter(np.split(ranked, np.cumsum([len(rank) for rank in own])[:-1]))
    tables = [
        dataclasses.replace(table, rank={model: next(rest) for model in table.rank})
        for table in mine.tables
    ]
    graded = tuple(asked(together(of, from_all)) for of in mine.graded)
    return Ranks(tuple(tables), mine.not_computed, graded)


def pool(folds: Sequence[Ranks], *, min_molecules: int = 10) -> Ranks:
    """Join the queries of all folds, each still ranked in its own fold's gallery.

    Held-out concentrations, where there are several, are pooled once more into
    ``heldout_concentration:pooled`` (docs/method.md §5 averages over the dropped doses).

    Args:
        folds: ranks of each fold or seed; one is fine.
        min_molecules: settings whose queries cover fewer molecules are listed in ``not_computed``:
            a bootstrap over a handful of molecules gives an interval that means nothing.

    Raises:
        ValueError: if a model is missing from a setting in some of the folds.
    """
    found: dict[Setting, list[RankTable]] = collections.defaultdict(list)
    for fold in folds:
        for table in fold.tables:
            found[table.setting].append(table)
    heldout = [s for s in found if s.split.startswith(HELDOUT) and not s.split.endswith(":pooled")]
    if len({s.split for s in heldout}) > 1:
        for setting in heldout:
            together = dataclasses.replace(setting, split=f"{HELDOUT}pooled")
            found[together] += found[setting]

    tables, not_computed = [], _pool_missing(folds)
    for setting, parts in found.items():
        table = _concatenate(setting, parts)
        n_molecules = len(np.unique(table.molecule))
        if n_molecules >= min_molecules:
            tables.append(table)
            continue
        reason = f"queries cover {n_molecules} molecule(s), fewer than {min_molecules}"
        missing = missing_setting(setting.split, setting.subset, setting.psi, reason)
        if missing not in not_computed:
            not_computed.append(missing)
    return Ranks(tuple(tables), tuple(not_computed), _pool_graded(folds))


def _pool_graded(folds: Sequence[Ranks]) -> tuple[Graded, ...]:
    """Graded relevance of the queries of all folds, each split's below each other."""
    by_split: dict[str, list[Graded]] = collections.defaultdict(list)
    for fold in folds:
        for graded in fold.graded:
            by_split[graded.split].append(graded)
    return tuple(parts[0].joined(parts[1:]) for parts in by_split.values())


def _concatenate(setting: Setting, parts: Sequence[RankTable]) -> RankTable:
    models = list(parts[0].rank)
    for number, part in enumerate(parts):
        if set(part.rank) != set(models):
            raise ValueError(
                f"{setting}: fold {number} of {len(parts)} ranks {sorted(part.rank)}, the first "
                f"{sorted(models)}; the comparison is only fair if every fold has every model"
            )
    return RankTable(
        setting=setting,
        molecule=np.concatenate([part.molecule for part in parts]),
        concentration_um=np.concatenate([part.concentration_um for part in parts]),
        condition=np.concatenate([part.condition for part in parts]),
        n_gallery=np.concatenate([part.n_gallery for part in parts]),
        rank={model: np.concatenate([part.rank[model] for part in parts]) for model in models},
    )


def _pool_missing(folds: Sequence[Ranks]) -> list[dict]:
    """The folds' not_computed, each saying in which fold it happened when there are several."""
    if len(folds) == 1:
        return list(folds[0].not_computed)
    return [
        {**missing, "reason": f"fold {number} of {len(folds)}: {missing['reason']}"}
        for number, fold in enumerate(folds, start=1)
        for missing in fold.not_computed
    ]
