"""The eight losses at doses that training lacks (paper T4; top-5% and all queries: T12, T13).

    molphenix ablate losses_heldout --tier=small --workdir=runs/ablations

A dose is held out at a time, and recall is that among the pairs at this dose; the doses of the tier
are pooled. No row is told the concentration.
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import LOSSES, loss_rows


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    return Ablation(
        title="Losses, held-out concentrations",
        paper="T4, T12, T13",
        rows=loss_rows(),
        reference="s2l",
        fields={"model.concentration": "none"},
        heldout=True,
        claims=[
            Claim(
                "S2L is the best of the eight losses at held-out doses",
                "up to +126% above CLOOME",
                tuple(("s2l", other) for other in LOSSES if other != "s2l"),
                reading="Rests on k, c and the noise of profiles (docs/method.md §14, 1 to 11).",
            ),
        ],
    )
