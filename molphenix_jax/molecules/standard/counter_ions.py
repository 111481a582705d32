"""Known counter-ions and solvents, and how likely each is what a salt is named after.

From the names that INN and USAN give to radicals and groups, and from what salts of drugs in ChEMBL
and in vendors' libraries hold. A fragment is looked up by its SMILES without charge, stereo and
isotopes, so tartrate stands for each of its stereoisomers, maleate for fumarate.
"""

import enum
import functools
from collections.abc import Callable

from rdkit import Chem


class Role(enum.IntEnum):
    """What a fragment of a SMILES is; the highest of all fragments is the molecule."""

    WATER = 0
    INORGANIC = 1
    SOLVENT = 2
    ORGANIC = 3  # acids and bases that make salts; and ions that are drugs by themselves
    ALSO_DRUG = 4  # drugs that make salts with others
    MOLECULE = 5  # not in the table


# Ions of these metals are counter-ions. Any other metal stays with what surrounds it.
_SPECTATORS = {
    "Na": "sodium",
    "K": "potassium",
    "Rb": "rubidium",
    "Cs": "caesium",
    "Mg": "magnesium",
    "Ca": "calcium",
    "Ba": "barium",
}
# Counter-ions of drugs; with an acid of the table it is the metal that acts (lithium carbonate,
# zinc acetate, silver nitrate).
_ACTIVE_IONS = {
    "Li": "lithium",
    "Zn": "zinc",
    "Ag": "silver",
    "Al": "aluminium",
    "Sr": "strontium",
}
SALT_METALS = frozenset(_SPECTATORS) | frozenset(_ACTIVE_IONS)

_WATER = {"water": "O", "heavy water": "[2H]O[2H]", "proton": "[H+]"}

_INORGANIC = {
    "fluoride": "F",
    "chloride": "Cl",
    "bromide": "Br",
    "iodide": "I",
    "triiodide": "I[I-]I",
    "ammonium": "N",
    "sulfide": "S",
    "oxide": "[O-2]",
    "sulfide (2-)": "[S-2]",
    "sulfate": "OS(=O)(=O)O",
    "sulfite": "OS(=O)O",
    "thiosulfate": "OS(=O)(=O)S",
    "disulfite": "OS(=O)S(=O)(=O)O",
    "persulfate": "OS(=O)(=O)OOS(=O)(=O)O",
    "sulfamate": "NS(=O)(=O)O",
    "phosphate": "OP(=O)(O)O",
    "pyrophosphate": "OP(=O)(O)OP(=O)(O)O",
    "phosphite": "O[PH](=O)O",
    "hypophosphite": "O[PH2]=O",
    "metaphosphate": "OP(=O)=O",
    "nitrate": "O[N+](=O)[O-]",
    "nitrite": "ON=O",
    "carbonate": "OC(=O)O",
    "carbon dioxide": "O=C=O",
    "borate": "OB(O)O",
    "metaborate": "OB=O",
    "perchlorate": "OCl(=O)(=O)=O",
    "chlorate": "OCl(=O)=O",
    "iodate": "OI(=O)=O",
    "hexafluorophosphate": "F[P-](F)(F)(F)(F)F",
    "tetrafluoroborate": "F[B-](F)(F)F",
    "hexafluorosilicate": "F[Si-2](F)(F)(F)(F)F",
    "thiocyanate": "SC#N",
    "silica": "O=[Si]=O",
    "silicate": "O[Si](=O)O",
    "orthosilicate": "O[Si](O)(O)O",
    "hydrogen peroxide": "OO",
    "sulfur dioxide": "O=S=O",
}

