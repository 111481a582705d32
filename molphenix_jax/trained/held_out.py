"""Perturbations that a model has not learned from: what its chances are measured on."""

import dataclasses
import os
import pathlib

import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.storage import read_npz

MOST_HELD_OUT = 500


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out perturbations, a sample where there are many; h of them.

    Attributes:
        profile: Corrected and averaged, as queries are.
        smiles: Molecule of each, standardised.
        inchikey: Its key.
        concentration_um: In µM.
        condition: Number of each one's condition among those of the screen.
        replicates: Wells behind each profile.
        p_value: Of the replicates' consistency, as the run's active perturbations are told; NaN
            where it is undefined.
        activity_p: How likely as many control wells would look as active; NaN without controls.
    """

    profile: Float[np.ndarray, "h d"]
    smiles: np.ndarray
    inchikey: np.ndarray
    concentration_um: Float[np.ndarray, " h"]
    condition: Int[np.ndarray, " h"]
    replicates: Int[np.ndarray, " h"]
    p_value: Float[np.ndarray, " h"]
    activity_p: Float[np.ndarray, " h"]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.profile)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes them as one NumPy archive."""
        with open(path, "wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: pathlib.Path) -> "HeldOut":
        """Reads what `save` wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds something else.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        arrays = read_npz(path, names, what="saved held-out perturbations")
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) > 1:
            raise ValueError(f"{path}: arrays of {sorted(lengths)} perturbations")
        return cls(**arrays | {"profile": arrays["profile"].astype(np.float32, copy=False)})
