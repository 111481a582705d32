"""Which images show which replicate of a screen."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from molphenix_jax.errors import InputError
from molphenix_jax.images.fields import Field
from molphenix_jax.molecules import standardise
from molphenix_jax.screens.streamed import AnyScreen
from molphenix_jax.wells.table import Wells

_SAME_DOSE = 0.005  # relative: doses of a screen have three digits


class ImageWellsError(InputError):
    """Wells and images that do not fit together."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Rows of an array of images, by replicate and perturbation.

    Attributes:
        rows: Rows, sorted by replicate.
        of_replicate: Replicate of each.
        of_perturbation: Perturbation of each.
        n_perturbations: Perturbations of the screen.
    """

    rows: Int[np.ndarray, " f"]
    of_replicate: Int[np.ndarray, " f"]
    of_perturbation: Int[np.ndarray, " f"]
    n_perturbations: int

    def seen(self, wells: Bool[np.ndarray, " n"] | None) -> "Images":
        """Those of some replicates."""
        if wells is None:
            return self
        keep = wells[self.of_replicate]
        return dataclasses.replace(
            self,
            rows=self.rows[keep],
            of_replicate=self.of_replicate[keep],
            of_perturbation=self.of_perturbation[keep],
        )

    @property
    def counts(self) -> Int[np.ndarray, " p"]:
        """Images of each perturbation."""
        return np.bincount(self.of_perturbation, minlength=self.n_perturbations)


def match_images(
    screen: AnyScreen, wells: Wells, fields: Sequence[Field], usable: Bool[np.ndarray, " f"]
) -> Images:
    """Finds the images of each replicate by batch, plate and well.

    Args:
        screen: Prepared from `wells`.
        wells: The wells table.
        fields: Field of each image.
        usable: Whether the image could be read.

    Raises:
        ImageWellsError: The screen is not that of the wells, or no treated well has an image.
    """
    replicate_of_place = _places(screen, wells, with_batch=_needs_batch(fields))
    replicate = np.array(
        [
            replicate_of_place.get(_place(field, with_batch=_needs_batch(fields)), -1)
            for field in fields
        ]
    )
    rows = np.flatnonzero((replicate >= 0) & usable)
    if not len(rows):
        first = fields[0]
        raise ImageWellsError(
            f"{wells.path}: no treated well has an image; images are of plate {first.plate!r} well "
            f"{first.well!r} and so on, wells of {next(iter(replicate_of_place))}"
        )
    rows = rows[np.argsort(replicate[rows], kind="stable")]
    perturbation = screen.perturbation_of_replicate[replicate[rows]]
    return Images(rows, replicate[rows], perturbation, screen.n_perturbations)


def _needs_batch(fields: Sequence[Field]) -> bool:
    """Whether plates of the same name lie in several batches."""
    plates = {(field.batch, field.plate) for field in fields}
    return len(plates) > len({plate for _, plate in plates})


def _place(field: Field, *, with_batch: bool) -> tuple[str, ...]:
    return field.place if with_batch else (field.plate, field.well)


def _places(screen: AnyScreen, wells: Wells, *, with_batch: bool) -> dict[tuple[str, ...], int]:
    """Replicate row of the screen of each treated well."""
    table = wells.table
    treated = np.flatnonzero(~table["is_control"].to_numpy(bool))
    table = table.iloc[treated]
    row = _replicates(screen, wells, treated)
    _check(screen, wells, treated, row)
    batch, plate, well = (table[name].to_numpy(str) for name in ("batch", "plate", "well"))
    # The reader names plates <batch>/<plate> where labels recur in several batches.
    plate = [p.removeprefix(f"{b}/") for b, p in zip(batch, plate, strict=True)]
    plate = ["" if p == "unknown" else p for p in plate]
    keys = [
        *(zip(batch, plate, well, strict=True) if with_batch else zip(plate, well, strict=True))
    ]
    places = dict(zip(keys, row.tolist(), strict=True))
    if len(screen.conditions) > 1 and len(places) < len(keys):
        raise ImageWellsError(
            f"{wells.path}: {len(keys) - len(places)} wells have the plate and well of another one "
            "under another condition, and images do not tell conditions; give the plates of each "
            "condition names of their own, in the table and in the images"
        )
    return places


def _replicates(
    screen: AnyScreen, wells: Wells, treated: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Replicate row of each treated well: replicates of a perturbation keep the file's order."""
    table = wells.table.iloc[treated]
    unique, of_well = np.unique(table["smiles"].to_numpy(str), return_inverse=True)
    inchikey = standardise(unique.tolist())["inchikey"].to_numpy()
    molecule = pd.Index(screen.molecules["inchikey"]).get_indexer(inchikey)[of_well]
    dose = table["concentration_um"].to_numpy(np.float64)
    number = {value: c for c, value in enumerate(screen.conditions.values)}
    of_wells = np.array([number.get(value, -1) for value in wells.conditions.values])
    condition = of_wells[table["condition"].to_numpy(np.int64)]
    perturbation = np.full(len(table), -1)
    for p in range(screen.n_perturbations):
        same_dose = np.isclose(dose, screen.concentration_um[p], rtol=_SAME_DOSE, atol=0)
        same = (molecule == screen.molecule[p]) & (condition == screen.condition[p])
        perturbation[same & same_dose] = p
    counts = np.bincount(perturbation[perturbation >= 0], minlength=screen.n_perturbations)
    if (perturbation < 0).any() or (counts != screen.n_replicates).any():
        raise ImageWellsError(f"screen {screen.name} is not that of its wells table; prepare again")
    row = np.empty(len(table), np.int64)
    row[np.argsort(perturbation, kind="stable")] = np.arange(len(table))
    return row


def _check(
    screen: AnyScreen, wells: Wells, treated: np.ndarray, row: Int[np.ndarray, " n"]
) -> None:
    """Fails if a replicate is not the corrected profile of the well that it is taken for."""
    group = wells.table["group"].to_numpy(str)[treated]
    corrected = screen.correction.apply(wells.embedding[treated], group)
    if not np.allclose(corrected, screen.wells(row), rtol=1e-2, atol=1e-3):
        raise ImageWellsError(
            f"{wells.path}: the screen's replicates are not in the order of the wells; delete the "
            "prepared screen in the cache folder"
        )
