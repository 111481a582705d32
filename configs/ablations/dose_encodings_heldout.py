"""How a model is told the concentration, at doses that training lacks (paper T5).

    molphenix ablate dose_encodings_heldout --tier=small --workdir=runs/ablations

As `dose_encodings`, a dose held out at a time. One-hot has no column for such a dose.
"""

import dataclasses

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import dose_rows

_ONE_HOT = "one-hot has nothing for a dose that training lacks"


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    rows = [
        dataclasses.replace(row, skip=_ONE_HOT) if row.name.endswith("_onehot") else row
        for row in dose_rows()
    ]
    return Ablation(
        title="Concentration, explicit and implicit, held-out concentrations",
        paper="T5",
        rows=rows,
        reference="s2l_sigmoid",
        heldout=True,
        claims=[
            Claim(
                "Sigmoid is the best encoding at held-out doses, one-hot is limited",
                "lost",
                (("s2l_sigmoid", "s2l_log"), ("s2l_sigmoid", "s2l_none")),
                reading="One-hot is not compared: it is refused here (docs/method.md §14, 21).",
            ),
        ],
    )
