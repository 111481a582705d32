"""CLOOME on images, CLOOME on profiles and MolPhenix at matched samples seen (paper T1, Fig. 4).

    molphenix ablate headline --tier=small --workdir=runs/ablations

CLOOME knows no concentration and takes Morgan fingerprints; MolPhenix has S2L, the concentration
and all blocks. The row on images needs wells and their images: `--input=wells=FILE` and
`--input=images=PATH` in the layout "gallery".
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L, TIES

_CLOOME = {"model.concentration": "none", "molecules.blocks": "morgan"}


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    rows = [
        Row(
            "cloome_images",
            "CLOOME, images",
            _CLOOME,
            config="cloome_images",
            arg="images={images}",
            needs=("wells", "images"),
        ),
        Row("cloome", "CLOOME, profiles", _CLOOME, config="cloome"),
        Row("cloome_all", "CLOOME, profiles, dose and all blocks", config="cloome"),
        Row("molphenix", "MolPhenix (S2L as in the paper)", arg=PAPER_S2L),
        Row("molphenix_siglip", "MolPhenix with SigLIP", config="siglip"),
    ]
    return Ablation(
        title="CLOOME and MolPhenix at matched samples seen",
        paper="T1, Fig. 4",
        rows=rows,
        reference="molphenix",
        note=TIES,
        claims=[
            Claim(
                "MolPhenix beats CLOOME on the same profiles",
                "1.26×",
                (("molphenix", "cloome"),),
                reading="Rests on S2L's constants: see the ablation losses.",
            ),
            Claim("MolPhenix beats CLOOME on images", "8.1×", (("molphenix", "cloome_images"),)),
            Claim(
                "Frozen profiles serve CLOOME better than images",
                "5.69×",
                (("cloome", "cloome_images"),),
            ),
        ],
    )
