"""Which pairs train: the p-value cut-off ψ (paper T17).

    molphenix ablate activity_cutoff --tier=small --workdir=runs/ablations

ψ = 1 trains on all pairs, inactive ones too, which is the case that S2L was made for.
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import varied

CUTOFFS = (1.0, 0.5, 0.1, 0.05, 0.01)


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    return Ablation(
        title="Activity cut-off of training pairs",
        paper="T17, Fig. 5",
        rows=varied("data.psi", {psi: f"p ≤ {psi:g}" for psi in CUTOFFS}),
        reference="1",
        claims=[
            Claim(
                "Training on pairs with p < .1 helps retrieval of active molecules",
                "lost",
                (("0.1", "1"),),
            ),
            Claim(
                "It costs retrieval of all molecules (a trade-off between evaluation sets)",
                "lost",
                (("1", "0.1"),),
                subset="all",
                reading="Which evaluation set gains and which loses is lost in part.",
            ),
        ],
    )
