"""Doses that differ by rounding or by a dispenser's record of it, as the one dose that is meant."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from molphenix_jax.tables.columns import short

# Doses that differ by no more are one dose of the same grid: LINCS recodes 3.34 as 3.33.
SAME_DOSE = 0.01
# More doses than a screen plans: they were measured, each compound has its own.
_GRID_DOSES = 64


def one_grid(
    um: Float[np.ndarray, "n"], molecule: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], tuple[str, ...]]:
    """Doses that differ by 1% or less as one: the one that most wells have.

    Where doses lie on a grid this holds for all of a screen, where there are more than 64 (measured
    concentrations, each compound with its own) within each molecule.

    Args:
        um: positive doses in µM.
        molecule: number of each well's molecule.

    Returns:
        The doses, and a note where any was moved.
    """
    values, code, counts = np.unique(um, return_inverse=True, return_counts=True)
    to = _nearest_common(values, counts)
    one = values[to][code]
    if len(np.unique(to)) > _GRID_DOSES:
        one = um.copy()
        pairs = pd.DataFrame({"molecule": molecule, "um": um})
        unique = pairs.drop_duplicates()
        several = unique["molecule"][unique["molecule"].duplicated()]
        rows = np.flatnonzero(np.isin(molecule, several))
        for of_one in pairs.iloc[rows].groupby("molecule").indices.values():
            at = rows[of_one]
            values, code, counts = np.unique(um[at], return_inverse=True, return_counts=True)
            one[at] = values[_nearest_common(values, counts)][code]
    # What only rounding tells apart is one dose without a word.
    moved = np.abs(one / um - 1) > 1e-5
    if not moved.any():
        return one, ()
    changes, wells = np.unique(np.stack([um[moved], one[moved]]), axis=1, return_counts=True)
    parts = [
        f"{was:g} → {now:g} ({n:,} wells)" for was, now, n in zip(*changes, wells, strict=True)
    ]
    return one, (
        f"{moved.sum():,} wells at {len(parts)} doses count as the dose within {SAME_DOSE:.0%} "
        f"that most wells have, in µM: {short(parts, 10)}",
    )


def _nearest_common(
    values: Float[np.ndarray, "k"], counts: Int[np.ndarray, "k"]
) -> Int[np.ndarray, "k"]:
    """For each of ascending values the one within 1% that counts most; ties take round numbers."""
    to = np.full(len(values), -1)
    digits = [len(f"{value:.6g}".strip("0").replace(".", "")) for value in values]
    for i in sorted(range(len(values)), key=lambda i: (-counts[i], digits[i], i)):
        if to[i] >= 0:
            continue
        low = np.searchsorted(values, values[i] / (1 + SAME_DOSE) * (1 - 1e-9))
        high = np.searchsorted(values, values[i] * (1 + SAME_DOSE) * (1 + 1e-9))
        near = np.arange(low, high)
        to[near[to[near] < 0]] = i
    return to
