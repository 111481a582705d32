"""Linear statistics of control wells: centre and scale, PCA whitening (SPEC section 8)."""

import numpy as np
from jaxtyping import Bool, Float

from molphenix_jax.tables.rows import Chunks, mean_and_spread, total

# Axes along which controls hardly vary hold rounding noise, which whitening would blow up to the
# size of biology. They are kept (a treatment may move along them) but divided by no less than this
# floor, a share of the mean variance. With fewer controls than features it also bounds the null
# space, where the controls' variance is 0.
VARIANCE_FLOOR = 0.1


def center_scale(
    reference: Chunks,
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"], int]:
    """Mean, standard deviation (1 where it is 0) and the number of constant features."""
    center, spread = mean_and_spread(reference)
    # Rounding leaves about 1e-16 of the mean in the SD of a constant column.
    constant = spread <= 1e-12 * np.abs(center)
    return center, np.where(constant, 1.0, spread), int(constant.sum())


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
