"""Which part of a drawing is the drug."""

import pytest
from rdkit import Chem

from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.standard import counter_ions, parent

CISPLATIN_KEY = "LXZZYRPGZAFOLE-UHFFFAOYSA-L"  # as published by PubChem
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
IBUPROFEN = "CC(C)Cc1ccc(C(C)C(=O)O)cc1"
SALICYLIC = "O=C(O)c1ccccc1O"
CAFFEINE = "Cn1c(=O)c2c(ncn2C)n(C)c1=O"
PROCAINE = "CCN(CC)CCOC(=O)c1ccc(N)cc1"
TAFAMIDIS = "OC(=O)c1ccc2nc(oc2c1)-c1cc(Cl)cc(Cl)c1"
PHYSOSTIGMINE = "CNC(=O)Oc1ccc2N(C)[C@H]3N(C)CC[C@@]3(C)c2c1"
MEGLUMINE = "CNC[C@@H]([C@H]([C@@H]([C@@H](CO)O)O)O)O"
PAMOIC = "OC(=O)c1cc2ccccc2c(Cc2c(O)c(cc3ccccc23)C(O)=O)c1O"
CITRIC = "OC(=O)CC(O)(CC(O)=O)C(O)=O"


@pytest.mark.parametrize(
    ("salt", "drug"),
    [
        # Counter-ions with more atoms than the drug: rdkit/rdkit #4754, datamol PR #201.
        (f"{MEGLUMINE}.{TAFAMIDIS}", TAFAMIDIS),
        ("CN1CCCN=C1C=Cc1cccs1." + PAMOIC, "CN1CCCN=C1C=Cc1cccs1"),
        ("CN1CCCN=C1C=Cc1cccc(O)c1." + PAMOIC, "CN1CCCN=C1C=Cc1cccc(O)c1"),
        (ASPIRIN + ".NCCCC[C@H](N)C(O)=O", ASPIRIN),
        # Both parts are counter-ions.
        ("C1CNCCN1." + CITRIC, "C1CNCCN1"),
        (CITRIC + ".[Mg+2]", CITRIC),
        ("[Na+].[O-]C(=O)c1ccccc1O", SALICYLIC),
        ("CC(=O)O.N", "CC(=O)O"),
        ("CCO.O", "CCO"),
        ("[Li+].[Li+].[O-]C([O-])=O", "[Li+]"),
        ("[Li]Cl", "[Li+]"),
        ("[Ag+].[O-][N+](=O)[O-]", "[Ag+]"),
        # Two of one, and one of another.
        (f"{PROCAINE}.{PROCAINE}.OS(=O)(=O)O", PROCAINE),
        (f"CC[NH+](CC)CCOC(=O)c1ccc(N)cc1.{PROCAINE}.[Cl-]", PROCAINE),
        # Each stereoisomer of a counter-ion, hydrates, several counter-ions.
        (PROCAINE + ".O[C@@H]([C@H](O)C(O)=O)C(O)=O.O.O", PROCAINE),
        (PROCAINE + ".O[C@H]([C@@H](O)C(O)=O)C(O)=O", PROCAINE),
        (PROCAINE + ".OC(=O)/C=C\\C(O)=O.Cl", PROCAINE),
        ("[O-]C(=O)c1ccccc1OC(C)=O.[O-]C(=O)c1ccccc1OC(C)=O.[Ca+2]", ASPIRIN),
        ("CC(=O)Oc1ccccc1C(=O)O[Ca]OC(=O)c1ccccc1OC(C)=O", ASPIRIN),
        # A drug beside one that makes salts: acid and base.
        (f"{PHYSOSTIGMINE}.{SALICYLIC}", PHYSOSTIGMINE),
        ("C[N+](C)(C)CCO.Cn1c(=O)c2[n-]cnc2n(C)c1=O", "Cn1c(=O)c2[nH]cnc2n(C)c1=O"),
        ("NCCN.Cn1c(=O)c2[nH]cnc2n(C)c1=O", "Cn1c(=O)c2[nH]cnc2n(C)c1=O"),
        (CAFFEINE + "." + CITRIC, CAFFEINE),
        # A permanent charge stays.
        ("CC(=O)OCC[N+](C)(C)C.[Cl-]", "CC(=O)OCC[N+](C)(C)C"),
        # Silver, zinc and aluminium at oxygen and nitrogen are counter-ions.
        ("[Ag+].Nc1ccc(cc1)S(=O)(=O)[N-]c1ncccn1", "Nc1ccc(S(=O)(=O)Nc2ncccn2)cc1"),
        ("[Ag]N(c1ncccn1)S(=O)(=O)c1ccc(N)cc1", "Nc1ccc(S(=O)(=O)Nc2ncccn2)cc1"),
        ("CCCCCCCCCC=CC(=O)[O-].CCCCCCCCCC=CC(=O)[O-].[Zn+2]", "CCCCCCCCCC=CC(=O)O"),
    ],
)
def test_a_salt_is_its_drug(salt, drug):
    row = standardise([salt]).iloc[0]
    assert row.error is None
    assert row.smiles == Chem.CanonSmiles(drug)
    assert row.left_out
    backwards = standardise([".".join(reversed(salt.split(".")))]).iloc[0]
    assert backwards.smiles == row.smiles
    assert backwards.left_out == row.left_out


