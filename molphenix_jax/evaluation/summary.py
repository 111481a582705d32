"""From ranks to the rows of ``evaluation.json``: recalls, intervals, comparisons, curves.

The rows are those of docs/architecture.md, "Contracts". Recalls and chances are shares in [0, 1];
``median_rank_pct`` is in % of the gallery, 50 being chance and lower better;
``mean_reciprocal_rank`` looks at the top of the list, as the ceil(1%) of a small gallery does not.
Chance is treated as
one more model: its value for a query is the probability that it would hit, and no random number is
drawn for it.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.evaluation import bootstrap, ranks
from molphenix_jax.evaluation.graded import graded_rows
from molphenix_jax.evaluation.protocol import CHANCE, FURTHER_GALLERIES, Ranks, RankTable
from molphenix_jax.parts import PartError, Parts, define, of_type, register

# What a model cannot be asked to beat: it is given the truth.
UPPER_BOUND = "oracle"


@dataclasses.dataclass(frozen=True)
class MetricSpec:
    """What a query is worth by the rank of its own candidate; rows have the mean over queries.

    Attributes:
        title: As tables call it.
        value: (ranks from 1 [q], sizes of the galleries [q]) to a number in [0, 1] for each, where
            more is better.
    """

    title: str
    value: Callable[[Int[np.ndarray, "q"], Int[np.ndarray, "q"]], Float[np.ndarray, "q"]]

    def __call__(
        self, rank: Int[np.ndarray, "q"], n_gallery: Int[np.ndarray, "q"]
    ) -> Float[np.ndarray, "q"]:
        """The value of each query.

        Raises:
            PartError: They are no numbers in [0, 1], one for each.
        """
        found = np.asarray(self.value(rank, n_gallery), np.float64)
        if found.shape != rank.shape or not ((found >= 0) & (found <= 1)).all():
            raise PartError(
                f"metric {self.title!r} gives {list(found.shape)} for {len(rank)} ranks, from "
                f"{np.min(found, initial=1):g} to {np.max(found, initial=0):g}; it has to give a "
                "number in [0, 1] for each"
            )
        return found

    def at_random(self, n_gallery: Int[np.ndarray, "q"]) -> Float[np.ndarray, "q"]:
        """What a query is worth in the mean, were its rank drawn at random from 1..n_gallery."""
        sizes, where = np.unique(n_gallery, return_inverse=True)
        mean = [self(np.arange(1, n + 1), np.full(n, n)).mean() for n in sizes.tolist()]
        return np.array(mean)[where]


def top(percent: float) -> MetricSpec:
    """Recall among the best `percent` % of the gallery."""
    return MetricSpec(f"top-{percent:g}%", lambda rank, n: ranks.hits(rank, n, percent))


def chance_field(metric: str) -> str:
    """The field with what chance would reach, beside that of a metric."""
    return f"chance_{metric.removeprefix('top_')}"


# Fields of the rows of ``evaluation.json``; tables, pictures, comparisons and ablations follow.
METRICS: Parts[MetricSpec] = define(
    "metric",
    of_type(MetricSpec),
    reserved=(
        *("split", "subset", "psi", "gallery", "direction", "model", "n_queries", "n_gallery"),
        *("median_rank_pct", "mean_reciprocal_rank", "concentration_um", "condition"),
    ),
)
register("metric", "top_1pct", top(1.0))
register("metric", "top_5pct", top(5.0))

_CURVE_PERCENT = np.unique(np.append(np.round(np.geomspace(0.1, 100, 61), 3), 5.0))


def evaluation_record(
    pooled: Ranks, *, model: str = "molphenix", n_bootstrap: int = 1000, seed: int = 0
) -> dict:
    """All of ``evaluation.json``.

    Args:
        pooled: ranks of all folds, from ``pooling.pool``.
        model: the model that the others are compared with.
        n_bootstrap: resamples for the confidence intervals.
        seed: seed of the resampling.

    Returns:
        ``results`` (see ``summarise``), ``comparisons`` (``paired_difference``),
        ``by_concentration``, ``by_condition`` where there are several, ``graded``
        (``graded_rows``) where relevance can be told, ``rank_curves`` and ``not_computed``; plain
        lists, numbers and strings, no NaN.
    """
    by_dose, few = by_concentration(pooled, n_bootstrap=n_bootstrap, seed=seed)
    several = by_condition(pooled, n_bootstrap=n_bootstrap, seed=seed)
    psis = sorted({table.setting.psi for table in pooled.tables if table.setting.psi is not None})
    graded = graded_rows(pooled.graded, psis=psis, model=model, n_bootstrap=n_bootstrap, seed=seed)
    return {
        "results": summarise(pooled, n_bootstrap=n_bootstrap, seed=seed),
        "comparisons": paired_difference(pooled, model=model, n_bootstrap=n_bootstrap, seed=seed),
        "by_concentration": by_dose,
        **({"by_condition": several} if several else {}),
        **({"graded": graded} if graded else {}),
        "rank_curves": rank_curves(pooled),
        "not_computed": [*pooled.not_computed, *few],
    }


def summarise(pooled: Ranks, *, n_bootstrap: int = 1000, seed: int = 0) -> list[dict]:
    """One row for each setting and model, ``chance`` among them, with 95% intervals over molecules.

    ``n_gallery`` is the mean over the queries (folds have galleries of their own), rounded. Of
    fewer than 5 molecules there is no interval (None). Where all molecules say the same, as of
    chance in one gallery, both ends of one are the value: that is none, and reports show none.
    """
    rows = []
    for table in pooled.tables:
        found = _resampled(table, n_bootstrap, seed)
        enough = len(np.unique(table.molecule)) >= bootstrap.MIN_CLUSTERS
        for model in [*table.rank, CHANCE]:
            row = {
                **dataclasses.asdict(table.setting),
                "model": model,
                "n_queries": len(table.molecule),
                "n_gallery": round(float(table.n_gallery.mean())),
                "median_rank_pct": _median_rank_pct(table, model),
                "mean_reciprocal_rank": _mean_reciprocal_rank(table, model),
            }
            for metric in METRICS:
                row[metric], samples = found[model, metric]
                ends = np.percentile(samples, [2.5, 97.5])
                row[f"{metric}_ci"] = ends.tolist() if enough else None
                row[chance_field(metric)] = found[CHANCE, metric][0]
            rows.append(row)
    return rows


def by_fold(folds: Sequence[Ranks]) -> list[dict]:
    """The rows of ``summarise`` for each fold by itself, without intervals; with its ``fold``."""
    return [
        {"fold": fold, **{name: row[name] for name in row if not name.endswith("_ci")}}
        for fold, ranks in enumerate(folds)
        for row in summarise(ranks, n_bootstrap=1)
    ]


def paired_difference(
    pooled: Ranks, *, model: str = "molphenix", n_bootstrap: int = 1000, seed: int = 0
) -> list[dict]:
    """Recall of the model minus that of each baseline over the same queries, with 95% intervals.

    ``better`` holds when the whole interval lies above 0; ``ci`` is None where there are not enough
    molecules for an interval, or all differ alike. The oracle is left out: it is an upper bound.
    Settings in which ``model`` was not ranked give no row.
    """
    rows = []
    for table in pooled.tables:
        if model not in table.rank:
            continue
        found = _resampled(table, n_bootstrap, seed)
        for (baseline, metric), (mean, samples) in found.items():
            if baseline in (model, UPPER_BOUND):
                continue
            own_mean, own_samples = found[model, metric]
            ci = _interval(table, own_samples - samples)
            rows.append(
                {
                    **dataclasses.asdict(table.setting),
                    "metric": metric,
                    "model": model,
                    "baseline": baseline,
                    "difference": own_mean - mean,
                    "ci": ci,
                    "better": ci is not None and ci[0] > 0,
                }
            )
    return rows


def by_concentration(
    pooled: Ranks, *, min_molecules: int = 20, n_bootstrap: int = 1000, seed: int = 0
) -> tuple[list[dict], list[dict]]:
    """Recall of the queries of each concentration, ranked in the same gallery as in ``summarise``.

    Only for the paper's direction, profile to molecule, and where there are at least two doses;
    not in the galleries of ``FURTHER_GALLERIES``. Concentrations are grouped to two significant
    digits.

    Returns:
        Rows with ``concentration_um``, and a ``not_computed`` entry for each setting in which some
        doses have fewer than ``min_molecules`` molecules.
    """
    rows, not_computed = [], []
    for table in pooled.tables:
        if not _in_detail(table):
            continue
        dose = np.array([float(f"{c:.2g}") for c in table.concentration_um])
        doses = np.unique(dose)
        if len(doses) < 2:
            continue
        few = []
        for value in doses.tolist():
            part = _subset(table, dose == value)
            n_molecules = len(np.unique(part.molecule))
            if n_molecules < min_molecules:
                few.append(f"{value:g} µM ({n_molecules})")
                continue
            for row in summarise(Ranks((part,), ()), n_bootstrap=n_bootstrap, seed=seed):
                rows.append({**row, "concentration_um": value})
        if few:
            missing = {
                **{name: getattr(table.setting, name) for name in ("split", "subset", "psi")},
                "reason": f"recall by dose, fewer than {min_molecules} molecules at "
                + ", ".join(few),
            }
            # The same queries in another gallery: said once.
            if missing not in not_computed:
                not_computed.append(missing)
    return rows, not_computed


def by_condition(
    pooled: Ranks, *, min_molecules: int = 10, n_bootstrap: int = 1000, seed: int = 0
) -> list[dict]:
    """Recall of the queries of each condition, ranked in the same gallery as in ``summarise``.

    Only from profile to molecule, where there are several conditions, and for those with queries
    of at least ``min_molecules`` molecules. Rows have a ``condition``.
    """
    rows = []
    for table in pooled.tables:
        names = np.unique(table.condition)
        if not _in_detail(table) or len(names) < 2:
            continue
        for name in names.tolist():
            part = _subset(table, table.condition == name)
            if len(np.unique(part.molecule)) < min_molecules:
                continue
            for row in summarise(Ranks((part,), ()), n_bootstrap=n_bootstrap, seed=seed):
                rows.append({**row, "condition": name})
    return rows


def rank_curves(pooled: Ranks) -> list[dict]:
    """Recall at every share of the gallery, for each model; profile to molecule only.

    Each row holds ``percent`` and ``recall``, lists of the same length.
    """
    return [
        {
            **dataclasses.asdict(table.setting),
            "model": model,
            "percent": _CURVE_PERCENT.tolist(),
            "recall": [
                float(_hits(table, model, percent).mean()) for percent in _CURVE_PERCENT.tolist()
            ],
        }
        for table in pooled.tables
        if _in_detail(table)
        for model in [*table.rank, CHANCE]
    ]


def _in_detail(table: RankTable) -> bool:
    """Whether doses, conditions and curves are told of a table."""
    setting = table.setting
    return setting.direction == "profile_to_molecule" and setting.gallery not in FURTHER_GALLERIES


def _values(table: RankTable, model: str, metric: MetricSpec) -> Float[np.ndarray, "q"]:
    """What each query is worth; for chance in the mean."""
    if model == CHANCE:
        return metric.at_random(table.n_gallery)
    return metric(table.rank[model], table.n_gallery)


def _hits(table: RankTable, model: str, percent: float) -> Float[np.ndarray, "q"]:
    """Hit or not of each query; for chance the probability of a hit."""
    if model == CHANCE:
        return ranks.chance_hits(table.n_gallery, table.n_gallery, percent)
    return ranks.hits(table.rank[model], table.n_gallery, percent)


def _median_rank_pct(table: RankTable, model: str) -> float:
    if model == CHANCE:
        # The median of a rank drawn from 1..M is (M + 1) / 2.
        return float(np.median(50 * (table.n_gallery + 1) / table.n_gallery))
    return float(np.median(100 * table.rank[model] / table.n_gallery))


def _mean_reciprocal_rank(table: RankTable, model: str) -> float:
    if model != CHANCE:
        return float((1 / table.rank[model]).mean())
    sizes, where = np.unique(table.n_gallery, return_inverse=True)
    return float(np.array([(1 / np.arange(1, n + 1)).mean() for n in sizes])[where].mean())


def _resampled(
    table: RankTable, n_bootstrap: int, seed: int
) -> dict[tuple[str, str], tuple[float, Float[np.ndarray, "b"]]]:
    """Mean and resampled means of each (model, metric); all share the same draws."""
    columns = [(model, metric) for model in [*table.rank, CHANCE] for metric in METRICS]
    values = np.stack([_values(table, model, METRICS[m]) for model, m in columns], axis=1)
    samples = bootstrap.resampled_means(values, table.molecule, n_bootstrap=n_bootstrap, seed=seed)
    return {column: (float(values[:, i].mean()), samples[:, i]) for i, column in enumerate(columns)}


def _interval(table: RankTable, samples: Float[np.ndarray, "b"]) -> list[float] | None:
    return bootstrap.interval(samples, n_clusters=len(np.unique(table.molecule)))


def _subset(table: RankTable, chosen: np.ndarray) -> RankTable:
    return RankTable(
        setting=table.setting,
        molecule=table.molecule[chosen],
        concentration_um=table.concentration_um[chosen],
        condition=table.condition[chosen],
        n_gallery=table.n_gallery[chosen],
        rank={model: rank[chosen] for model, rank in table.rank.items()},
    )
