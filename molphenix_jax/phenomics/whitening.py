"""Linear statistics of control wells: centre and scale, PCA whitening, CORAL (SPEC section 8)."""

import numpy as np
from jaxtyping import Bool, Float

# Axes along which controls hardly vary hold rounding noise, which whitening would blow up to the
# size of biology. They are kept (a treatment may move along them) but divided by no less than this
# floor, a share of the mean variance. With fewer controls than features it also bounds the null
# space, where the controls' variance is 0.
VARIANCE_FLOOR = 0.1
CORAL_RIDGE = 0.5


def center_scale(
    reference: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"], int]:
    """Mean, standard deviation (1 where it is 0) and the number of constant features."""
    reference = reference.astype(np.float64)
    center, spread = reference.mean(axis=0), reference.std(axis=0)
    # Rounding leaves about 1e-16 of the mean in the SD of a constant column.
    constant = spread <= 1e-12 * np.abs(center)
    return center, np.where(constant, 1.0, spread), int(constant.sum())


def whitening(
    z: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "d d"], Bool[np.ndarray, "d"]]:
    """PCA axes divided by their SD, largest first, and which of them lie above the floor."""
    z = z - z.mean(axis=0)
    variance, axes = np.linalg.eigh(z.T @ z / len(z))
    variance, axes = variance[::-1], axes[:, ::-1]
    floor = VARIANCE_FLOOR * variance.mean()
    if floor <= 0:  # controls that are all alike
        return np.eye(len(variance)), np.zeros(len(variance), bool)
    return axes / np.sqrt(np.maximum(variance, floor)), variance >= floor


def coral(
    centred: Float[np.ndarray, "n k"],
) -> tuple[Float[np.ndarray, "r k"], Float[np.ndarray, "r"]]:
    """(cov + ridge I)^-1/2 as ridge^-1/2 I + axes' diag(gain) axes.

    The covariance of n wells has rank n - 1: its own axes are all that has to be kept, where a
    [k, k] matrix for each of a thousand plates would not fit.
    """
    n = max(len(centred) - 1, 1)
    if len(centred) <= centred.shape[1]:
        _, singular, axes = np.linalg.svd(centred / np.sqrt(n), full_matrices=False)
        variance = singular**2
    else:
        variance, columns = np.linalg.eigh(centred.T @ centred / n)
        variance, axes = np.maximum(variance, 0.0), columns.T
    return axes, (variance + CORAL_RIDGE) ** -0.5 - CORAL_RIDGE**-0.5
