"""Profiles without any effect, as similar to molecules as chance makes them: the null of a cosine.

Wells scatter, and the mean of several less than one; so each query is held against means of as many
control wells as it has replicates.
"""

import numpy as np
from jaxtyping import Float

from molphenix_jax.retrieval.model import Model

N_NULL = 1000  # the smallest p-value is 1 / 1001
_SEED = 0


class NullEmbeddings:
    """z_x of means of control wells; none where there are fewer than two wells.

    Args:
        model: A trained model.
        wells: Corrected control wells.
    """

    def __init__(self, model: Model, wells: Float[np.ndarray, "c d"]):
        self._model, self._wells = model, wells
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        """How many control wells there are."""
        return len(self._wells)

    def of(self, replicates: int, draw: int = 0) -> Float[np.ndarray, "n e"]:
        """Embedded means of random control wells, `N_NULL` at most.

        Args:
            replicates: Wells in each mean; half of all wells at most, so that means differ.
            draw: Number of the draw: another one is independent.
        """
        r = max(1, min(replicates, len(self._wells) // 2))
        if (r, draw) not in self._known:
            rng = np.random.default_rng([_SEED, r, draw])
            if r == 1:
                rows = rng.permutation(len(self._wells))[:N_NULL, None]
            else:
                rows = np.stack([rng.permutation(len(self._wells))[:r] for _ in range(N_NULL)])
            means = self._wells[rows].mean(axis=1, dtype=np.float64).astype(np.float32)
            self._known[r, draw] = self._model.embed_profiles(means, corrected=True)
        return self._known[r, draw]


def empirical_p(
    null: Float[np.ndarray, "n t"], value: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """(1 + #{null >= value}) / (1 + n), column by column; NaN without a null."""
    if not len(null):
        return np.full(len(value), np.nan)
    return (1 + (null >= value).sum(axis=0)) / (1 + len(null))