@pytest.mark.parametrize(
    ("salt", "same"),
    [
        ("C[N+](C)(C)CCO.OC(=O)c1ccccc1O", "C[N+](C)(C)CCO.[O-]C(=O)c1ccccc1O"),
        ("[Na+].[Cl-]", "[Na]Cl"),
        ("[NH4+].[Cl-]", "N.Cl"),
        ("CC(=O)[O-].CC(=O)[O-].[Zn+2]", "CC(=O)O[Zn]OC(C)=O"),
        ("[Ca+2].[O-]C([O-])=O", "OC(=O)O[Ca]OC(=O)O"),
    ],
)
def test_two_equal_counter_ions_stay_the_salt_that_they_are(salt, same):
    table = standardise([salt, same])
    assert table["error"].tolist() == [None, None]
    assert table["inchikey"].nunique() == 1
    assert "." in table["smiles"][0]
    assert table["left_out"].tolist() == [(), ()]
    parts = standardise(salt.split("."))["inchikey"]
    assert table["inchikey"][0] not in set(parts)


@pytest.mark.parametrize(
    "smiles",
    [
        f"{ASPIRIN}.{CAFFEINE}",
        f"{IBUPROFEN}.{SALICYLIC}",  # two acids
        "Clc1ccccc1C(=O)N.COc1ccc2[nH]cc(CCN)c2c1",
        f"{CAFFEINE}.{ASPIRIN}.CC(=O)Nc1ccc(O)cc1",
        f"{ASPIRIN}.{PROCAINE}.Cl",
        f"Nc1ccc(S(N)(=O)=O)cc1.{SALICYLIC}",
        f"{ASPIRIN} {CAFFEINE}",
    ],
)
def test_two_drugs_are_a_combination(smiles):
    reason = standardise([smiles])["error"][0]
    assert reason is not None
    assert ": a combination" in reason
    assert "leave these wells out" in reason


def test_two_stereoisomers_are_no_molecule():
    reason = standardise(["C[C@H](N)Cc1ccccc1.C[C@@H](N)Cc1ccccc1.OS(=O)(=O)O"])["error"][0]
    assert reason.startswith("2 stereoisomers of one molecule")