_SOLVENT = {
    "methanol": "CO",
    "ethanol": "CCO",
    "propanol": "CCCO",
    "isopropanol": "CC(C)O",
    "butanol": "CCCCO",
    "isobutanol": "CC(C)CO",
    "sec-butanol": "CCC(C)O",
    "tert-butanol": "CC(C)(C)O",
    "ethylene glycol": "OCCO",
    "propylene glycol": "CC(O)CO",
    "methoxyethanol": "COCCO",
    "dimethoxyethane": "COCCOC",
    "acetone": "CC(C)=O",
    "butanone": "CCC(C)=O",
    "methyl isobutyl ketone": "CC(C)CC(C)=O",
    "acetonitrile": "CC#N",
    "dichloromethane": "ClCCl",
    "chloroform": "ClC(Cl)Cl",
    "dichloroethane": "ClCCCl",
    "dioxane": "C1COCCO1",
    "tetrahydrofuran": "C1CCOC1",
    "2-methyltetrahydrofuran": "CC1CCCO1",
    "diethyl ether": "CCOCC",
    "diisopropyl ether": "CC(C)OC(C)C",
    "tert-butyl methyl ether": "COC(C)(C)C",
    "methyl acetate": "COC(C)=O",
    "ethyl acetate": "CCOC(C)=O",
    "isopropyl acetate": "CC(C)OC(C)=O",
    "ethyl formate": "CCOC=O",
    "dimethylformamide": "CN(C)C=O",
    "formamide": "NC=O",
    "dimethylacetamide": "CN(C)C(C)=O",
    "N-methylpyrrolidone": "CN1CCCC1=O",
    "dimethyl sulfoxide": "CS(C)=O",
    "sulfolane": "O=S1(=O)CCCC1",
    "nitromethane": "C[N+](=O)[O-]",
    "benzene": "c1ccccc1",
    "toluene": "Cc1ccccc1",
    "p-xylene": "Cc1ccc(C)cc1",
    "pentane": "CCCCC",
    "hexane": "CCCCCC",
    "heptane": "CCCCCCC",
    "cyclohexane": "C1CCCCC1",
}

