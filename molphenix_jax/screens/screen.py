"""A screen: perturbations with their corrected replicates, molecules with feature blocks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from molphenix_jax.errors import InputError
from molphenix_jax.phenomics import Correction, NullProfiles, aggregate
from molphenix_jax.wells.conditions.values import Conditions


class ScreenError(InputError):
    """A screen on disk that cannot be used, or two screens that do not fit together."""


@dataclasses.dataclass(frozen=True)
class PackedBlock:
    """A fingerprint block: rows of `width` bits, packed as `numpy.packbits` does along the row."""

    packed: UInt8[np.ndarray, "m k8"]
    width: int

    def unpack(self) -> UInt8[np.ndarray, "m k"]:
        """One byte for each bit, 0 or 1."""
        return np.unpackbits(self.packed, axis=1, count=self.width)


@dataclasses.dataclass(frozen=True)
class Screen:
    """A prepared data set. n wells, p perturbations, m molecules, d profile features.

    Attributes:
        name: Short name, from the source file.
        replicates: Corrected treated wells, sorted by perturbation.
        offsets: Rows `offsets[i]:offsets[i + 1]` of `replicates` belong to perturbation i.
        replicate_group: Correction group (plate or batch) of each replicate, for the record.
        molecule: Row in `molecules` of each perturbation.
        concentration_um: Concentration of each perturbation in µM.
        condition: Number in `conditions` of each perturbation's.
        conditions: What else differs on purpose.
        p_value: Replicate-consistency p-value; NaN where it is undefined (one replicate).
        molecules: Columns smiles, inchikey, scaffold.
        blocks: Molecule features by name [m, k]: uint8 bits or float32.
        feature_names: Names of the source's features, before correction.
        correction: The fitted batch correction.
        truth: True profile of each perturbation under the same correction, simulated screens only.
        notes: What was decided while preparing, one sentence each.
        provenance: What the screen was computed from.
        concentration: Column, unit and how these were told, of the concentrations.
        null: Corrected control wells; none in screens of before format 6.
    """

    name: str
    replicates: Float[np.ndarray, "n d"]
    offsets: Int[np.ndarray, " p+1"]
    replicate_group: np.ndarray
    molecule: Int[np.ndarray, " p"]
    concentration_um: Float[np.ndarray, " p"]
    condition: Int[np.ndarray, " p"]
    conditions: Conditions
    p_value: Float[np.ndarray, " p"]
    molecules: pd.DataFrame
    blocks: dict[str, Float[np.ndarray, "m k"] | UInt8[np.ndarray, "m k"]]
    feature_names: tuple[str, ...]
    correction: Correction
    truth: Float[np.ndarray, "p d"] | None
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    concentration: Mapping[str, str] = dataclasses.field(default_factory=dict)
    null: NullProfiles = dataclasses.field(default_factory=NullProfiles.none)

    @property
    def width(self) -> int:
        """Features of a profile."""
        return self.replicates.shape[1]

    @property
    def n_wells(self) -> int:
        """Replicates of all perturbations."""
        return len(self.replicates)

    @property
    def n_perturbations(self) -> int:
        """Number of (molecule, concentration) pairs."""
        return len(self.molecule)

    @property
    def n_replicates(self) -> Int[np.ndarray, " p"]:
        """Replicate wells of each perturbation."""
        return np.diff(self.offsets)

    @property
    def perturbation_of_replicate(self) -> Int[np.ndarray, " n"]:
        """Perturbation of each row of `replicates`."""
        return np.repeat(np.arange(self.n_perturbations), self.n_replicates)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the molecule feature blocks."""
        return tuple(self.blocks)

    def packed_block(self, name: str) -> PackedBlock | Float[np.ndarray, "m k"]:
        """A feature block, fingerprints bit-packed."""
        block = self.blocks[name]
        if block.dtype != np.uint8:
            return block
        return PackedBlock(np.packbits(block, axis=1), block.shape[1])

    def stored_block(self, name: str) -> np.ndarray | None:
        """A feature block [m, k] whether or not the run takes it, None where there is none."""
        return self.blocks.get(name)

    def wells(self, rows: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        """Replicate profiles by their rows."""
        return self.replicates[rows]

    def profiles(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "k d"]:
        """Profiles of some perturbations: the mean over their replicates.

        Args:
            ids: Perturbations, none twice.
            wells: True for the replicates that count; None takes all.

        Raises:
            ValueError: A perturbation has no replicate that counts.
        """
        position = np.full(self.n_perturbations, -1)
        position[ids] = np.arange(len(ids))
        of_replicate = position[self.perturbation_of_replicate]
        rows = of_replicate >= 0 if wells is None else (of_replicate >= 0) & wells
        return aggregate(self.replicates[rows], of_replicate[rows], len(ids))


def unpacked_rows(block: PackedBlock | np.ndarray, rows: Int[np.ndarray, " k"]) -> np.ndarray:
    """Rows of a block on the host: uint8 bits of 0 and 1, or floats."""
    if isinstance(block, PackedBlock):
        return np.unpackbits(block.packed[rows], axis=1, count=block.width)
    return block[rows]