@pytest.mark.parametrize(
    ("smiles", "metal"),
    [
        ("N[Pt](N)(Cl)Cl", "Pt"),
        ("N.N.Cl[Pt]Cl", "Pt"),
        ("[NH3+][Pt-2]([NH3+])(Cl)Cl", "Pt"),
        ("[NH3]->[Pt](<-[NH3])(Cl)Cl", "Pt"),
        ("[NH3].[NH3].[Cl-].[Cl-].[Pt+2]", "Pt"),
        ("C1CC(C1)(C(=O)[O-])C(=O)[O-].N.N.[Pt+2]", "Pt"),
        ("O=C1O[Pt]2(OC1=O)N[C@@H]1CCCC[C@H]1N2", "Pt"),
        ("[CH-]1C=CC=C1.[CH-]1C=CC=C1.[Fe+2]", "Fe"),
        ("CCP(CC)(CC)=[Au]SC1OC(COC(C)=O)C(OC(C)=O)C(OC(C)=O)C1OC(C)=O", "Au"),
        ("C1=CC(=S)N(C=C1)[O-].C1=CC(=S)N(C=C1)[O-].[Zn+2]", "Zn"),
        ("CN(C)C(=S)S[Zn]SC(=S)N(C)C", "Zn"),
        ("O=[As]O[As]=O", "As"),
        ("O=C([O-])CN(CCN(CC(=O)[O-])CC(=O)O)CCN(CC(=O)[O-])CC(=O)O.[Gd+3]", "Gd"),
        ("[C-]#N.[C-]#N.[C-]#N.[C-]#N.[C-]#N.N#[O+].[Fe+2].[Na+].[Na+]", "Fe"),
        ("O=C1O[Bi](O)Oc2ccccc12", "Bi"),
        ("NCC(=O)O[Cu]OC(=O)CN", "Cu"),
        ("OC(=O)C(O)C(O)C(=O)O.[K+].[Sb+3]", "Sb"),
        ("CC1=C2C=C3C=CC4=[N]3[Mg]3(n5c4ccc5C=C1N23)N", "Mg"),
    ],
)
def test_a_metal_stays_with_what_surrounds_it(smiles, metal):
    row = standardise([smiles]).iloc[0]
    if row.error is not None:  # a drawing that RDKit refuses has its own reason
        assert "not a valid molecule" in row.error
        return
    assert metal in row.smiles
    whole, kept = Chem.MolFromSmiles(smiles), Chem.MolFromSmiles(row.smiles)
    assert kept.GetNumHeavyAtoms() == whole.GetNumHeavyAtoms()


def test_cisplatin_drawn_with_ligands_apart_or_dative_is_one_compound():
    table = standardise(["N.N.Cl[Pt]Cl", "[NH3]->[Pt](<-[NH3])(Cl)Cl"])
    assert table["inchikey"].tolist() == [CISPLATIN_KEY, CISPLATIN_KEY]


def test_boron_and_arsenic_are_no_metals():
    bortezomib = "CC(C)CC(NC(=O)C(Cc1ccccc1)NC(=O)c1cnccn1)B(O)O"
    table = standardise([bortezomib, bortezomib + ".OCC(O)C(O)C(O)C(O)CO", "[Na+].[O-][As]=O"])
    assert table["smiles"][0] == bortezomib
    assert "combination" in table["error"][1]
    assert table["smiles"][2] == "O=[As]O"


def test_every_entry_of_the_table_has_its_own_line():
    named = [
        *counter_ions._WATER.items(),
        *counter_ions._INORGANIC.items(),
        *counter_ions._SOLVENT.items(),
        *counter_ions._ORGANIC.items(),
        *counter_ions._ALSO_DRUG.items(),
    ]
    table = counter_ions.table(parent.neutral)
    assert len(table) == len({name for name, _ in named}) == len(named)
    for name, smiles in named:
        neutral = parent.neutral(Chem.MolFromSmiles(smiles))
        assert table[counter_ions.plain_smiles(neutral)][0] == name


@pytest.mark.parametrize("name", ["tosylate", "pamoate", "meglumine", "tartrate", "camsylate"])
def test_each_counter_ion_goes_charged_or_not(name):
    smiles = counter_ions._ORGANIC[name]
    table = standardise([f"{CAFFEINE}.{smiles}", f"{smiles}.{smiles}.{CAFFEINE}.O"])
    assert table["smiles"].tolist() == [CAFFEINE] * 2
    assert table["left_out"][0] == (name,)
    assert set(table["left_out"][1]) == {name, "water"}
