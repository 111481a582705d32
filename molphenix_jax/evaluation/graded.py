"""Graded relevance: whether what stands first is like the true candidate, where that is known.

Recall asks for the very perturbation of a profile. A model that puts others of the same mechanism
first does not score with it, and that is what soft positives are to bring (docs/method.md §13.8).
For a query i, candidate j has a gain g_ij in [0, 1], and

    nDCG_i = sum_r g_i,j(r) / log2(r + 1)  /  the largest such sum

over the best 1% of the full gallery, r = 1 … max(1, ceil(M / 100)). The gain is the concordance
2 <e_i, e_j> / (|e_i|² + |e_j|²) of true effects, no less than 0, or, where the wells name the
mechanism of each molecule, 1 for the same name and else 0.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from molphenix_jax.evaluation import bootstrap, ranks

PERCENT = 1.0
CHANCE = "chance"
_OF_EACH = ("molecule", "concentration_um", "condition", "p_value")  # of the fields of `Graded`
QUERY = ("split", "fold", *_OF_EACH)


@dataclasses.dataclass(frozen=True)
class Relevance:
    """What the perturbations of a split are worth to each other.

    Attributes:
        told: By what, in words.
        effects: True effects [m, d], 0 being no effect; or None.
        label: Mechanism of each, "" where unknown; or None.
    """

    told: str
    effects: Float[np.ndarray, "m d"] | None = None
    label: Shaped[np.ndarray, "m"] | None = None

    def known(self, m: int) -> Bool[np.ndarray, "m"]:
        """Which of m perturbations can be asked for."""
        if self.effects is not None:
            return np.square(self.effects).sum(axis=1) > 0
        return np.ones(m, bool) if self.label is None else np.asarray(self.label) != ""

    def gains(self, of: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k m"]:
        """Gain of every candidate for some queries."""
        if self.effects is not None:
            e = np.asarray(self.effects, np.float64)
            square = np.square(e).sum(axis=1)
            both = np.maximum(square[of, None] + square[None, :], np.finfo(np.float64).tiny)
            return np.clip(2 * (e[of] @ e.T) / both, 0.0, 1.0)
        label = np.asarray(self.label)
        return (label[of, None] == label[None, :]).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Graded:
    """nDCG of the queries of one split, of one or several folds, that can be asked for.

    Attributes:
        split: Its name.
        told: By what candidates are graded.
        molecule: Of each query.
        concentration_um: Of each query.
        condition: Of each query.
        p_value: Of each query.
        ndcg: Model → value of each query in [0, 1]; `chance` among them.
    """

    split: str
    told: str
    molecule: Shaped[np.ndarray, "q"]
    concentration_um: Float[np.ndarray, "q"]
    condition: Shaped[np.ndarray, "q"]
    p_value: Float[np.ndarray, "q"]
    ndcg: Mapping[str, Float[np.ndarray, "q"]]

    def joined(self, others: Sequence["Graded"]) -> "Graded":
        """With the queries of others of the same split below."""
        parts = (self, *others)

        def below(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        models = [name for name in self.ndcg if all(name in part.ndcg for part in parts)]
        values = {name: np.concatenate([part.ndcg[name] for part in parts]) for name in models}
        return dataclasses.replace(self, **{name: below(name) for name in _OF_EACH}, ndcg=values)


def ndcg(
    relevance: Relevance,
    embeddings: Mapping[str, tuple[np.ndarray, np.ndarray, ranks.Distance, bool]],
    luck: Float[np.ndarray, "m"],
    *,
    part: ranks.Part = ranks.WHOLE,
    chunk_size: int = 256,
) -> dict[str, Float[np.ndarray, "m"]]:
    """NDCG of each query under each model, and in the mean of all orders (`chance`).

    Args:
        relevance: Of the m perturbations.
        embeddings: Model → rows of the queries [m, e], of the candidates [m, e], metric, and
            whether candidates of equal score come in the order of `luck`; else the least relevant
            of them comes first.
        luck: Numbers in [0, 1).
        part: Whose queries are asked; values of all others are NaN, as those of the unknown.
        chunk_size: Queries at once.
    """
    m = len(luck)
    scores = {
        name: ranks.scores_of(query, gallery, metric)
        for name, (query, gallery, metric, _) in embeddings.items()
    }
    k = ranks.cutoff(m, PERCENT)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    found = {name: np.full(m, np.nan) for name in (*scores, CHANCE)}
    known = relevance.known(m)
    for start in range(part.number * chunk_size, m, part.n * chunk_size):
        rows = np.arange(start, min(start + chunk_size, m))
        rows = rows[known[rows]]
        gain = relevance.gains(rows)
        ideal = -np.sort(np.partition(-gain, k - 1, axis=1)[:, :k], axis=1) @ discount
        found[CHANCE][rows] = gain.mean(axis=1) * discount.sum() / ideal
        for name, of in scores.items():
            # Scores that differ by rounding are one step; within a step less than 1 decides.
            # Where all rows are one point scores and tolerance are 0.
            width = np.maximum(of.tolerance[rows, None], np.finfo(float).tiny)
            step = np.floor(of(rows) / width)
            key = -step - (0.5 * luck[None, :] if embeddings[name][3] else -0.5 * gain)
            best = np.argpartition(key, k - 1, axis=1)[:, :k]
            order = np.argsort(np.take_along_axis(key, best, axis=1), axis=1, kind="stable")
            best = np.take_along_axis(best, order, axis=1)
            found[name][rows] = np.take_along_axis(gain, best, axis=1) @ discount / ideal
    return found


def together(
    mine: Graded, from_all: Callable[[Float[np.ndarray, "k 2"]], Float[np.ndarray, "q 2"]]
) -> Graded:
    """The values of all queries, from those of parts that others have; as `put_together`."""
    names = list(mine.ndcg)
    values = np.concatenate([mine.ndcg[name] for name in names])
    place = np.flatnonzero(np.isfinite(values))
    given = from_all(np.stack([place.astype(np.float64), values[place]], axis=1))
    values[given[:, 0].astype(np.int64)] = given[:, 1]
    parts = np.split(values, len(names))
    return dataclasses.replace(mine, ndcg=dict(zip(names, parts, strict=True)))


def asked(graded: Graded) -> Graded:
    """Of all perturbations of a split those that could be asked for."""
    kept = np.isfinite(graded.ndcg[CHANCE])
    return _part_of(graded, kept)


def graded_rows(
    found: Sequence[Graded],
    *,
    psis: Sequence[float],
    model: str,
    min_molecules: int = 10,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[dict]:
    """Rows of `graded` in `evaluation.json`: nDCG with 95% intervals over molecules.

    Args:
        found: Of each split.
        psis: p-value cut-offs of the active queries.
        model: Others have their `difference` to it, with an interval.
        min_molecules: Queries of fewer give no row.
        n_bootstrap: Resamples.
        seed: Of the resampling.
    """
    rows = []
    for whole in found:
        for psi in (None, *psis):
            part = whole if psi is None else _part_of(whole, whole.p_value <= psi)
            n_molecules = len(np.unique(part.molecule))
            if n_molecules < max(min_molecules, 1):
                continue
            names = list(part.ndcg)
            values = np.stack([part.ndcg[name] for name in names], axis=1)
            samples = bootstrap.resampled_means(
                values, part.molecule, n_bootstrap=n_bootstrap, seed=seed
            )
            own = names.index(model) if model in names else None
            for i, name in enumerate(names):
                row = {
                    "split": part.split,
                    "subset": "all" if psi is None else "active",
                    "psi": psi,
                    "model": name,
                    "graded_by": part.told,
                    "n_queries": len(values),
                    "ndcg": float(values[:, i].mean()),
                    "ndcg_ci": bootstrap.interval(samples[:, i], n_clusters=n_molecules),
                }
                if own is not None and i != own:
                    above = samples[:, own] - samples[:, i]
                    row["difference"] = float((values[:, own] - values[:, i]).mean())
                    row["difference_ci"] = bootstrap.interval(above, n_clusters=n_molecules)
                rows.append(row)
    return rows


def graded_frame(folds: Sequence[Sequence[Graded]]) -> pd.DataFrame:
    """One row for each query of each fold: `QUERY`, `graded_by`, and a column for each model."""
    parts = [
        pd.DataFrame(
            {
                "split": graded.split,
                "fold": fold,
                **{name: getattr(graded, name) for name in _OF_EACH},
                "graded_by": graded.told,
                **graded.ndcg,
            }
        )
        for fold, of in enumerate(folds)
        for graded in of
        if len(graded.molecule)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(QUERY))


def _part_of(graded: Graded, chosen: Bool[np.ndarray, "q"]) -> Graded:
    return dataclasses.replace(
        graded,
        **{name: np.asarray(getattr(graded, name))[chosen] for name in _OF_EACH},
        ndcg={name: values[chosen] for name, values in graded.ndcg.items()},
    )
