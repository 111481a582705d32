"""Which pairs S2L and CWCL take for similar (paper D.3; docs/method.md §12.5 and §14, 6 to 11).

    molphenix ablate similarity --tier=small --workdir=runs/ablations

Same model, data and schedule. The rows with a share have as many soft positives as it says,
whatever the noise; along replicable directions means those in which two wells of a perturbation
correlate by half or more; "own null" takes |p|² + |q|² of a pair for its c.
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.grid import GRADED

_SHARE = {"loss.soft_share": 0.02}
_AXES = {"loss.replicate_correlation": 0.5}
_OWN = {"loss.options.s2l.null": "pair"}


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    soft = "preset=soft_bce"
    return Ablation(
        title="Similarity of profiles in S2L and CWCL",
        paper="D.3, Fig. 6",
        rows=[
            Row("siglip", "SigLIP, no soft positives", config="siglip"),
            Row("s2l_paper", "S2L, γ 2.75, ζ 1, k .75", arg="preset=fingerprint"),
            Row("s2l_k", "S2L, γ = ζ = 1, k .75", arg=soft),
            Row("s2l_share", "2% soft positives", _SHARE, arg=soft),
            Row("s2l_axes", "2%, along replicable directions", {**_SHARE, **_AXES}, arg=soft),
            Row("s2l_own", "2%, own null of each pair", {**_SHARE, **_OWN}, arg=soft),
            Row("s2l_both", "2%, both", {**_SHARE, **_AXES, **_OWN}, arg=soft),
            Row("cwcl", "CWCL", config="cwcl"),
            Row("cwcl_axes", "CWCL, along replicable directions", _AXES, config="cwcl"),
        ],
        reference="siglip",
        claims=[
            Claim(
                "S2L beats SigLIP",
                "lost",
                (("s2l_both", "siglip"),),
                reading="With soft positives that exist (docs/method.md §14, 6 to 11).",
            ),
            Claim(
                "S2L puts perturbations of like effect first, beyond SigLIP",
                "not said; what soft targets are for",
                (("s2l_both", "siglip"),),
                metric=GRADED,
                reading="nDCG of the best 1% by true effects, or by a column of mechanisms.",
            ),
            Claim(
                "Thresholding similarity improves the model",
                "not said by how much",
                (("s2l_paper", "siglip"),),
                reading="k = .75 as the paper has it; γ and ζ of its version without MolGPS.",
            ),
        ],
    )
