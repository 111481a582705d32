"""What the molecule side is given (paper T18, T21, T22).

    molphenix ablate molecule_encoders --tier=small --workdir=runs/ablations

Fingerprints alone and together, RDKit's descriptors, and a molecule encoder that trains beside
them. A frozen pretrained encoder comes as a table of embeddings (`molphenix embed`):
`--input=pretrained=FILE` adds it alone and with everything.
"""

from molphenix_jax.ablations import Ablation, Claim, Row
from molphenix_jax.ablations.rows import PAPER_S2L

ALL = "morgan,maccs,rdkit"
_FILE = "pretrained={pretrained}"


def get_ablation(tier: str) -> Ablation:
    """The grid; every tier has the same rows."""
    del tier
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
        Row(
            "pretrained",
            "pretrained embeddings",
            {"molecules.blocks": "", "molecules.embeddings": _FILE},
            arg=PAPER_S2L,
            needs=("pretrained",),
        ),
        Row(
            "everything",
            "pretrained embeddings + fingerprints",
            {"molecules.blocks": ALL, "molecules.embeddings": _FILE},
            arg=PAPER_S2L,
            needs=("pretrained",),
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
                tuple(("pretrained", name) for name in ("rdkit", "maccs", "morgan")),
                reading="MolGPS is closed; whatever --input=pretrained names stands for it.",
            ),
            Claim(
                "All together are the best",
                "lost",
                (("everything", "fingerprints"), ("everything", "pretrained")),
            ),
            Claim(
                "Fingerprints together beat each alone",
                "not said",
                tuple(("fingerprints", name) for name in ("morgan", "rdkit", "maccs")),
            ),
        ],
    )
