"""What a run fits on its training pairs, so that its model can be used without its screen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from molphenix_jax.models import ConcentrationEncoding
from molphenix_jax.runtime.config import Config
from molphenix_jax.trained.scaling import InputScaling, fit_scaling

# Pairs that input scaling and null constant are fitted on, at most; drawn with the run's seed.
FIT_PAIRS = 50_000


class AlignAssets(NamedTuple):
    """What the model needs to be used without its screen; saved in every checkpoint."""

    profile: InputScaling
    molecule: InputScaling
    dose_grid_log10: np.ndarray
    dose_mean_std: np.ndarray
    null_constant: np.ndarray


class Fitted(NamedTuple):
    """Molecules that a scaling is fitted on.

    Attributes:
        inchikey: Of each.
        blocks: Their scaled feature blocks, in the order of the molecule side; none where an
            encoder takes their place.
    """

    inchikey: Shaped[np.ndarray, " m"]
    blocks: Sequence[Float[np.ndarray, "m k"] | Int[np.ndarray, "m k"]]


def fitted_pairs(visited: Int[np.ndarray, " p"], seed: int) -> Int[np.ndarray, " k"]:
    """The training pairs that input scaling and null constant are fitted on."""
    if len(visited) <= FIT_PAIRS:
        return visited
    return np.sort(np.random.default_rng(seed).choice(visited, FIT_PAIRS, replace=False))


def fit_molecules(found: Sequence[Fitted], tower: Config) -> InputScaling:
    """The scaling of the molecules of one screen or several, each molecule once.

    Args:
        found: Of each screen, with the same blocks.
        tower: `model.molecules` of the config.
    """
    keys = np.concatenate([of.inchikey for of in found])
    first = np.sort(np.unique(keys, return_index=True)[1])
    blocks = [
        np.concatenate(parts)[first] for parts in zip(*(of.blocks for of in found), strict=True)
    ]
    # With an encoder there may be none; a checkpoint needs an array.
    return fit_scaling(
        blocks or [np.zeros((len(first), 1), np.float32)],
        components=tower.components if blocks else 0,
        whiten=tower.whiten,
    )


def dose_constants(encoding: ConcentrationEncoding) -> tuple[np.ndarray, np.ndarray]:
    """Grid, and mean with standard deviation, of an encoding's log10 doses."""
    return (
        np.asarray(encoding.grid_log10, np.float32),
        np.asarray([encoding.mean, encoding.std], np.float32),
    )
