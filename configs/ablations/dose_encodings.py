"""How a model is told the concentration, explicit × implicit, all doses together (paper T3).

    molphenix ablate dose_encodings --tier=small --workdir=runs/ablations

Explicit: what is put beside the molecule features. Implicit: S2L, in which the doses of a molecule
are classes of their own that are pushed apart in proportion to their profiles; its counterpart
SigLIP pushes all pairs apart alike. That reading of "implicit" is ours.
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import TIES, dose_rows


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    return Ablation(
        title="Concentration, explicit and implicit",
        paper="T3",
        rows=list(dose_rows()),
        reference="s2l_onehot",
        note=TIES,
        claims=[
            Claim(
                "Implicit and explicit concentration together beat implicit alone",
                "lost",
                (("s2l_onehot", "s2l_none"), ("s2l_log", "s2l_none"), ("s2l_sigmoid", "s2l_none")),
                reading="In part the rule for ties: see the note at the table.",
            ),
            Claim(
                "Implicit concentration beats none",
                "lost",
                (("s2l_none", "siglip_none"),),
                reading="Rests on what implicit means: here S2L at k = .75 beside SigLIP.",
            ),
            Claim(
                "One-hot is the best encoding over cumulative concentrations",
                "lost",
                (("s2l_onehot", "s2l_log"), ("s2l_onehot", "s2l_sigmoid")),
            ),
        ],
    )
