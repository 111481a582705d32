"""How well properties are predicted: AUROC and average precision, R², MAE, with intervals.

Intervals are of the bootstrap over groups of molecules (scaffolds): molecules of one scaffold are
no independent witnesses. Differences to a baseline are taken on the same resamples.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.evaluation.bootstrap import interval

Metric = Callable[[np.ndarray, np.ndarray], float]


def auroc(label: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Probability that a positive has the higher score; ties count half. NaN without both."""
    from scipy.stats import rankdata

    positive = label > 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)
    rank_sum = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(rank_sum / (n_positive * n_negative))


def average_precision(label: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Area under the precision-recall curve as a step function; NaN without a positive."""
    from sklearn.metrics import average_precision_score

    if not (label > 0.5).any():
        return float("nan")
    return float(average_precision_score(label > 0.5, score))


def r2(label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]) -> float:
    """1 - squared error over variance of the labels; NaN where they do not vary."""
    variance = float(((label - label.mean()) ** 2).sum())
    if variance == 0:
        return float("nan")
    return 1 - float(((label - prediction) ** 2).sum()) / variance


def mean_absolute_error(label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"]):
    """In units of the label."""
    return float(np.abs(label - prediction).mean())


# Loss of a label → its metrics; the first is the one that runs are chosen by, larger is better.
PROPERTY_METRICS: dict[str, dict[str, Metric]] = {
    "bce": {"auroc": auroc, "average_precision": average_precision},
    "mae": {"r2": r2, "mae": mean_absolute_error},
    "hybrid_ce": {"r2": r2, "mae": mean_absolute_error},
}
SMALLER_IS_BETTER = ("mae",)


def property_results(
    label: Float[np.ndarray, " n"],
    scores: Mapping[str, Float[np.ndarray, " n"]],
    groups: Int[np.ndarray, " n"],
    *,
    loss: str,
    model: str,
    n_bootstrap: int,
    seed: int,
) -> tuple[list[dict], list[dict]]:
    """Every metric of every model on one label, and the model's difference to each baseline.

    Args:
        label: Values; rows with NaN are left out.
        scores: Name → predictions; higher is more likely 1 for bce.
        groups: Scaffold of each row.
        loss: Kind of the label.
        model: The name in `scores` that the others are compared with.
        n_bootstrap: Resamples.
        seed: Of the resamples.

    Returns:
        Rows {metric, model, value, ci, n, n_positive} and {metric, model, baseline, difference, ci,
        better}; a positive difference is in the model's favour. `ci` is None where there are not
        enough scaffolds for an interval.
    """
    known = np.isfinite(label)
    label, groups = label[known], np.unique(groups[known], return_inverse=True)[1]
    scores = {name: score[known] for name, score in scores.items()}
    rows, comparisons = [], []
    n_groups = len(np.unique(groups))
    n_positive = int((label > 0.5).sum()) if loss == "bce" else None
    for metric, function in PROPERTY_METRICS[loss].items():
        resampled = _resample(label, scores, groups, function, n_bootstrap, seed)
        value = {name: function(label, score) for name, score in scores.items()}
        rows += [
            {
                "metric": metric,
                "model": name,
                "value": value[name],
                "ci": interval(resampled[name], n_clusters=n_groups),
                "n": len(label),
                "n_positive": n_positive,
            }
            for name in scores
        ]
        sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
        for name in scores:
            if name != model:
                ci = interval(sign * (resampled[model] - resampled[name]), n_clusters=n_groups)
                comparisons.append(
                    {
                        "metric": metric,
                        "model": model,
                        "baseline": name,
                        "difference": sign * (value[model] - value[name]),
                        "ci": ci,
                        "better": ci is not None and ci[0] > 0,
                    }
                )
    return rows, comparisons


def _resample(label, scores, groups, function, n_bootstrap, seed) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 2))
    members = np.split(order, starts[1:-1])
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(n_bootstrap):
        chosen = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in chosen])
        for name, score in scores.items():
            drawn[name].append(function(label[rows], score[rows]))
    return {name: np.asarray(values) for name, values in drawn.items()}
