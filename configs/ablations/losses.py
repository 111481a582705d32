"""The eight losses, all doses together (paper T2; top-1% and top-5%, active and all: T10, T11).

    molphenix ablate losses --tier=small --workdir=runs/ablations

Same model, data and schedule; no row is told the concentration, as in the paper's T2.
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import LOSSES, TIES, loss_rows

LOWER = ("clip", "hopfield_clip", "infoloob", "cloome", "dcl")


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    return Ablation(
        title="Losses, cumulative concentrations",
        paper="T2, T10, T11",
        rows=loss_rows(),
        reference="s2l",
        fields={"model.concentration": "none"},
        note=TIES,
        claims=[
            Claim(
                "S2L is the best of the eight losses",
                "lost",
                tuple(("s2l", other) for other in LOSSES if other != "s2l"),
                reading="Rests on k, c and the noise of profiles (docs/method.md §14, 1 to 11).",
            ),
            Claim(
                "SigLIP and CWCL come next, above CLIP, Hopfield-CLIP, InfoLOOB, CLOOME and DCL",
                "lost",
                tuple((better, low) for better in ("siglip", "cwcl") for low in LOWER),
                reading="CWCL's cosine weights are near ½ for most pairs of a noisy screen.",
            ),
        ],
    )
