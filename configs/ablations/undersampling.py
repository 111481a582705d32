"""How many inactive pairs (p > ψ) an epoch still visits (paper, guideline 2a).

molphenix ablate undersampling --tier=small --workdir=runs/ablations
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import varied

SHARES = (1.0, 0.5, 0.1, 0.0)


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    return Ablation(
        title="Share of inactive pairs that training visits",
        paper="guideline 2",
        rows=varied("data.keep_inactive", {share: f"{share:.0%}" for share in SHARES}),
        reference="1",
        claims=[
            Claim(
                "Undersampling inactive molecules helps retrieval of active ones",
                "lost",
                tuple((f"{share:g}", "1") for share in SHARES[1:]),
                reading="The paper's rate is not known (docs/method.md §14, 12).",
            ),
        ],
    )
