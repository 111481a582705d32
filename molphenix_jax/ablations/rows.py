"""Rows that several ablations share."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from molphenix_jax.ablations.grid import Row

# The eight losses in the paper's order, by the config that has each.
LOSSES = {
    "s2l": "S2L",
    "siglip": "SigLIP",
    "cwcl": "CWCL",
    "clip": "CLIP",
    "hopfield_clip": "Hopfield-CLIP",
    "infoloob": "InfoLOOB",
    "cloome": "CLOOME",
    "dcl": "DCL",
}
# What holds of every row that is told no dose, in a gallery of several.
TIES = (
    "A row that is told no dose gives all doses of a molecule one place, and ties count against "
    "it: all of them have to be among the best for a hit."
)
# S2L of the paper's version without MolGPS: γ 2.75, ζ 1, k .75. With the constants of `size=small`
# no pair of a noisy screen counts as similar, and S2L trains exactly as SigLIP.
PAPER_S2L = "preset=fingerprint"


def loss_rows() -> list[Row]:
    """A row for each loss; same model, data and schedule."""
    return [
        Row(name, label, config=name, arg=PAPER_S2L if name == "s2l" else "")
        for name, label in LOSSES.items()
    ]


def dose_rows() -> Iterator[Row]:
    """Explicit encodings × losses: S2L for implicit concentration, SigLIP for none."""
    encodings = {"none": "no dose", "onehot": "one-hot", "log": "log", "sigmoid": "sigmoid"}
    for loss, implicit in (("s2l", "implicit (S2L)"), ("siglip", "not implicit (SigLIP)")):
        for encoding, told in encodings.items():
            yield Row(
                f"{loss}_{encoding}",
                f"{implicit}, {told}",
                {"model.concentration": encoding},
                config=loss,
                arg=PAPER_S2L if loss == "s2l" else "",
            )


def varied(field: str, values: dict[Any, str], **more: Any) -> list[Row]:
    """A row of S2L, as the paper has it, for each value of a field.

    Args:
        field: Which.
        values: Value → label.
        more: As `Row` has them, for all rows.
    """
    rows = []
    for value, label in values.items():
        name = f"{value:g}" if isinstance(value, float) else str(value)
        row = Row(name.replace(",", "+"), label, {field: value}, arg=PAPER_S2L)
        rows.append(dataclasses.replace(row, **more))
    return rows
