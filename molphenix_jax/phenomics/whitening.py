"""Linear statistics of control wells: centre and scale, PCA whitening (docs/method.md §8)."""

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.tables.rows import Chunks, Rows, chunked, mean_and_spread, total

# Axes along which controls hardly vary hold rounding noise, which whitening would blow up to the
# size of biology. They are kept (a treatment may move along them) but divided by no less than this
# floor, a share of the mean variance. With fewer controls than features it also bounds the null
# space, where the controls' variance is 0.
VARIANCE_FLOOR = 0.1
_MIN_TO_CENTER = 2


def centers_and_scales(
    x: Rows, reference: Int[np.ndarray, "c"], pool: Int[np.ndarray, "n"], minimum: int
) -> tuple[Float[np.ndarray, "s d"], Float[np.ndarray, "s d"], Int[np.ndarray, "n"], int]:
    """Centres and scales of some wells: of all together, and of each condition.

    Row 0 has the mean of all, and their standard deviation within conditions: what lies between two
    cell lines is no spread of either. A condition with two wells has a centre of its own, one with
    `minimum` a scale, but for features that are constant in it.

    Args:
        x: embeddings.
        reference: the wells.
        pool: condition of each row of x.
        minimum: wells that a condition needs for a scale of its own.

    Returns:
        Centres and scales (1 where all is constant), [s, d]; the row of each well, [n]; the number
        of constant features.
    """
    center, spread, constant = _center_scale(chunked(x, reference))
    row = np.zeros(len(pool), np.int64)
    members = {c: reference[pool[reference] == c] for c in np.unique(pool)}
    own = {c: rows for c, rows in members.items() if len(rows) >= _MIN_TO_CENTER}
    if len(members) == 1 or not own:
        return center[None], np.where(constant, 1.0, spread)[None], row, int(constant.sum())
    found = {c: _center_scale(chunked(x, rows)) for c, rows in own.items()}
    squares = sum(len(rows) * found[c][1] ** 2 for c, rows in own.items())
    within = np.sqrt(squares / sum(map(len, own.values())))
    constant = within <= 1e-12 * np.abs(center)
    centers, scales = [center], [np.where(constant, 1.0, within)]
    for c, (mean, spread, its_constant) in found.items():
        row[pool == c] = len(centers)
        centers.append(mean)
        usable = (len(own[c]) >= minimum) & ~its_constant
        scales.append(np.where(usable, spread, scales[0]))
    return np.stack(centers), np.stack(scales), row, int(constant.sum())


def _center_scale(
    reference: Chunks,
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"], Bool[np.ndarray, "d"]]:
    """Mean and standard deviation, and which features are constant."""
    center, spread = mean_and_spread(reference)
    # Rounding leaves about 1e-16 of the mean in the SD of a constant column.
    return center, spread, spread <= 1e-12 * np.abs(center)


def whitening(z: Chunks) -> tuple[Float[np.ndarray, "d d"], Bool[np.ndarray, "d"]]:
    """PCA axes divided by their SD, largest first, and which of them lie above the floor."""
    n, sums = total(z)
    products = np.zeros((len(sums), len(sums)))
    for chunk in z():
        centred = chunk - sums / n
        products += centred.T @ centred
    variance, axes = np.linalg.eigh(products / n)
    variance, axes = variance[::-1], axes[:, ::-1]
    floor = VARIANCE_FLOOR * variance.mean()
    if floor <= 0:  # controls that are all alike
        return np.eye(len(variance)), np.zeros(len(variance), bool)
    return axes / np.sqrt(np.maximum(variance, floor)), variance >= floor
