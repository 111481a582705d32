"""Corrected profiles of single control wells: how alike a profile without any effect is."""

import dataclasses
import os
import pathlib

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.storage import read_npz

MOST_NULL_PROFILES = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class NullProfiles:
    """Corrected control wells, a sample where there are many.

    Attributes:
        profile: [n, d].
        group: Correction group of each.
        condition: Number of the condition of each.
    """

    profile: Float[np.ndarray, "n d"]
    group: np.ndarray
    condition: Int[np.ndarray, " n"]

    @classmethod
    def none(cls, width: int = 0) -> "NullProfiles":
        """No control well."""
        return cls(np.zeros((0, width), np.float32), np.zeros(0, np.str_), np.zeros(0, np.int64))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes them as one NumPy archive."""
        with open(path, "wb") as file:
            np.savez(file, profile=self.profile, group=self.group, condition=self.condition)

    @classmethod
    def load(cls, path: pathlib.Path) -> "NullProfiles":
        """Reads what `save` wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds something else.
        """
        read = read_npz(path, ("profile", "group", "condition"), what="saved null profiles")
        found = cls(**read | {"profile": read["profile"].astype(np.float32, copy=False)})
        if not len(found.profile) == len(found.group) == len(found.condition):
            raise ValueError(f"{path}: {len(found.profile)} profiles, {len(found.group)} groups")
        return found


def draw_controls(is_control: Bool[np.ndarray, " n"], *, seed: int) -> Int[np.ndarray, " k"]:
    """Rows of the control wells, ascending: all, or a random `MOST_NULL_PROFILES` of them."""
    rows = np.flatnonzero(is_control)
    if len(rows) <= MOST_NULL_PROFILES:
        return rows
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(rows, MOST_NULL_PROFILES, replace=False))
