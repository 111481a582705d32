"""Several methods with several seeds on the same queries: differences, simultaneous intervals.

A difference is a mean over queries and seeds, both of them a sample: molecules are drawn with
replacement, and so are the seeds, S - 1 of S of them, for so the variance of a mean of S comes out
without bias (Rao and Wu 1988). Noise that belongs to a query under one seed is counted with both,
so the intervals are rather too wide (Owen 2007). All differences share the draws. The intervals of
a family hold together with the given probability: their half-widths are standard errors times one
factor, the quantile of the largest |t| among them (max-t).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from molphenix_jax.evaluation import bootstrap

VERDICTS = ("better", "worse", "equivalent", "undecided")


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What one method has above another.

    Attributes:
        first: Method.
        second: What is subtracted.
        difference: Mean over queries and seeds.
        interval: Its ends, which hold for all differences of the family together; None where there
            is no telling.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None

    def verdict(self, margin: float) -> str:
        """One of `VERDICTS`: equivalent only where the whole interval is within ± the margin."""
        if self.interval is None:
            return "undecided"
        low, high = self.interval
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return "equivalent" if -margin < low and high < margin else "undecided"


def contrasts(
    values: Mapping[str, Float[np.ndarray, "s q"]],
    cluster: Shaped[np.ndarray, "q"],
    pairs: Sequence[tuple[str, str]],
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Contrast]:
    """Differences between methods, each with an interval of the family of all of them.

    Args:
        values: For each method a row for each seed and a column for each query; the same seeds and
            queries for all.
        cluster: Molecule of each query.
        pairs: Which differences, (first, second).
        n_bootstrap: Resamples b.
        seed: Of the draws.
        level: With which probability all intervals hold.
    """
    if not pairs:
        return []
    differences = np.stack([values[a] - values[b] for a, b in pairs])  # [c, s, q]
    c, s, q = differences.shape
    means = bootstrap.resampled_means(
        differences.reshape(c * s, q).T, cluster, n_bootstrap=n_bootstrap, seed=seed
    ).reshape(n_bootstrap, c, s)
    drawn = np.random.default_rng([seed, 1]).multinomial(max(s - 1, 1), [1 / s] * s, n_bootstrap)
    samples = np.einsum("bcs,bs->bc", means, drawn / drawn.sum(axis=1, keepdims=True))
    found = differences.mean(axis=(1, 2))
    error = samples.std(axis=0, ddof=1)
    told = error > 1e-12
    if len(np.unique(cluster)) < bootstrap.MIN_CLUSTERS or n_bootstrap < bootstrap.MIN_RESAMPLES:
        told[:] = False
    half = np.zeros(c)
    if told.any():
        t = np.abs(samples[:, told] - found[told]) / error[told]
        half[told] = np.quantile(t.max(axis=1), level) * error[told]
    return [
        Contrast(a, b, float(d), (float(d - h), float(d + h)) if known else None)
        for (a, b), d, h, known in zip(pairs, found, half, told, strict=True)
    ]
