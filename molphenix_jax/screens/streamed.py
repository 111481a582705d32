"""A prepared screen whose replicate profiles stay on disk, with what a run asks of a screen."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.phenomics import Correction, NullProfiles, aggregate
from molphenix_jax.screens.screen import PackedBlock, Screen
from molphenix_jax.screens.store import ScreenStore
from molphenix_jax.wells.conditions.values import Conditions

_CHUNK = 4096  # perturbations read at once


@dataclasses.dataclass(frozen=True)
class StreamedScreen:
    """Has the fields and methods of `Screen` that training and evaluation use.

    Attributes:
        store: The opened folder.
        block_names: The molecule feature blocks that are used, of those in the folder.
    """

    store: ScreenStore
    block_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name, from the source file."""
        return self.store.name

    @property
    def offsets(self) -> Int[np.ndarray, " p+1"]:
        """Replicate rows offsets[i] to offsets[i + 1] belong to perturbation i."""
        return self.store.offsets

    @property
    def molecule(self) -> Int[np.ndarray, " p"]:
        """Row in `molecules` of each perturbation."""
        return self.store.molecule

    @property
    def concentration_um(self) -> Float[np.ndarray, " p"]:
        """Concentration of each perturbation in µM."""
        return self.store.concentration_um

    @property
    def condition(self) -> Int[np.ndarray, " p"]:
        """Number in `conditions` of each perturbation's."""
        return self.store.condition

    @property
    def conditions(self) -> Conditions:
        """What else differs on purpose."""
        return self.store.conditions

    @property
    def p_value(self) -> Float[np.ndarray, " p"]:
        """Replicate-consistency p-value; NaN where it is undefined."""
        return self.store.p_value

    @property
    def molecules(self) -> pd.DataFrame:
        """Columns smiles, inchikey, scaffold."""
        return self.store.molecules

    @property
    def blocks(self) -> dict[str, np.ndarray]:
        """Molecule features by name, unpacked: for all molecules at once, where that fits."""
        return {name: self.store.blocks[name] for name in self.block_names}

    @property
    def correction(self) -> Correction:
        """The fitted batch correction."""
        return self.store.correction

    @property
    def null(self) -> NullProfiles:
        """Corrected control wells; none in screens of before format 6."""
        return self.store.null

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the source's features, before correction."""
        return self.store.feature_names

    @property
    def truth(self) -> None:
        """Not read: the oracle of a simulated screen needs the screen in memory."""
        return

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided while preparing."""
        return self.store.notes

    @property
    def provenance(self) -> dict[str, Any]:
        """What the screen was computed from."""
        return self.store.provenance

    @property
    def concentration(self) -> dict[str, str]:
        """Column, unit and how these were told, of the concentrations."""
        return self.store.concentration

    @property
    def width(self) -> int:
        """Features of a profile."""
        return self.store.width

    @property
    def n_wells(self) -> int:
        """Replicates of all perturbations."""
        return int(self.store.offsets[-1])

    @property
    def n_perturbations(self) -> int:
        """Number of (molecule, concentration, condition)."""
        return self.store.n_perturbations

    @property
    def n_replicates(self) -> Int[np.ndarray, " p"]:
        """Replicate wells of each perturbation."""
        return np.diff(self.store.offsets)

    @property
    def perturbation_of_replicate(self) -> Int[np.ndarray, " n"]:
        """Perturbation of each replicate row."""
        return np.repeat(np.arange(self.n_perturbations), self.n_replicates)

    def packed_block(self, name: str) -> PackedBlock | Float[np.ndarray, "m k"]:
        """A feature block as it lies in memory: fingerprints bit-packed."""
        packed = self.store.packed
        return packed[name] if name in packed else self.store.floats[name]

    def stored_block(self, name: str) -> np.ndarray | None:
        """A feature block [m, k] whether or not the run takes it, None where there is none."""
        if name in self.store.packed:
            return self.store.packed[name].unpack()
        return self.store.floats.get(name)

    def wells(self, rows: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        """Replicate profiles by their rows, in any order; each perturbation is read once."""
        perturbation = np.searchsorted(self.offsets, rows, side="right") - 1
        wanted, position = np.unique(perturbation, return_inverse=True)
        result = np.empty((len(rows), self.width), np.float32)
        order = np.argsort(position, kind="stable")
        bounds = np.searchsorted(position[order], np.arange(0, len(wanted) + _CHUNK, _CHUNK))
        for part, start in enumerate(range(0, len(wanted), _CHUNK)):
            ids = wanted[start : start + _CHUNK]
            profiles = self.store.read(ids)
            first = np.concatenate([[0], np.cumsum([len(each) for each in profiles])])
            chosen = order[bounds[part] : bounds[part + 1]]
            within = rows[chosen] - self.offsets[perturbation[chosen]]
            result[chosen] = np.concatenate(profiles)[first[position[chosen] - start] + within]
        return result

    def profiles(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "k d"]:
        """Profiles of some perturbations: the mean over their replicates, as `Screen.profiles`.

        Raises:
            ValueError: A perturbation has no replicate that counts.
        """
        result = np.empty((len(ids), self.width), np.float32)
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            replicates = self.store.read(part)
            of_replicate = np.repeat(np.arange(len(part)), [len(each) for each in replicates])
            rows = np.concatenate(replicates)
            if wells is not None:
                keep = np.concatenate([wells[slice(*self.offsets[i : i + 2])] for i in part])
                rows, of_replicate = rows[keep], of_replicate[keep]
            result[start : start + len(part)] = aggregate(rows, of_replicate, len(part))
        return result


AnyScreen = Screen | StreamedScreen
