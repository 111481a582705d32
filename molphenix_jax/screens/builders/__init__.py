"""TFDS builders of a screen: perturbations and molecules, as ArrayRecord, without TensorFlow."""

from molphenix_jax.screens.builders.molecules import Molecules, molecule_records
from molphenix_jax.screens.builders.perturbations import (
    Perturbations,
    PerturbationSpec,
    Record,
)
from molphenix_jax.screens.builders.write import (
    FORMAT_VERSION,
    HEADER,
    READ_VERSIONS,
    WELLS_FILE,
    ScreenContent,
    record_source,
    write_screen,
)

__all__ = [
    "FORMAT_VERSION",
    "HEADER",
    "READ_VERSIONS",
    "WELLS_FILE",
    "Molecules",
    "PerturbationSpec",
    "Perturbations",
    "Record",
    "ScreenContent",
    "molecule_records",
    "record_source",
    "write_screen",
]
