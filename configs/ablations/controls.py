"""What a model reaches that has nothing to learn, beside one that has (no table of the paper's).

    molphenix ablate controls --tier=small --workdir=runs/ablations

On shuffled pairs, each training perturbation has the molecule and the dose of another one; recall
of unseen molecules then has to be chance. Beside the rows stand the baselines and controls of every
evaluation, and the model before its first update.
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L

BASELINES = "knn,ridge,physchem,dose_only,cell_count,magnitude,source_only,untrained"


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    shuffled = {"data.shuffle_pairs": True}
    return Ablation(
        title="Controls: shuffled pairs, no training, no chemistry",
        paper="a control",
        rows=[
            Row("siglip", "SigLIP", config="siglip"),
            Row("siglip_shuffled", "SigLIP, shuffled pairs", shuffled, config="siglip"),
            Row("s2l", "S2L", arg=PAPER_S2L),
            Row("s2l_shuffled", "S2L, shuffled pairs", shuffled, arg=PAPER_S2L),
        ],
        reference="siglip",
        fields={"eval.baselines": BASELINES},
        claims=[
            Claim(
                "What is found is lost where pairs are shuffled",
                "not a claim",
                (("siglip", "siglip_shuffled"), ("s2l", "s2l_shuffled")),
            )
        ],
    )
