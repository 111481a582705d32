"""An alignment run on a screen of random numbers: what they are changes no time and no memory."""

import jax
import numpy as np
import pandas as pd

from molphenix_jax.phenomics import NullProfiles, fit_correction
from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.screen import Archived, PackedBlock, Screen
from molphenix_jax.screens.splits import Split
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.wells.conditions.values import Conditions

# The paper's blocks of bits, and doses like a screen's.
BLOCKS = {"maccs": 167, "morgan": 2048, "rdkit": 2048}
DOSES_UM = (0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0)


def random_run(
    config: Config, mesh: jax.sharding.Mesh, *, perturbations: int, width: int
) -> AlignRun:
    """An alignment run that trains on all perturbations of a random screen, two wells of each.

    Profiles come in pairs that resemble each other, so that similarities are not all 0.

    Args:
        config: Of the run.
        mesh: Devices.
        perturbations: Of the screen.
        width: Of the profiles.
    """
    rng = np.random.default_rng(0)
    p = perturbations
    n_molecules = -(-p // len(DOSES_UM))
    centre = rng.normal(size=(p, width))
    centre[1::2] = centre[::2][: len(centre[1::2])] + 0.2 * centre[1::2]
    wells = np.repeat(centre, 2, axis=0) + 0.1 * rng.normal(size=(2 * p, width))
    wells = wells.astype(np.float32)
    names = [str(i) for i in range(n_molecules)]
    group = np.array(["1"] * (2 * p))
    screen = Screen(
        name="random",
        replicates=wells,
        offsets=np.arange(0, 2 * p + 1, 2),
        molecule=np.repeat(np.arange(n_molecules), len(DOSES_UM))[:p],
        concentration_um=np.tile(np.array(DOSES_UM, np.float32), n_molecules)[:p],
        condition=np.zeros(p, np.int32),
        conditions=Conditions(),
        p_value=np.zeros(p),
        molecules=pd.DataFrame({"smiles": names, "inchikey": names, "scaffold": names}),
        blocks={
            name: PackedBlock.of((rng.random((n_molecules, k)) < 0.1).astype(np.uint8))
            for name, k in BLOCKS.items()
        },
        feature_names=tuple(f"f{i}" for i in range(width)),
        truth=None,
        notes=(),
        provenance={},
        archive=Archived(
            fit_correction(wells, group, np.ones(2 * p, bool), method="none"),
            NullProfiles.none(width),
            pd.DataFrame({"group": group}),
        ),
    )
    none = np.zeros(0, int)
    split = Split(np.arange(p), none, none, none, np.zeros(2 * p, bool), {})
    return AlignRun(config, screen, split, mesh)
