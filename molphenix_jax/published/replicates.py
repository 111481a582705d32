"""Replicate mAP by copairs, the field's own measure of activity, beside our p-values.

For each replicate well of a perturbation the others should come before control wells (DMSO), by
the cosine of corrected profiles: the mean of these average precisions is the perturbation's mAP,
and its p-value is that of random orders, corrected by Benjamini-Hochberg. Our p-value of the same
wells asks something else: whether replicates are more alike than wells of different perturbations.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from molphenix_jax import extras, storage
from molphenix_jax.published.bray2017 import PublishedError
from molphenix_jax.screens.screen import Screen

# Pairs of a well and a control, at most: copairs holds all of them (some tens of bytes for each).
MOST_PAIRS = 20_000_000
THRESHOLD = 0.05  # of the corrected p-value: "retrieved"
_CONTROL = "control"
_PLACE = ["perturbation", "control_row"]


def replicate_map(screen: Screen, *, null_size: int, seed: int) -> pd.DataFrame:
    """Replicate mAP of each perturbation with two replicates or more.

    Args:
        screen: In memory.
        null_size: Random orders behind a p-value.
        seed: Of these, and of the choice of controls where there are too many pairs.

    Returns:
        Columns inchikey, concentration_um, condition, n_replicates, map, map_p_value,
        map_corrected_p_value, retrieved, p_value (ours).

    Raises:
        PublishedError: The screen has no control wells, or no replicates.
        MissingExtraError: copairs is not installed.
    """
    controls = screen.archive.null.profile
    chosen = np.flatnonzero(screen.n_replicates >= 2)
    if not len(controls) or not len(chosen):
        what = "control wells" if len(chosen) else "perturbation with two replicates"
        raise PublishedError(f"screen {screen.name} has no {what}: replicate mAP needs them")
    code = np.repeat(np.arange(screen.n_perturbations), screen.n_replicates)
    rows = np.flatnonzero(np.isin(code, chosen))
    most = max(2, MOST_PAIRS // len(rows))
    if len(controls) > most:
        rng = np.random.default_rng(seed)
        controls = controls[np.sort(rng.choice(len(controls), most, replace=False))]
    found = map_of(screen.in_memory().replicates[rows], code[rows], controls, null_size, seed)
    found = found.loc[chosen]
    molecule = screen.molecule[chosen]
    return pd.DataFrame(
        {
            "inchikey": screen.molecules["inchikey"].to_numpy(str)[molecule],
            "concentration_um": screen.concentration_um[chosen],
            "condition": np.array(screen.conditions.labels)[screen.condition[chosen]],
            "n_replicates": screen.n_replicates[chosen],
            "map": found["mean_average_precision"].to_numpy(float),
            "map_p_value": found["p_value"].to_numpy(float),
            "map_corrected_p_value": found["corrected_p_value"].to_numpy(float),
            "retrieved": found["corrected_p_value"].to_numpy(float) <= THRESHOLD,
            "p_value": screen.p_value[chosen],
        }
    )


def map_of(
    x: Float[np.ndarray, "n d"],
    perturbation: Sequence[int] | np.ndarray,
    controls: Float[np.ndarray, "m d"],
    null_size: int,
    seed: int,
) -> Any:
    """The table of copairs: replicates of a perturbation are pairs, controls are the others."""
    for module in ("copairs", "copairs.map"):
        copairs = extras.load(module, extra="copairs", what="replicate mAP")
    names = [str(code) for code in perturbation]
    told = pd.DataFrame(
        {
            # Controls differ in their row and are no pairs of one another; treated wells share -1,
            # so that those of different perturbations are not compared.
            "perturbation": [*names, *[_CONTROL] * len(controls)],
            "control_row": [*[-1] * len(names), *range(len(controls))],
        }
    )
    with storage.temporary_folder() as cache:
        pairs = {"pos_sameby": _PLACE, "pos_diffby": [], "neg_sameby": [], "neg_diffby": _PLACE}
        profiles = np.concatenate([x, controls]).astype(np.float32)
        ap = copairs.average_precision(told, profiles, **pairs, progress_bar=False)
        treated = ap.loc[ap["perturbation"] != _CONTROL]
        found = copairs.mean_average_precision(
            treated,
            ["perturbation"],
            null_size=null_size,
            threshold=THRESHOLD,
            seed=seed,
            progress_bar=False,
            cache_dir=cache,
        )
    return found.set_index(found["perturbation"].astype(int))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Both measures of all perturbations: mAP, shares that are active, and how they agree."""
    ours = table["p_value"].to_numpy(np.float64)
    retrieved = table["retrieved"].to_numpy(bool)
    rows = [
        ("mean mAP", float(np.mean(table["map"].to_numpy(np.float64)))),
        (f"retrieved, corrected p of mAP <= {THRESHOLD:g}", float(retrieved.mean())),
    ]
    for psi in (0.01, 0.1):
        active = ours <= psi
        rows.append((f"active by our p <= {psi:g}", float(active.mean())))
        rows.append((f"same verdict at {psi:g}", float((active == retrieved).mean())))
    return pd.DataFrame(rows, columns=["of the perturbations with two replicates or more", "share"])
