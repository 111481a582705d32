"""What a run keeps of its held-out perturbations, for whoever uses its model."""

import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.phenomics import activity_within_conditions
from molphenix_jax.screens.screen import Screen, replicate_rows
from molphenix_jax.screens.splits import Split
from molphenix_jax.trained.held_out import MOST_HELD_OUT, HeldOut

_SEED = 0


def held_out_of(screen: Screen, split: Split) -> HeldOut | None:
    """Perturbations of unseen molecules, or of the validation molecules where there are none.

    At most `MOST_HELD_OUT`, drawn at random; None where the model learned from all molecules.
    """
    ids = split.test if len(split.test) else split.validation
    if not len(ids):
        return None
    if len(ids) > MOST_HELD_OUT:
        rng = np.random.default_rng(_SEED)
        ids = np.sort(rng.choice(ids, MOST_HELD_OUT, replace=False))
    molecules = screen.molecules.iloc[screen.molecule[ids]]
    return HeldOut(
        profile=screen.profiles(ids),
        smiles=molecules["smiles"].to_numpy(str),
        inchikey=molecules["inchikey"].to_numpy(str),
        concentration_um=screen.concentration_um[ids].astype(np.float64),
        condition=screen.condition[ids].astype(np.int64),
        replicates=screen.n_replicates[ids].astype(np.int64),
        p_value=screen.p_value[ids].astype(np.float64),
        activity_p=_activity(screen, ids),
    )


def _activity(screen: Screen, ids: Int[np.ndarray, " h"]) -> Float[np.ndarray, " h"]:
    null = screen.archive.null
    rows, of_row = replicate_rows(screen.offsets, ids)
    return activity_within_conditions(
        screen.replicates[rows],
        of_row,
        screen.condition[ids],
        lambda c: null.profile[null.condition == c],
    )
