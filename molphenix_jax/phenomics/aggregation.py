"""From replicate wells to one profile per perturbation (paper section 3: embedding averaging)."""

import numpy as np
from jaxtyping import Float, Int

_CHUNK_VALUES = 1 << 23  # embedding values held at once: 64 MiB of float64


def aggregate(
    x: Float[np.ndarray, "n d"], perturbation: Int[np.ndarray, "n"], n_perturbations: int
) -> Float[np.ndarray, "p d"]:
    """Mean over the replicates of each perturbation, z_x = (1/N) sum z_xi.

    Args:
        x: corrected embeddings of the treated wells.
        perturbation: id of each well's perturbation, 0 to n_perturbations - 1.
        n_perturbations: number of perturbations.

    Returns:
        Profiles in order of the ids, float32, summed in float64.

    Raises:
        ValueError: shapes disagree, an id is out of range, or a perturbation has no well.
    """
    x, perturbation = np.asarray(x), np.asarray(perturbation)
    if x.ndim != 2 or perturbation.shape != x.shape[:1]:
        raise ValueError(
            f"expected x [n, d] and perturbation [n], got {x.shape} and {perturbation.shape}"
        )
    if len(x) and not 0 <= perturbation.min() <= perturbation.max() < n_perturbations:
        raise ValueError(
            f"perturbation ids must lie in 0..{n_perturbations - 1}, "
            f"got {perturbation.min()}..{perturbation.max()}"
        )
    counts = np.bincount(perturbation, minlength=n_perturbations)
    if not counts.all():
        raise ValueError(f"perturbation {int(counts.argmin())} has no well to average")
    order = np.argsort(perturbation, kind="stable")
    ends = np.cumsum(counts)
    profiles = np.empty((n_perturbations, x.shape[1]), np.float32)
    begin = 0
    while begin < n_perturbations:
        first = ends[begin] - counts[begin]
        budget = first + max(1, _CHUNK_VALUES // max(1, x.shape[1]))
        end = max(begin + 1, int(np.searchsorted(ends, budget, side="right")))
        wells = x[order[first : ends[end - 1]]].astype(np.float64)
        starts = ends[begin:end] - counts[begin:end] - first
        sums = np.add.reduceat(wells, starts, axis=0)
        profiles[begin:end] = sums / counts[begin:end, None]
        begin = end
    return profiles
