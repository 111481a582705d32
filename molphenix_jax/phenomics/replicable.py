"""The directions of a screen that its replicates agree on, and how well."""

import numpy as np
from jaxtyping import Float, Int

# Directions in which replicates hardly vary would count as replicable for their rounding: the
# variance within perturbations is taken as no less than this share of its mean (as in whitening).
VARIANCE_FLOOR = 0.1


class ReplicableError(ValueError):
    """The wells cannot tell what replicates agree on."""


def replicable_axes(
    replicates: Float[np.ndarray, "n d"],
    perturbation: Int[np.ndarray, " n"],
    *,
    correlation: float,
) -> tuple[Float[np.ndarray, "d r"], Float[np.ndarray, " r"]]:
    """Directions in which two wells of one perturbation correlate, the best first.

    These are the generalised eigenvectors of the covariance between perturbations with that within
    them (Fisher's discriminants, with perturbations for classes). Along each, the variance between
    perturbations is freed of what noise puts into means of few wells: with B' the covariance of the
    means about 0, the controls' centre, and W that within perturbations, B = B' - mean(1 / n) W.
    Where B v = λ W v, two wells correlate by λ / (1 + λ).

    Args:
        replicates: Corrected wells, 0 being the controls' centre.
        perturbation: Which perturbation each well is of; those of one well tell nothing of noise.
        correlation: Directions where two wells correlate by less are left out, in (0, 1).

    Returns:
        Axes: wells times these are coordinates in which replicates vary by 1 and independently. And
        the correlation of each.

    Raises:
        ReplicableError: There is no perturbation with two wells, or no such direction.
    """
    group, size = np.unique(perturbation, return_inverse=True, return_counts=True)[1:]
    x = np.asarray(replicates, np.float64)
    degrees = len(x) - len(size)
    if degrees < 1:
        raise ReplicableError("no perturbation has two wells, which would tell noise from effects")
    means = np.zeros((len(size), x.shape[1]))
    np.add.at(means, group, x)
    means /= size[:, None]
    rest = x - means[group]
    within = rest.T @ rest / degrees
    between = means.T @ means / len(size) - np.mean(1.0 / size) * within
    variance, axes = np.linalg.eigh(within)
    floor = VARIANCE_FLOOR * variance.mean()
    noisy = variance.mean() > np.finfo(np.float64).eps * np.mean(x * x)  # more than rounding
    whitened = axes / np.sqrt(np.maximum(variance, floor)) if noisy else axes
    ratio, turned = np.linalg.eigh(whitened.T @ between @ whitened)
    ratio, turned = np.maximum(ratio[::-1], 0.0), turned[:, ::-1]
    # Wells without noise agree along all directions, whose lengths stay as they are.
    found = ratio / (1.0 + ratio) if noisy else np.ones_like(ratio)
    kept = int(np.sum(found >= correlation))
    if not kept:
        raise ReplicableError(
            f"along no direction do two wells of a perturbation correlate by {correlation:g}; the "
            f"best is {found[0]:.2f}"
        )
    return whitened @ turned[:, :kept], found[:kept]
