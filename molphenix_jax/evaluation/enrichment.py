"""Virtual screening in hindsight: hits that a ranking finds in its first wells, against chance.

Candidates are ranked within the fold that held them out, and folds are put together by places: a
well is spent in each at the same share of its candidates. The enrichment factor at K% is the share
of all hits among the first ``ceil(K% · n)`` of each fold, over the share of wells that these are;
1 is chance (Truchon and Bayly, J. Chem. Inf. Model. 2007, 47, 488).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from molphenix_jax.evaluation.bootstrap import interval, resampled_means
from molphenix_jax.evaluation.ranks import hits

PERCENTS = (1.0, 5.0)
# Decoys of a hit with like numbers of cells.
_PER_HIT = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Screened:
    """The n candidates of all folds for one kind of hit, ranked by each method.

    Attributes:
        name: Of the kind of hit.
        row: Number of each candidate among those of all kinds.
        molecule: Of each, stereo ignored.
        fold: That held it out.
        hit: Whether it is one.
        rank: From 1, within its fold, by method.
    """

    name: str
    row: Int[np.ndarray, " n"]
    molecule: Shaped[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    hit: Bool[np.ndarray, " n"]
    rank: Mapping[str, Int[np.ndarray, " n"]]

    @property
    def gallery(self) -> Int[np.ndarray, " n"]:
        """Candidates of the fold of each."""
        return np.bincount(self.fold)[self.fold]

    def place(self, method: str) -> Float[np.ndarray, " n"]:
        """Share of the wells of its fold that are spent when a candidate is reached, in (0, 1]."""
        return self.rank[method] / self.gallery

    def within(self, method: str, percent: float) -> Bool[np.ndarray, " n"]:
        """Which are among the first of their fold."""
        return hits(self.rank[method], self.gallery, percent) > 0

    def factor(self, method: str, percent: float) -> float:
        """The enrichment factor."""
        within = self.within(method, percent)
        return float(within[self.hit].mean() / within.mean())

    def half(self, method: str) -> float:
        """Share of the wells after which half of the hits are found."""
        return float(np.quantile(self.place(method)[self.hit], 0.5, method="inverted_cdf"))

    def curve(self, method: str, shares: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
        """Share of the hits that are found after shares of the wells."""
        place = np.sort(self.place(method)[self.hit])
        return np.searchsorted(place, shares, side="right") / len(place)


def ranked(
    score: Float[np.ndarray, " n"], fold: Int[np.ndarray, " n"], *, seed: int = 0
) -> Int[np.ndarray, " n"]:
    """Ranks from 1 within each fold, the highest score first, equal ones in random order."""
    luck = np.random.default_rng(seed).random(len(score))
    order = np.lexsort((luck, -np.asarray(score, np.float64), fold))
    start = np.searchsorted(fold[order], fold[order])
    rank = np.empty(len(score), np.int64)
    rank[order] = np.arange(len(score)) - start + 1
    return rank


def matched(
    hit: Bool[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
    cells: Float[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Hits, and of the others of their fold those with the most similar numbers of cells.

    A fold has as many decoys for each hit, up to ten; without them a ranking by toxicity alone
    would look like one by mechanism. Candidates whose number is unknown are left out.
    """
    known, chosen = np.isfinite(cells), np.zeros(len(hit), bool)
    for f in np.unique(fold):
        hits = np.flatnonzero((fold == f) & hit & known)
        others = np.flatnonzero((fold == f) & ~hit & known)
        per_hit = min(_PER_HIT, len(others) // max(2 * len(hits), 1))
        if not per_hit:
            continue
        chosen[hits] = True
        for _ in range(per_hit):
            for i in hits:
                others = others[~chosen[others]]
                chosen[others[np.abs(cells[others] - cells[i]).argmin()]] = True
    return chosen


def macro(
    kinds: Sequence[Screened],
    *,
    model: str,
    rivals: Sequence[str],
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Mean enrichment factors over kinds of hits, with intervals over molecules.

    All kinds are resampled by the same draws, so that the ratio to a rival is a paired one.

    Args:
        kinds: One for each kind of hit, of the same methods.
        model: The method that is compared.
        rivals: Those that it is compared with.
        n_bootstrap: Resamples.
        seed: Of the draws.

    Returns:
        For each percentage and method: percent, model, factor, ci; and of rivals ratio (the
        model's factor over theirs) and ratio_ci.
    """
    methods, n = list(kinds[0].rank), 1 + max(int(kind.row.max()) for kind in kinds)
    molecule = np.full(n, "", object)
    for kind in kinds:
        molecule[kind.row] = kind.molecule
    used = np.flatnonzero(molecule != "")
    rows = []
    for percent in PERCENTS:
        width = 1 + len(methods)
        value = np.zeros((n, len(kinds), width))
        share = np.ones((len(kinds), len(methods)))
        for k, kind in enumerate(kinds):
            value[kind.row, k, 0] = kind.hit
            for j, method in enumerate(methods):
                within = kind.within(method, percent)
                value[kind.row, k, 1 + j] = kind.hit & within
                share[k, j] = within.mean()
        drawn = resampled_means(
            value[used].reshape(len(used), -1),
            molecule[used].astype(str),
            n_bootstrap=n_bootstrap,
            seed=seed,
        ).reshape(-1, len(kinds), width)
        found, hits = drawn[..., 1:], drawn[..., :1]
        # A resample without a hit of a kind tells nothing of that kind.
        factor = np.where(hits > 0, found / np.where(hits > 0, hits, 1.0), np.nan) / share[None]
        mean = np.nanmean(factor, axis=1)
        clusters = len(np.unique(molecule[used].astype(str)))
        told = {m: float(np.mean([kind.factor(m, percent) for kind in kinds])) for m in methods}
        for j, method in enumerate(methods):
            row: dict[str, Any] = {
                "percent": percent,
                "model": method,
                "factor": told[method],
                "ci": interval(mean[:, j], n_clusters=clusters),
            }
            if method in rivals and told[method] > 0:
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = mean[:, methods.index(model)] / mean[:, j]
                row |= {
                    "ratio": told[model] / told[method],
                    "ratio_ci": interval(ratio, n_clusters=clusters),
                }
            rows.append(row)
    return rows
