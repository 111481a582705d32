"""A screen: perturbations with their corrected replicates, molecules with feature blocks.

The rows of replicates are in memory or on disk, as their owner likes; all else is the same. What a
run asks for once, if at all, is in the archive of the screen.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real, UInt8

from molphenix_jax.errors import InputError
from molphenix_jax.phenomics import Correction, NullProfiles, aggregate
from molphenix_jax.tables.rows import Rows
from molphenix_jax.wells.conditions.values import Conditions

_CHUNK = 4096  # perturbations averaged at once


class ScreenError(InputError):
    """A screen on disk that cannot be used, or two screens that do not fit together."""


@dataclasses.dataclass(frozen=True)
class PackedBlock:
    """A fingerprint block: rows of `width` bits, packed as `numpy.packbits` does along the row."""

    packed: UInt8[np.ndarray, "m k8"]
    width: int

    @classmethod
    def of(cls, bits: UInt8[np.ndarray, "m k"]) -> "PackedBlock":
        """Packs a byte for each bit, 0 or 1."""
        return cls(np.packbits(bits, axis=1), bits.shape[1])

    def unpack(self) -> UInt8[np.ndarray, "m k"]:
        """One byte for each bit, 0 or 1."""
        return np.unpackbits(self.packed, axis=1, count=self.width)


FeatureBlock = PackedBlock | Real[np.ndarray, "m w"]


class Archive(Protocol):
    """What a screen has beside its arrays, large for thousands of plates: read when asked for."""

    @property
    def correction(self) -> Correction:
        """The fitted batch correction."""
        ...

    @property
    def null(self) -> NullProfiles:
        """Corrected control wells; none in screens of before format 6."""
        ...

    @property
    def wells(self) -> pd.DataFrame:
        """The well of each replicate, in their order: see `Archived`."""
        ...

    @property
    def rejected(self) -> pd.DataFrame:
        """The rows of the source that could not be used, each with field and reason."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Archived:
    """The archive of a screen that no folder holds.

    Attributes:
        correction: See `Archive`.
        null: See `Archive`.
        wells: Columns file, row (in the file, from 1), plate, well, batch, group (what it was
            corrected within), smiles (as given), compound (its name, where a column tells), and
            what else the user's table says of a well, under the user's names. Screens of before
            format 7 have group alone.
        rejected: See `Archive`.
    """

    correction: Correction
    null: NullProfiles
    wells: pd.DataFrame
    rejected: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame({"row": [], "field": [], "reason": []})
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Screen:
    """A prepared data set. n wells, p perturbations, m molecules, d profile features.

    Attributes:
        name: Short name, from the source file.
        replicates: Corrected treated wells [n, d], sorted by perturbation: an array, or rows on
            disk.
        offsets: Rows `offsets[i]:offsets[i + 1]` of `replicates` belong to perturbation i.
        molecule: Row in `molecules` of each perturbation.
        concentration_um: Concentration of each perturbation in µM.
        condition: Number in `conditions` of each perturbation's.
        conditions: What else differs on purpose.
        p_value: Replicate-consistency p-value; NaN where it is undefined (one replicate).
        molecules: Columns smiles, inchikey, scaffold.
        blocks: Molecule features by name [m, k]: fingerprints packed, others float32.
        feature_names: Names of the source's features, before correction.
        truth: True profile of each perturbation under the same correction [p, d], simulated
            screens only.
        notes: What was decided while preparing, one sentence each.
        provenance: What the screen was computed from.
        archive: Correction, null profiles, wells, rejected rows.
        concentration: Column, unit and how these were told, of the concentrations.
        folder: Where it lies; None for one that was made in memory.
        taken: The blocks that a run uses; None for all.
    """

    name: str
    replicates: Rows
    offsets: Int[np.ndarray, " bounds"]
    molecule: Int[np.ndarray, " p"]
    concentration_um: Float[np.ndarray, " p"]
    condition: Int[np.ndarray, " p"]
    conditions: Conditions
    p_value: Float[np.ndarray, " p"]
    molecules: pd.DataFrame
    blocks: Mapping[str, FeatureBlock]
    feature_names: tuple[str, ...]
    truth: Rows | None
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    archive: Archive
    concentration: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: pathlib.Path | None = None
    taken: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Features of a profile."""
        return self.replicates.shape[1]

    @property
    def n_wells(self) -> int:
        """Replicates of all perturbations."""
        return self.replicates.shape[0]

    @property
    def n_perturbations(self) -> int:
        """Number of (molecule, concentration, condition)."""
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
        """Names of the molecule feature blocks that a run uses."""
        return tuple(self.blocks) if self.taken is None else self.taken

    def taking(self, names: Sequence[str]) -> "Screen":
        """The screen for a run that uses these blocks.

        Raises:
            ScreenError: It has none of such a name.
        """
        if missing := [name for name in names if name not in self.blocks]:
            raise ScreenError(
                f"the prepared screen {self.folder or self.name} has no molecule features "
                f"{', '.join(missing)}; set molecules.blocks to some of {','.join(self.blocks)}, "
                "or prepare it with them"
            )
        return dataclasses.replace(self, taken=tuple(names))

    def in_memory(self) -> "Screen":
        """The same screen with all its rows in memory.

        Raises:
            ScreenError: A record is damaged.
        """
        truth = self.truth
        return dataclasses.replace(
            self,
            replicates=self.replicates[np.arange(self.n_wells)],
            truth=None if truth is None else truth[np.arange(self.n_perturbations)],
        )

    def profiles(
        self, ids: Int[np.ndarray, " k"], *, wells: Bool[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "k d"]:
        """Profiles of some perturbations: the mean over their replicates.

        Args:
            ids: Perturbations.
            wells: True for the replicates that count; None takes all.

        Raises:
            ValueError: A perturbation has no replicate that counts.
        """
        result = np.empty((len(ids), self.width), np.float32)
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            rows, of_part = replicate_rows(self.offsets, part)
            if wells is not None:
                rows, of_part = rows[wells[rows]], of_part[wells[rows]]
            result[start : start + len(part)] = aggregate(self.replicates[rows], of_part, len(part))
        return result


def replicate_rows(
    offsets: Int[np.ndarray, " bounds"], ids: Int[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
    """The rows `offsets[i]:offsets[i + 1]` of each i in ids, and which of ids each belongs to."""
    counts = offsets[ids + 1] - offsets[ids]
    of_id = np.repeat(np.arange(len(ids)), counts)
    within = np.arange(len(of_id)) - np.repeat(np.cumsum(counts) - counts, counts)
    return offsets[ids][of_id] + within, of_id


def unpacked_rows(block: FeatureBlock, rows: Int[np.ndarray, " k"]) -> np.ndarray:
    """Rows of a block on the host: uint8 bits of 0 and 1, or floats."""
    if isinstance(block, PackedBlock):
        return np.unpackbits(block.packed[rows], axis=1, count=block.width)
    return block[rows]


def stored_array(block: FeatureBlock) -> np.ndarray:
    """A block as it lies in memory, bits packed."""
    return block.packed if isinstance(block, PackedBlock) else block
