"""A screen: perturbations with their corrected replicates, molecules with feature blocks."""

import dataclasses
import json
import pathlib
import zipfile
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from molphenix_jax.errors import InputError
from molphenix_jax.phenomics import Correction, aggregate

FORMAT_VERSION = "1"


class ScreenError(InputError):
    """A screen on disk that cannot be used, or two screens that do not fit together."""


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
        p_value: Replicate-consistency p-value; NaN where it is undefined (one replicate).
        molecules: Columns smiles, inchikey, scaffold.
        blocks: Molecule features by name [m, k]: uint8 bits or float32.
        feature_names: Names of the source's features, before correction.
        correction: The fitted batch correction.
        truth: True profile of each perturbation under the same correction, simulated screens only.
        notes: What was decided while preparing, one sentence each.
        provenance: What the screen was computed from.
    """

    name: str
    replicates: Float[np.ndarray, "n d"]
    offsets: Int[np.ndarray, " p+1"]
    replicate_group: np.ndarray
    molecule: Int[np.ndarray, " p"]
    concentration_um: Float[np.ndarray, " p"]
    p_value: Float[np.ndarray, " p"]
    molecules: pd.DataFrame
    blocks: dict[str, Float[np.ndarray, "m k"] | UInt8[np.ndarray, "m k"]]
    feature_names: tuple[str, ...]
    correction: Correction
    truth: Float[np.ndarray, "p d"] | None
    notes: tuple[str, ...]
    provenance: dict[str, Any]

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

    def save(self, folder: pathlib.Path, *, rejected: pd.DataFrame) -> None:
        """Writes the screen and its rejected rows into `folder`, complete or not at all."""
        temporary = folder.with_name(folder.name + ".tmp")
        temporary.mkdir(parents=True, exist_ok=True)
        arrays = {
            "replicates": self.replicates,
            "offsets": self.offsets,
            "replicate_group": self.replicate_group.astype(np.str_),
            "molecule": self.molecule,
            "concentration_um": self.concentration_um,
            "p_value": self.p_value,
            **{f"block_{name}": block for name, block in self.blocks.items()},
        }
        if self.truth is not None:
            arrays["truth"] = self.truth
        np.savez(temporary / "arrays.npz", **arrays)
        self.correction.save(temporary / "correction.npz")
        self.molecules.to_parquet(temporary / "molecules.parquet", index=False)
        meta = {
            "format": FORMAT_VERSION,
            "name": self.name,
            "feature_names": self.feature_names,
            "notes": self.notes,
            "provenance": self.provenance,
        }
        (temporary / "screen.json").write_text(json.dumps(meta, indent=2))
        rejected.to_csv(temporary / "rejected.csv", index=False)
        if not folder.exists():
            temporary.replace(folder)

    @classmethod
    def load(cls, folder: pathlib.Path) -> tuple["Screen", pd.DataFrame]:
        """Reads a screen and its rejected rows, as `save` wrote them.

        Raises:
            ScreenError: A file is missing or damaged, or of another format version.
        """
        try:
            meta = json.loads((folder / "screen.json").read_text())
            if meta["format"] != FORMAT_VERSION:
                raise ScreenError(
                    f"{folder} has screen format {meta['format']}, this program reads "
                    f"{FORMAT_VERSION}; delete the folder to prepare the screen again"
                )
            # Opened here: np.load leaves the file open if it is no archive.
            with (
                (folder / "arrays.npz").open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                loaded = {name: arrays[name] for name in arrays.files}
            correction = Correction.load(folder / "correction.npz")
            molecules = pd.read_parquet(folder / "molecules.parquet")
            rejected = pd.read_csv(folder / "rejected.csv")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            if isinstance(error, ScreenError):
                raise
            raise ScreenError(
                f"the prepared screen in {folder} cannot be read ({error}); delete that folder to "
                "prepare it again"
            ) from error
        blocks = {
            name.removeprefix("block_"): array
            for name, array in loaded.items()
            if name.startswith("block_")
        }
        screen = cls(
            name=meta["name"],
            replicates=loaded["replicates"],
            offsets=loaded["offsets"],
            replicate_group=loaded["replicate_group"],
            molecule=loaded["molecule"],
            concentration_um=loaded["concentration_um"],
            p_value=loaded["p_value"],
            molecules=molecules,
            blocks=blocks,
            feature_names=tuple(meta["feature_names"]),
            correction=correction,
            truth=loaded.get("truth"),
            notes=tuple(meta["notes"]),
            provenance=meta["provenance"],
        )
        return screen, rejected
