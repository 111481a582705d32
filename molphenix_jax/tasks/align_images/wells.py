"""Which images show which replicate of a screen."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from molphenix_jax.errors import InputError
from molphenix_jax.images.fields import Field
from molphenix_jax.screens.screen import Screen, ScreenError


class ImageWellsError(InputError):
    """Wells and images that do not fit together."""


@dataclasses.dataclass(frozen=True)
class ReplicateImages:
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

    def seen(self, wells: Bool[np.ndarray, " n"] | None) -> "ReplicateImages":
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
    screen: Screen, fields: Sequence[Field], usable: Bool[np.ndarray, " f"]
) -> ReplicateImages:
    """Finds the images of each replicate by batch, plate and well.

    Args:
        screen: Prepared from the wells that the images are of.
        fields: Field of each image.
        usable: Whether the image could be read.

    Raises:
        ImageWellsError: No replicate has an image, or images cannot tell which is theirs.
        ScreenError: The screen does not know the wells of its replicates.
    """
    replicate_of_place = _places(screen, with_batch=_needs_batch(fields))
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
            f"{screen.name}: no treated well has an image; images are of plate {first.plate!r} "
            f"well {first.well!r} and so on, wells of {next(iter(replicate_of_place))}"
        )
    rows = rows[np.argsort(replicate[rows], kind="stable")]
    perturbation = screen.perturbation_of_replicate[replicate[rows]]
    return ReplicateImages(rows, replicate[rows], perturbation, screen.n_perturbations)


def _needs_batch(fields: Sequence[Field]) -> bool:
    """Whether plates of the same name lie in several batches."""
    plates = {(field.batch, field.plate) for field in fields}
    return len(plates) > len({plate for _, plate in plates})


def _place(field: Field, *, with_batch: bool) -> tuple[str, ...]:
    return field.place if with_batch else (field.plate, field.well)


def _places(screen: Screen, *, with_batch: bool) -> dict[tuple[str, ...], int]:
    """The replicate that each treated well is."""
    table = screen.archive.wells
    if "well" not in table:
        raise ScreenError(
            f"the prepared screen in {screen.folder} is of an earlier version and does not say "
            "which well each profile is of, which images are found by: delete that folder, and it "
            "is prepared again with the same numbers"
        )
    batch, plate, well = (table[name].to_numpy(str) for name in ("batch", "plate", "well"))
    # The reader names plates <batch>/<plate> where labels recur in several batches.
    plate = [p.removeprefix(f"{b}/") for b, p in zip(batch, plate, strict=True)]
    plate = ["" if p == "unknown" else p for p in plate]
    keys = [
        *(zip(batch, plate, well, strict=True) if with_batch else zip(plate, well, strict=True))
    ]
    places = {key: row for row, key in enumerate(keys)}
    if len(screen.conditions) > 1 and len(places) < len(keys):
        raise ImageWellsError(
            f"{screen.name}: {len(keys) - len(places)} wells have the plate and well of another "
            "one under another condition, and images do not tell conditions; give the plates of "
            "each condition names of their own, in the table and in the images"
        )
    return places
