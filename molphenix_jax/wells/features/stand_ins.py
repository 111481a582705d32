"""Numbers that stand for gaps among features: -999 and its like, found where rows are read."""

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.tables.columns import short
from molphenix_jax.tables.missing import SENTINELS, beyond
from molphenix_jax.tables.reading.spool import Spool
from molphenix_jax.tables.rows import chunk_rows

_VALUES = np.array(sorted(SENTINELS), np.float32)
_LEAST = np.abs(_VALUES).min()
_NAMED = 5


def count_stand_ins(matrix: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "s d"]:
    """How often each of these numbers stands in each feature."""
    counts = np.zeros((len(_VALUES), matrix.shape[1]), np.int64)
    row, feature = np.nonzero((np.abs(matrix) >= _LEAST) & (matrix == np.rint(matrix)))
    found = matrix[row, feature]
    at = np.minimum(np.searchsorted(_VALUES, found), len(_VALUES) - 1)
    is_one = _VALUES[at] == found
    np.add.at(counts, (at[is_one], feature[is_one]), 1)
    return counts


def blank_stand_ins(spool: Spool, counts: Int[np.ndarray, "s d"], labels: np.ndarray) -> list[str]:
    """Writes gaps in their place where they are none of the feature's own numbers.

    That is where the number is there twice, in whatever features, and lies beyond all others of a
    feature by more than their range.

    Args:
        spool: the embeddings as read; changed on disk.
        counts: how often each number is there (`count_stand_ins`).
        labels: names of the features.

    Returns:
        A sentence, if any was found.
    """
    several = counts.sum(axis=1) > 1
    asked = np.flatnonzero(counts[several].any(axis=0))
    if not len(asked):
        return []
    low, high = _range_of_others(spool, asked)
    stands = np.zeros(counts.shape, bool)
    for j, feature in enumerate(asked.tolist()):
        for at in np.flatnonzero(counts[:, feature] * several).tolist():
            stands[at, feature] = beyond(float(_VALUES[at]), low[j], high[j])
    features = np.flatnonzero(stands.any(axis=0))
    if not len(features):
        return []
    standing = {feature: _VALUES[stands[:, feature]] for feature in features.tolist()}
    for path in filter(lambda path: path.stat().st_size, spool.paths):
        stored = np.memmap(path, np.float32, "r+")
        x = stored.reshape(-1, spool.width)
        for feature, values in standing.items():
            x[np.isin(x[:, feature], values), feature] = np.nan
        stored.flush()
    told = [
        f"{labels[feature]} ({', '.join(f'{v:.0f}' for v in values)})"
        for feature, values in standing.items()
    ]
    return [
        f"{counts[stands].sum():,} values such as people write for a gap, far beyond all others of "
        f"their feature, are taken as missing: {short(told, _NAMED)}"
    ]


def _range_of_others(
    spool: Spool, features: Int[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Least and greatest of each feature without these numbers; infinite and -infinite for none."""
    low, high = np.full(len(features), np.inf), np.full(len(features), -np.inf)
    n, step = spool.shape[0], chunk_rows(spool.width)
    for start in range(0, n, step):
        x = spool[np.arange(start, min(start + step, n))][:, features]
        own: Bool[np.ndarray, "n k"] = np.isfinite(x) & ~np.isin(x, _VALUES)
        low = np.minimum(low, np.where(own, x, np.inf).min(axis=0))
        high = np.maximum(high, np.where(own, x, -np.inf).max(axis=0))
    return low, high