_ORGANIC = {
    # Carboxylic acids.
    "formate": "OC=O",
    "acetate": "CC(=O)O",
    "trifluoroacetate": "OC(=O)C(F)(F)F",
    "chloroacetate": "OC(=O)CCl",
    "dichloroacetate": "OC(=O)C(Cl)Cl",
    "trichloroacetate": "OC(=O)C(Cl)(Cl)Cl",
    "propionate": "CCC(=O)O",
    "butyrate": "CCCC(=O)O",
    "isobutyrate": "CC(C)C(=O)O",
    "pivalate": "CC(C)(C)C(=O)O",
    "caproate": "CCCCCC(=O)O",
    "enantate": "CCCCCCC(=O)O",
    "caprylate": "CCCCCCCC(=O)O",
    "caprate": "CCCCCCCCCC(=O)O",
    "laurate": "CCCCCCCCCCCC(=O)O",
    "myristate": "CCCCCCCCCCCCCC(=O)O",
    "palmitate": "CCCCCCCCCCCCCCCC(=O)O",
    "stearate": "CCCCCCCCCCCCCCCCCC(=O)O",
    "oleate": "CCCCCCCCC=CCCCCCCCC(=O)O",
    "glycolate": "OCC(=O)O",
    "lactate": "CC(O)C(=O)O",
    "pyruvate": "CC(=O)C(=O)O",
    "levulinate": "CC(=O)CCC(=O)O",
    "glyoxylate": "O=CC(=O)O",
    "oxalate": "OC(=O)C(=O)O",
    "malonate": "OC(=O)CC(=O)O",
    "succinate": "OC(=O)CCC(=O)O",
    "glutarate": "OC(=O)CCCC(=O)O",
    "adipate": "OC(=O)CCCCC(=O)O",
    "pimelate": "OC(=O)CCCCCC(=O)O",
    "sebacate": "OC(=O)CCCCCCCCC(=O)O",
    "maleate or fumarate": "OC(=O)C=CC(=O)O",
    "malate": "OC(=O)CC(O)C(=O)O",
    "tartrate": "OC(=O)C(O)C(O)C(=O)O",
    "dibenzoyltartrate": "OC(=O)C(OC(=O)c1ccccc1)C(OC(=O)c1ccccc1)C(=O)O",
    "ditoluoyltartrate": "OC(=O)C(OC(=O)c1ccc(C)cc1)C(OC(=O)c1ccc(C)cc1)C(=O)O",
    "citrate": "OC(=O)CC(O)(CC(=O)O)C(=O)O",
    "ketoglutarate": "OC(=O)CCC(=O)C(=O)O",
    "gluconate": "OCC(O)C(O)C(O)C(O)C(=O)O",
    "gluceptate": "OCC(O)C(O)C(O)C(O)C(O)C(=O)O",
    "saccharate or mucate": "OC(=O)C(O)C(O)C(O)C(O)C(=O)O",
    "glucuronate": "O=CC(O)C(O)C(O)C(O)C(=O)O",
    "glucuronate (ring)": "OC1OC(C(=O)O)C(O)C(O)C1O",
    "lactobionate": "OCC1OC(OC(C(O)CO)C(O)C(O)C(=O)O)C(O)C(O)C1O",
    "quinate": "OC1CC(O)(C(=O)O)CC(O)C1O",
    "mandelate": "OC(c1ccccc1)C(=O)O",
    "phenylacetate": "OC(=O)Cc1ccccc1",
    "trifenatate": "OC(=O)C(c1ccccc1)(c1ccccc1)c1ccccc1",
    "benzoate": "OC(=O)c1ccccc1",
    "4-hydroxybenzoate": "OC(=O)c1ccc(O)cc1",
    "gentisate": "OC(=O)c1cc(O)ccc1O",
    "gallate": "OC(=O)c1cc(O)c(O)c(O)c1",
    "acedoben": "CC(=O)Nc1ccc(C(=O)O)cc1",
    "hibenzate": "OC(=O)c1ccccc1C(=O)c1ccc(O)cc1",
    "fendizoate": "OC(=O)c1ccccc1C(=O)c1ccc(O)c(-c2ccccc2)c1",
    "cinnamate": "OC(=O)C=Cc1ccccc1",
    "hippurate": "OC(=O)CNC(=O)c1ccccc1",
    "phthalate": "OC(=O)c1ccccc1C(=O)O",
    "terephthalate": "OC(=O)c1ccc(C(=O)O)cc1",
    "xinafoate": "OC(=O)c1ccc2ccccc2c1O",
    "3-hydroxy-2-naphthoate": "OC(=O)c1cc2ccccc2cc1O",
    "pamoate": "OC(=O)c1cc2ccccc2c(Cc2c(O)c(C(=O)O)cc3ccccc23)c1O",
    "orotate": "OC(=O)c1cc(=O)[nH]c(=O)[nH]1",
    "pidolate": "OC(=O)C1CCC(=O)N1",
    "aceturate": "CC(=O)NCC(=O)O",
    "acexamate": "CC(=O)NCCCCCC(=O)O",
    "aspartate": "NC(CC(=O)O)C(=O)O",
    "glutamate": "NC(CCC(=O)O)C(=O)O",
    "proline": "OC(=O)C1CCCN1",
    # Acids of sulfur, phosphorus and carbon.
    "mesylate": "CS(=O)(=O)O",
    "esylate": "CCS(=O)(=O)O",
    "edisylate": "OS(=O)(=O)CCS(=O)(=O)O",
    "isethionate": "OCCS(=O)(=O)O",
    "triflate": "OS(=O)(=O)C(F)(F)F",
    "besylate": "OS(=O)(=O)c1ccccc1",
    "tosylate": "Cc1ccc(S(=O)(=O)O)cc1",
    "closylate": "OS(=O)(=O)c1ccc(Cl)cc1",
    "xylenesulfonate": "Cc1ccc(S(=O)(=O)O)c(C)c1",
    "mesitylenesulfonate": "Cc1cc(C)c(S(=O)(=O)O)c(C)c1",
    "sulfosalicylate": "OC(=O)c1cc(S(=O)(=O)O)ccc1O",
    "napsylate": "OS(=O)(=O)c1ccc2ccccc2c1",
    "1-naphthalenesulfonate": "OS(=O)(=O)c1cccc2ccccc12",
    "napadisylate": "OS(=O)(=O)c1cccc2c(S(=O)(=O)O)cccc12",
    "camsylate": "CC1(C)C2CCC1(CS(=O)(=O)O)C(=O)C2",
    "methylsulfate": "COS(=O)(=O)O",
    "ethylsulfate": "CCOS(=O)(=O)O",
    "laurylsulfate": "CCCCCCCCCCCCOS(=O)(=O)O",
    "cyclamate": "OS(=O)(=O)NC1CCCCC1",
    "saccharinate": "O=C1NS(=O)(=O)c2ccccc21",
    "acesulfame": "CC1=CC(=O)NS(=O)(=O)O1",
    "glycerophosphate": "OCC(O)COP(=O)(O)O",
    "2-glycerophosphate": "OCC(CO)OP(=O)(O)O",
    "picrate": "Oc1c([N+](=O)[O-])cc([N+](=O)[O-])cc1[N+](=O)[O-]",
    "tetraphenylborate": "c1ccc([B-](c2ccccc2)(c2ccccc2)c2ccccc2)cc1",
    # Bases.
    "methylamine": "CN",
    "dimethylamine": "CNC",
    "trimethylamine": "CN(C)C",
    "ethylamine": "CCN",
    "diethylamine": "CCNCC",
    "triethylamine": "CCN(CC)CC",
    "isopropylamine": "CC(C)N",
    "diisopropylamine": "CC(C)NC(C)C",
    "diisopropylethylamine": "CCN(C(C)C)C(C)C",
    "butylamine": "CCCCN",
    "erbumine": "CC(C)(C)N",
    "cyclohexylamine": "NC1CCCCC1",
    "dicyclohexylamine": "C1CCC(NC2CCCCC2)CC1",
    "benzylamine": "NCc1ccccc1",
    "phenethylamine": "CC(N)c1ccccc1",
    "ethylenediamine": "NCCN",
    "benzathine": "C(CNCc1ccccc1)NCc1ccccc1",
    "benethamine": "C(CNCc1ccccc1)c1ccccc1",
    "hydrabamine": ("CC(C)c1ccc2c(c1)CCC1C2(C)CCCC1(C)CNCCNCC1(C)CCCC2(C)c3ccc(C(C)C)cc3CCC12"),
    "olamine": "NCCO",
    "diolamine": "OCCNCCO",
    "trolamine": "OCCN(CCO)CCO",
    "deanol": "CN(C)CCO",
    "diethylethanolamine": "CCN(CC)CCO",
    "epolamine": "OCCN1CCCC1",
    "hydroxyethylmorpholine": "OCCN1CCOCC1",
    "tromethamine": "NC(CO)(CO)CO",
    "meglumine": "CNCC(O)C(O)C(O)C(O)CO",
    "eglumine": "CCNCC(O)C(O)C(O)C(O)CO",
    "pyrrolidine": "C1CCNC1",
    "piperidine": "C1CCNCC1",
    "morpholine": "C1COCCN1",
    "N-methylmorpholine": "CN1CCOCC1",
    "pyridine": "c1ccncc1",
    "imidazole": "c1c[nH]cn1",
    "tetramethylammonium": "C[N+](C)(C)C",
    "tetrabutylammonium": "CCCC[N+](CCCC)(CCCC)CCCC",
}

