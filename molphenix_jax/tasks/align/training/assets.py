"""What a run fits on its training pairs, so that its model can be used without its screen."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.models import ConcentrationEncoding
from molphenix_jax.molecules import trained_encoders
from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.screen import Screen, unpacked_rows
from molphenix_jax.trained.scaling import InputScaling, fit_scaling

# Pairs that input scaling and null constant are fitted on, at most; drawn with the run's seed.
FIT_PAIRS = 50_000


class SimilarAssets(NamedTuple):
    """What w is computed with, where more than c was fitted; float32.

    Attributes:
        constant: c.
        axes: Directions that w is taken along [d, d], columns of zeros behind them; [0, 0] without.
        soft: k, and share and mean of w beside the diagonal (`losses.SoftPositives`); [0] without.
    """

    constant: np.ndarray
    axes: np.ndarray
    soft: np.ndarray


class AlignAssets(NamedTuple):
    """What the model needs to be used without its screen; saved in every checkpoint.

    `null_constant` is c, or what stands with it: checkpoints of runs that fit c alone keep their
    form.
    """

    profile: InputScaling
    molecule: InputScaling
    dose_grid_log10: np.ndarray
    dose_mean_std: np.ndarray
    null_constant: np.ndarray | SimilarAssets


class Start(NamedTuple):
    """The molecule side that a run starts from.

    Attributes:
        named: What the config calls it.
        folder: Of its model.
        params: Its parameters [members, …].
        n_conditions: Rows at the end of its first layer that stand for its own conditions.
        molecules: Those that it was trained on: columns inchikey, smiles, split.
    """

    named: str
    folder: pathlib.Path
    params: Any
    n_conditions: int
    molecules: pd.DataFrame


class MoleculeInputs(NamedTuple):
    """What molecules and doses go into the molecule side by; of one screen or shared by several.

    Attributes:
        scaling: Of the feature blocks that are scaled (`scaled_blocks`).
        encoding: Of doses.
        start: The molecule side that it starts from, whose these are; None begins at random.
    """

    scaling: InputScaling
    encoding: ConcentrationEncoding
    start: Start | None = None


def own_encoder(config: Config) -> str:
    """The feature block that a trained encoder from outside reads; "" without one."""
    return config.molecules.encoder if config.molecules.encoder in trained_encoders() else ""


def scaled_blocks(config: Config, screen: Screen) -> tuple[str, ...]:
    """The feature blocks that are scaled, and not a trained encoder's own; in their order."""
    return tuple(name for name in sorted(screen.block_names) if name != own_encoder(config))


def fitted_pairs(visited: Int[np.ndarray, " p"], seed: int) -> Int[np.ndarray, " k"]:
    """The training pairs that input scaling and null constant are fitted on."""
    if len(visited) <= FIT_PAIRS:
        return visited
    return np.sort(np.random.default_rng(seed).choice(visited, FIT_PAIRS, replace=False))


def fit_inputs(
    visited: Sequence[tuple[Screen, Int[np.ndarray, " p"]]], config: Config
) -> MoleculeInputs:
    """Fits what molecules and doses go in by, on each molecule once.

    Args:
        visited: Screens with the same blocks, and the training pairs of each.
        config: Of the run.
    """
    keys, parts = [], []
    for screen, pairs in visited:
        molecules = np.unique(screen.molecule[fitted_pairs(pairs, config.seed)])
        keys.append(screen.molecules["inchikey"].to_numpy(str)[molecules])
        names = scaled_blocks(config, screen)
        parts.append([unpacked_rows(screen.blocks[name], molecules) for name in names])
    first = np.sort(np.unique(np.concatenate(keys), return_index=True)[1])
    blocks = [np.concatenate(of)[first] for of in zip(*parts, strict=True)]
    tower = config.model.molecules
    scaling = fit_scaling(
        # With an encoder there may be none; a checkpoint needs an array.
        blocks or [np.zeros((len(first), 1), np.float32)],
        components=tower.components if blocks else 0,
        whiten=tower.whiten,
    )
    doses = np.concatenate([screen.concentration_um[pairs] for screen, pairs in visited])
    return MoleculeInputs(
        scaling, ConcentrationEncoding.fit(doses, kind=config.model.concentration)
    )


def dose_constants(encoding: ConcentrationEncoding) -> tuple[np.ndarray, np.ndarray]:
    """Grid, and mean with standard deviation, of an encoding's log10 doses."""
    return (
        np.asarray(encoding.grid_log10, np.float32),
        np.asarray([encoding.mean, encoding.std], np.float32),
    )
