"""Features with gaps: which to drop, so that few wells are lost."""

import numpy as np
from jaxtyping import Bool

from molphenix_jax.tables.rows import Rows, chunked, total

_FREE_ROWS = 3
_FREE_SHARE = 0.01


def complete_features(x: Rows) -> Bool[np.ndarray, "d"]:
    """Which features to keep where some are NaN or infinite in some wells.

    A well with a gap in any kept feature is lost. A gap in up to 3 wells (a quarter of a small
    table), or 1% of them, is these wells' fault. Where more wells are concerned, features are given
    up, most gaps first, as far as keeps most values: (kept features) x (wells - wells lost beyond
    those few) is largest.

    Args:
        x: embeddings with gaps; read once, and once more if there are any.

    Returns:
        True for each feature to keep.
    """
    n, d = x.shape
    if not n:
        return np.ones(d, bool)
    bad = chunked(x, np.arange(n), lambda rows: ~np.isfinite(rows))
    _, gaps = total(bad)
    if not gaps.any():
        return np.ones(d, bool)
    # A well is lost once any feature with a gap there is kept: first the one with fewest gaps.
    lost_at = np.concatenate([np.where(b, gaps[None], n + 1).min(axis=1) for b in bad()])
    most = np.unique(gaps)
    n_lost = np.searchsorted(np.sort(lost_at), most, side="right")
    n_features = np.searchsorted(np.sort(gaps), most, side="right")
    free = max(min(_FREE_ROWS, n // 4), int(_FREE_SHARE * n))
    values = n_features * (n - np.maximum(n_lost - free, 0)) * (n_lost < n)
    best = len(most) - 1 - int(np.argmax(values[::-1]))  # ties keep more features
    return gaps <= most[best]
