"""Number of parameters (paper T14): both heads wider and deeper.

    molphenix ablate model_size --tier=small --workdir=runs/ablations

At the tier full the widths are those around the paper's 38.7M parameters.
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L

# Width of both heads, blocks of the phenomic one.
SIZES = {
    "smoke": ((8, 1), (16, 1), (32, 1)),
    "full": ((256, 2), (512, 4), (1024, 6), (1536, 6)),
}
_OTHERS = ((32, 1), (64, 1), (128, 1), (256, 1), (256, 3))


def get_ablation(tier: str) -> Ablation:
    """The grid; the widths suit the tier."""
    sizes = SIZES.get(tier, _OTHERS)
    names = [f"width_{width}_blocks_{blocks}" for width, blocks in sizes]
    rows = [
        Row(
            name,
            f"{width} wide, {blocks} phenomic blocks",
            {
                "model.phenomics.width": width,
                "model.molecules.width": width,
                "model.phenomics.n_blocks": blocks,
            },
            arg=PAPER_S2L,
        )
        for name, (width, blocks) in zip(names, sizes, strict=True)
    ]
    return Ablation(
        title="Parameters",
        paper="T14, Fig. 5",
        rows=rows,
        reference=names[0],
        claims=[
            Claim(
                "A larger model is better",
                "lost",
                tuple(zip(names[1:], names[:-1], strict=True)),
                reading="The paper has 1.3 million pairs; a small screen overfits.",
            ),
        ],
    )
