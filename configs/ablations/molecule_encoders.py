"""What the molecule side is given (paper T18, T21, T22).

    molphenix ablate molecule_encoders --tier=small --workdir=runs/ablations

Fingerprints alone and together, RDKit's descriptors, a molecule encoder that trains beside them,
and a frozen one that was pretrained: MiniMol, which is public, where MolGPS is not. Its rows are
skipped where `molphenix pretrained minimol` has not put it.
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L
from molphenix_jax.trained.encoders.minimol import has_minimol

ALL = "morgan,maccs,rdkit"


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
    missing = "" if has_minimol() else "MiniMol is not there: molphenix pretrained minimol"
    blocks = {
        "morgan": "Morgan, radius 3",
        "rdkit": "RDKit paths",
        "maccs": "MACCS",
        "physchem": "descriptors",
    }
    rows = [
        Row(name, label, {"molecules.blocks": name}, arg=PAPER_S2L)
        for name, label in blocks.items()
    ]
    rows += [
        Row("fingerprints", "Morgan + MACCS + RDKit", {"molecules.blocks": ALL}, arg=PAPER_S2L),
        Row(
            "with_physchem",
            "fingerprints + descriptors",
            {"molecules.blocks": f"{ALL},physchem"},
            arg=PAPER_S2L,
        ),
        Row(
            "mpnn",
            "fingerprints + MPNN++ trained along",
            {"molecules.blocks": ALL},
            arg=f"{PAPER_S2L},encoder=mpnn",
        ),
        Row("minimol", "MiniMol", {"molecules.blocks": "minimol"}, arg=PAPER_S2L, skip=missing),
        Row(
            "everything",
            "MiniMol + fingerprints",
            {"molecules.blocks": f"{ALL},minimol"},
            arg=PAPER_S2L,
            skip=missing,
        ),
    ]
    return Ablation(
        title="Molecule encoders",
        paper="T18, T21, T22",
        rows=rows,
        reference="fingerprints",
        claims=[
            Claim(
                "A pretrained encoder beats each fingerprint",
                "lost",
                tuple(("minimol", name) for name in ("rdkit", "maccs", "morgan")),
                reading="MolGPS is closed; MiniMol stands for it. In the built-in screen activity "
                "follows Morgan bits by construction (`molphenix_jax.simulated`), which "
                "favours fingerprints.",
            ),
            Claim(
                "All together are the best",
                "lost",
                (("everything", "fingerprints"), ("everything", "minimol")),
            ),
            Claim(
                "Fingerprints together beat each alone",
                "not said",
                tuple(("fingerprints", name) for name in ("morgan", "rdkit", "maccs")),
            ),
        ],
    )
