"""Confidence intervals that know that the doses of one molecule are not independent.

A cluster bootstrap: whole molecules are drawn with replacement, and with a molecule all its
queries. Every column of values is resampled with the same draws, so the difference of two columns
is a paired difference. The intervals are percentile intervals; with few hits they are too narrow,
so read them beside the number of queries. Of a handful of molecules, or of molecules that all say
the same (no hit at all), resampling knows nothing, and there is no interval.
"""

import numpy as np
from jaxtyping import Float, Shaped

_DRAWS_AT_ONCE = 2**22
MIN_CLUSTERS = 5  # of fewer, resampling repeats the same few means
MIN_RESAMPLES = 20  # of fewer, a 95% interval is their range or less


def resampled_means(
    values: Float[np.ndarray, "q v"],
    cluster: Shaped[np.ndarray, "q"],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "b v"]:
    """Means over the rows when clusters of rows are drawn with replacement.

    Args:
        values: one row for each query, one column for each quantity.
        cluster: id of the molecule that each row belongs to.
        n_bootstrap: number of resamples b.
        seed: seed of the draws; the same seed and clusters give the same draws.

    Raises:
        ValueError: if there are no rows, or not one cluster id for each.
    """
    if len(values) == 0 or np.shape(cluster) != (len(values),):
        raise ValueError(
            f"need at least one row and a cluster id for each, got values of shape "
            f"{np.shape(values)} and clusters of shape {np.shape(cluster)}"
        )
    names, where = np.unique(cluster, return_inverse=True)
    n_clusters = len(names)
    # A resample is a vector of how often each cluster was drawn; sums are then one product.
    rows = np.concatenate([np.ones((len(values), 1)), np.asarray(values, np.float64)], axis=1)
    sums = np.zeros((n_clusters, rows.shape[1]))
    np.add.at(sums, where, rows)

    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // n_clusters)
    totals = []
    for start in range(0, n_bootstrap, at_once):
        n = min(at_once, n_bootstrap - start)
        drawn = generator.integers(n_clusters, size=(n, n_clusters))
        drawn += n_clusters * np.arange(n)[:, None]
        times = np.bincount(drawn.ravel(), minlength=n * n_clusters).reshape(n, n_clusters)
        totals.append(times.astype(np.float64) @ sums)
    total = np.concatenate(totals)
    return total[:, 1:] / total[:, :1]


def interval(
    samples: Float[np.ndarray, "b"], *, n_clusters: int, level: float = 0.95
) -> list[float] | None:
    """Central percentile interval of resampled values: lower and upper end.

    Args:
        samples: of one quantity; those that are not finite are left out.
        n_clusters: number of clusters that were resampled.
        level: share of the samples within.

    Returns:
        None where there is no telling: fewer than 5 clusters or 20 resamples, or all samples alike.
    """
    samples = samples[np.isfinite(samples)]
    if n_clusters < MIN_CLUSTERS or len(samples) < MIN_RESAMPLES or np.ptp(samples) < 1e-12:
        return None
    tail = 50 * (1 - level)
    return np.percentile(samples, [tail, 100 - tail]).tolist()
