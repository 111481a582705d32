"""The targets of the simulated screen: which substructure hits what, and how strongly.

Patterns are textbook pharmacophores, written so that they match the molecules they are named after
among the shipped drugs. Potencies are the customary order of magnitude in cells. Pathways are what
a morphological profile can tell apart: targets of one pathway look alike and not the same.
"""

from typing import NamedTuple


class Target(NamedTuple):
    """One target: any of `smarts` binds it.

    Attributes:
        smarts: patterns, any of which makes a molecule a ligand.
        pathways: what binding disturbs; a target of two pathways pulls on both.
        pec50: mean -log10(EC50 / M) of ligands of logP 3.
        per_logp: change of pEC50 per unit of logP, for targets reached by partition.
        hill: slope of the dose-response curve.
    """

    smarts: tuple[str, ...]
    pathways: tuple[str, ...]
    pec50: float
    per_logp: float = 0.0
    hill: float = 1.0


# An aliphatic amine that is protonated at pH 7.
BASIC_AMINE = "[NX3;!$(N~[!#6]);!$(N*=[O,N,S]);!$(Na);!$(N#*)]([CX4,#1])([CX4,#1])[CX4]"

_STEROID = (
    "[#6]1~[#6]~[#6]~[#6]2~[#6](~[#6]1)~[#6]~[#6]~[#6]1~[#6]2~[#6]~[#6]~[#6]2~[#6]1~[#6]~[#6]~[#6]2"
)
_TETRACYCLINE = (
    "[#6]1~[#6]~[#6]~[#6]2~[#6](~[#6]1)~[#6]~[#6]1~[#6](~[#6]2)~[#6]~[#6]2~[#6]~[#6]~[#6]~[#6]~[#6]2"
    "~[#6]1"
)

TARGETS: dict[str, Target] = {
    "kinase_hinge": Target(
        ("[NX3;!H0]-c1nccc[n,c]1", "[NX3;!H0]-c1ncnc2ccccc12", "[NX3;!H0]-c1ncnc2nccc12"),
        ("kinase",),
        6.3,
    ),
    "kinase_dfg_out": Target(("c[NX3;H1]C(=O)[NX3;H1]c",), ("kinase",), 6.0),
    "purine_receptor": Target(
        ("c1ncc2ncnc2n1", "O=c1[nX3]c(=O)c2ncnc2[nX3]1"), ("kinase", "nucleotide"), 5.5
    ),
    "nucleoside_antimetabolite": Target(
        ("[#7;R]-[CX4;r5]1[OX2][CX4]([CX4;H2][OX2])[#6][#6]1",), ("nucleotide", "dna_damage"), 5.8
    ),
    "topoisomerase": Target(
        (
            "[OX2H]C(=O)c1cnc2aaaac2c1=O",  # quinolones
            "O=C1c2ccccc2C(=O)c2ccccc12",  # anthraquinones and anthracyclines
        ),
        ("dna_damage",),
        5.8,
    ),
    "dna_alkylation": Target(("ClCCN", "C1CN1", "[N;X3]([CH3])N=O"), ("dna_damage",), 5.0),
    "tubulin": Target(
        ("COc1c(OC)cc(*)cc1OC", "COC(=O)Nc1nc2ccccc2[nH]1"), ("cytoskeleton",), 6.5, hill=1.5
    ),
    "steroid_receptor": Target((_STEROID,), ("nuclear_receptor",), 6.5),
    "estrogen_receptor": Target(
        (
            "[OX2;H1]c1ccc2c(c1)CCC1C2CCC2CCCC12",
            "c1ccccc1C(=C)c1ccccc1",  # triarylethylenes
        ),
        ("nuclear_receptor",),
        6.3,
    ),
    "aminergic_receptor": Target(
        (
            "c[NX3;R]1[CX4][CX4][NX3][CX4][CX4]1",  # arylpiperazines
            "c1ccc2c(c1)[#6,#7;R]~c1ccccc1[#6,#7,#8,#16]2",  # phenothiazines and their kin
            "c1ccc2c(c1)~[*;r7]~[*;r7]~c1ccccc1~[*;r7]2",  # dibenzazepines
        ),
        ("gpcr",),
        6.2,
    ),
    "catecholamine_receptor": Target(
        (
            "c1cc([OX2H])c([OX2H])cc1[CX4]",
            "cO[CX4;H2][CX4;H1]([OX2H])[CX4;H2][NX3]",  # aryloxypropanolamines
            "c1ccccc1[CX4;!R]([OX2H])[CX4;!R][NX3;!$(N*=[O,N])]",
        ),
        ("gpcr",),
        6.0,
    ),
    "calcium_channel": Target(
        ("[CX3]1=[CX3][NX3;H1][CX3]=[CX3][CX4]1", "c1ccccc1C(c1ccccc1)N1CCNCC1"),
        ("ion_channel",),
        5.8,
    ),
    "gaba_channel": Target(
        ("c1ccc2c(c1)~[#7]~[#6]~[#6]~[#7]~[#6]2", "O=C1CC(=O)NC(=O)N1"), ("ion_channel",), 5.6
    ),
    "sterol_synthesis": Target(
        (
            "[CX4;!R]-[n;r5]1[c;H1][nX2][c;H1][c,n]1",  # azoles
            "[OX2][CX4;!R]C[CX4]([OX2])CC(=O)[O,N]",  # statins
        ),
        ("sterol",),
        6.0,
    ),
    # Lipophilic amines collect in lysosomes and block cholesterol export: the commonest phenotype
    # of a drug library at high concentration.
    "lysosome": Target((BASIC_AMINE,), ("sterol", "lysosome"), 4.1, per_logp=0.35, hill=1.5),
    "histone_deacetylase": Target(
        ("[CX3](=O)[NX3;H1][OX2H]", "[NX3;H2]c1ccccc1[NX3;H1]C=O"), ("chromatin",), 6.3
    ),
    "carbonic_anhydrase": Target(("[#6;a][SX4](=O)(=O)[NX3;H2]",), ("ph",), 5.5),
    "cyclooxygenase": Target(
        ("c[CX4;!R][CX3](=O)[OX2H]", "c[NX3;H1]c1ccccc1C(=O)[OX2H]"), ("ph",), 5.2
    ),
    "mitochondrial_ribosome": Target(
        (
            "[r14,r15,r16]C(=O)O",  # macrolides
            "O=C1OCCN1c",  # oxazolidinones
            _TETRACYCLINE,
        ),
        ("mitochondria",),
        5.3,
    ),
    "redox_cycling": Target(("[c][N+](=O)[O-]", "O=C1C=CC(=O)c2ccccc12"), ("mitochondria",), 4.9),
    "serine_hydrolase": Target(("O=C1[CX4][CX4]N1",), ("proteostasis",), 5.0),
    "cysteine_trap": Target(
        ("[CX3;H2]=[CX3;H1]C(=O)[NX3]", "[CX3;!R;H1]=[CX3;!R](C#N)"), ("proteostasis",), 5.8
    ),
}
