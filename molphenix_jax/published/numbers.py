"""Numbers that others published, with where they stand; none was measured here."""

from typing import NamedTuple


class Source(NamedTuple):
    """Where numbers stand.

    Attributes:
        paper: the publication.
        place: the table in it.
    """

    paper: str
    place: str

    def __str__(self) -> str:
        return f"{self.paper}, {self.place}"


_CELLCLIP = "CellCLIP (arXiv 2506.06290)"

BRAY2017_SOURCE = Source(_CELLCLIP, "Table 1: Bray2017, 2,115 unseen molecules, recall in %")
BRAY2017_GALLERY = 2_115
# R@1, R@5, R@10 in %, by direction.
BRAY2017: dict[str, dict[str, tuple[float, float, float]]] = {
    "CLOOME (images)": {
        "profile_to_molecule": (0.07, 1.44, 2.56),
        "molecule_to_profile": (0.27, 1.25, 2.46),
    },
    "CLOOME++ (profiles, CLIP)": {
        "profile_to_molecule": (0.48, 1.79, 3.12),
        "molecule_to_profile": (0.45, 1.60, 3.04),
    },
    "CLOOME++ (profiles, CLOOB)": {
        "profile_to_molecule": (0.20, 1.76, 3.13),
        "molecule_to_profile": (0.37, 1.56, 2.75),
    },
    "MolPhenix* (S2L)": {
        "profile_to_molecule": (0.42, 1.54, 3.01),
        "molecule_to_profile": (0.28, 1.56, 3.00),
    },
    "MolPhenix* (SigCLIP)": {
        "profile_to_molecule": (0.66, 2.55, 4.34),
        "molecule_to_profile": (0.56, 2.78, 4.30),
    },
    "CellCLIP (CWCL)": {
        "profile_to_molecule": (1.25, 4.82, 7.39),
        "molecule_to_profile": (1.18, 4.49, 7.37),
    },
}
# Why no row of that table is a baseline of a run here.
BRAY2017_CAUTION = (
    "baselines of Bray2017 are not comparable between papers: an independent run of CLOOME reached "
    "R@1 / 5 / 10 of 1.51 / 5.15 / 6.95% from image to molecule (ml-jku/cloome, issue 4) where the "
    "table has 0.07 / 1.44 / 2.56; compare with the baselines of this run, which saw what it saw. "
    "MolPhenix* is CellCLIP's own reimplementation, whose profile head attends across the batch"
)

RELATIONS_SOURCE = Source(
    _CELLCLIP, "Table 4: RxRx3-core, recall of known gene pairs at the 5th and 95th percentiles"
)
RELATIONS = ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")
RELATION_RECALL: dict[str, tuple[float, float, float, float, float]] = {
    "CLOOME": (0.597, 0.679, 0.327, 0.309, 0.510),
    "MolPhenix*": (0.539, 0.599, 0.330, 0.297, 0.476),
    "CellCLIP": (0.714, 0.778, 0.427, 0.388, 0.618),
    "OpenPhenom-S/16": (0.649, 0.723, 0.418, 0.386, 0.579),
    "ViT-L/16 WSL": (0.681, 0.758, 0.388, 0.380, 0.587),
}

REPLICATES_SOURCE = Source(_CELLCLIP, "Table 4: CPJUMP1, replicate mAP")
REPLICATE_MAP = {
    "CLOOME": 0.575,
    "MolPhenix*": 0.531,
    "CellCLIP": 0.663,
    "OpenPhenom-S/16": 0.357,
    "ViT-L/16 WSL": 0.513,
}
