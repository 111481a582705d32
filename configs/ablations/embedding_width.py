"""Width of the joint space (paper T16).

molphenix ablate embedding_width --tier=small --workdir=runs/ablations
"""

from molphenix_jax.ablations import Ablation, Claim
from molphenix_jax.ablations.rows import varied

WIDTHS = {"smoke": (4, 8, 16), "full": (64, 128, 256, 512, 1024)}
_OTHERS = (8, 16, 32, 64, 128, 256)


def get_ablation(tier: str) -> Ablation:
    """The grid; the widths suit the tier."""
    widths = WIDTHS.get(tier, _OTHERS)
    largest = str(widths[-1])
    return Ablation(
        title="Width of the joint space",
        paper="T16, Fig. 5",
        rows=varied("model.dim", {width: f"{width} numbers" for width in widths}),
        reference=largest,
        claims=[
            Claim(
                "Compact embeddings are better",
                "lost",
                tuple((str(width), largest) for width in widths[:-1]),
                reading="Which widths the paper calls compact is lost.",
            ),
        ],
    )