_ALSO_DRUG = {
    "choline": "C[N+](C)(C)CCO",
    "betaine": "C[N+](C)(C)CC(=O)[O-]",
    "piperazine": "C1CNCCN1",
    "lysine": "NCCCCC(N)C(=O)O",
    "arginine": "NC(=N)NCCCC(N)C(=O)O",
    "histidine": "NC(Cc1c[nH]cn1)C(=O)O",
    "glycine": "NCC(=O)O",
    "taurine": "NCCS(=O)(=O)O",
    "salicylate": "OC(=O)c1ccccc1O",
    "nicotinate": "OC(=O)c1cccnc1",
    "ascorbate": "OCC(O)C1OC(=O)C(O)=C1O",
    "teoclate": "Cn1c(=O)c2[nH]c(Cl)nc2n(C)c1=O",
}


def plain_smiles(mol: Chem.Mol) -> str:
    """SMILES without stereo, isotopes and atom maps: what the table is keyed by."""
    return Chem.MolToSmiles(mol, isomericSmiles=False)


@functools.cache
def table(neutral: Callable[[Chem.Mol], Chem.Mol]) -> dict[str, tuple[str, Role]]:
    """Name and role of each counter-ion by its `plain_smiles`, neutralised by `neutral`."""
    groups = (
        (_WATER, Role.WATER),
        (_INORGANIC, Role.INORGANIC),
        (_SOLVENT, Role.SOLVENT),
        (_ORGANIC, Role.ORGANIC),
        (_ALSO_DRUG, Role.ALSO_DRUG),
    )
    return {
        plain_smiles(neutral(Chem.MolFromSmiles(smiles))): (name, role)
        for group, role in groups
        for name, smiles in group.items()
    }


def metal_role(symbol: str) -> tuple[str, Role] | None:
    """Name and role of a metal's ion; None for metals that stay with what surrounds them."""
    if symbol in _SPECTATORS:
        return _SPECTATORS[symbol], Role.INORGANIC
    if symbol in _ACTIVE_IONS:
        return _ACTIVE_IONS[symbol], Role.ORGANIC
    return None
