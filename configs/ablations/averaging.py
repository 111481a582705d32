"""Averaging of replicates in a training step (paper T19).

    molphenix ablate averaging --tier=small --workdir=runs/ablations

Random: the mean of one to all replicates, drawn anew; full: the mean of all; single: one.
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import varied


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    labels = {
        "random": "a random number of replicates",
        "full": "all replicates",
        "single": "one replicate",
    }
    return Ablation(
        title="Averaging of replicates in training",
        paper="T19, Fig. 5",
        rows=varied("data.averaging", labels),
        reference="single",
        claims=[
            Claim("Random averaging helps retrieval", "lost", (("random", "single"),)),
            Claim(
                "Random averaging is better than the mean of all replicates",
                "lost",
                (("random", "full"),),
                reading="What the paper compared it with is not known (docs/method.md §14, 15).",
            ),
        ],
    )
