"""Seeded mutations of SMILES: each is the molecule that it draws, or has a reason in plain words.

Three of five cases are molecules drawn in other ways, as salts and among what is no molecule; RDKit
knows the InChIKey of each. The others are broken texts: what is read of one has to be the same
however it is drawn, and its standard form its own.
"""

from collections.abc import Callable

import numpy as np
from rdkit import Chem, rdBase

from molphenix_jax.molecules import standardise
from tests.fuzz.attempts import seeds

ACIDS = ("CC(=O)Oc1ccccc1C(=O)O", "CC(C)Cc1ccc(C(C)C(=O)O)cc1", "COc1ccc2cc(C(C)C(=O)O)ccc2c1")
BASES = (
    *(
        "CN1CCC[C@H]1c1cccnc1",
        "CNCCC(Oc1ccc(C(F)(F)F)cc1)c1ccccc1",
        "CN(C)CCCN1c2ccccc2CCc2ccccc21",
    ),
    *("CC(N)Cc1ccccc1C", "CCN(CC)CCNC(=O)c1ccc(N)cc1", "OC(=O)[C@@H]1CCCN1C(C)CN(C)Cc1ccccc1"),
)
OTHERS = (
    *(
        "CC(=O)Nc1ccc(O)cc1",
        "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
        "C[C@H](O)c1ccc(Cl)cc1",
        "C/C=C/c1ccccc1",
    ),
    *("CC(=O)C=Cc1ccc(Br)cc1", "CS(=O)(=O)Nc1ccc(I)cc1", "[2H]C([2H])([2H])Oc1ccc(C#N)cc1"),
    *("C1=CC2=C(C=C1)SC1=CC=CC=C1N2", "OC[C@H]1OC(Oc2ccccc2)[C@H](O)[C@@H](O)[C@@H]1O"),
)
UNUSABLE = (
    *(
        "",
        "   ",
        "nan",
        "N/A",
        "#NAME?",
        "C1CC",
        "c1ccccc",
        "CC(C",
        "C(C)(C)(C)(C)C",
        "[Xx]C",
        "*CC",
    ),
    *("CC>>CO", "InChI=1S/CH4/h1H4", "VNWKTOKETHGBQD-UHFFFAOYSA-N", "[#6]CC", "C~C", "[H][H]"),
    *("C" * 11_000, ".".join(["C"] * 150), "C" * 1_200, "aspirin", "CCO\u00e9", "|r|", "[R1]CC"),
)
MIXTURES = (
    ("CC(=O)Nc1ccc(O)cc1.Cn1c(=O)c2c(ncn2C)n(C)c1=O", "two different molecules"),
    ("CC(=O)Oc1ccccc1C(=O)O.CC(=O)Nc1ccc(O)cc1.Cl", "two different molecules"),
    ("C[C@H](O)c1ccc(Cl)cc1.C[C@@H](O)c1ccc(Cl)cc1", "stereoisomers"),
    ("CC(=O)Nc1ccc(O)cc1 OC(=O)c1ccccc1OC", "second SMILES"),
)
METALS = ("[NH3][Pt](Cl)(Cl)[NH3]", "N.N.[Cl-].[Cl-].[Pt+2]", "C[Hg]Cl", "[Fe+2].OC(=O)CCC(O)=O")
ACID_SALTS = (".[Na+]", ".[K+]", ".[NH4+]", ".C[NH2+]CC(O)C(O)C(O)C(O)CO", ".OCC[NH3+]")
BASE_SALTS = (".Cl", ".Br", ".OS(=O)(=O)O", ".CS(=O)(=O)O", ".OC(=O)C=CC(=O)O", ".OC(=O)C(F)(F)F")
SOLVENTS = (".O", ".O.O", ".CCO", ".CS(C)=O", ".ClCCl")
TAILS = ("", " a name", "\tCHEMBL25", " |r|", "  ", " |&1:1|")


def key(smiles: str) -> str:
    return Chem.MolToInchiKey(Chem.MolFromSmiles(smiles))


def drawn(smiles: str, rng: np.random.Generator) -> str:
    """The same in another order of atoms, with or without what is optional."""
    mol = Chem.MolFromSmiles(smiles)
    way, seed = int(rng.integers(5)), int(rng.integers(1, 1 << 30))
    if way == 1:
        Chem.Kekulize(mol, clearAromaticFlags=True)
    if way == 2:
        mol = Chem.AddHs(mol)
    if way == 3:
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(atom.GetIdx() + 1)
    order = [int(i) for i in rng.permutation(mol.GetNumAtoms())]
    if way == 4:
        mol = Chem.RenumberAtoms(mol, order)
        return Chem.MolToSmiles(mol, canonical=False, allBondsExplicit=True, allHsExplicit=True)
    return Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0]


def salt(smiles: str, rng: np.random.Generator) -> str:
    """The same as a salt or a hydrate, in any order of its parts."""
    text = drawn(smiles, rng)
    if smiles in ACIDS and rng.random() < 0.7:
        mol = Chem.MolFromSmiles(smiles)
        (at, *_) = mol.GetSubstructMatch(Chem.MolFromSmarts("[OX2H]C=O"))
        mol.GetAtomWithIdx(at).SetFormalCharge(-1)
        text = drawn(Chem.MolToSmiles(mol), rng) + str(rng.choice(ACID_SALTS))
    elif smiles in BASES and rng.random() < 0.7:
        text += str(rng.choice(BASE_SALTS))
        if rng.random() < 0.3:  # two of the drug for one acid
            text = f"{drawn(smiles, rng)}.{text}"
    if rng.random() < 0.4:
        text += str(rng.choice(SOLVENTS))
    return ".".join(str(part) for part in rng.permutation(text.split(".")))


@seeds(50)
def test_a_smiles_is_what_it_draws_or_has_a_reason(seed, attempt):
    rng = np.random.default_rng(seed)
    if seed % 5 < 2:
        _broken(rng, attempt)
        return
    texts: list[str] = []
    checks: list[Callable] = []
    for _ in range(8):
        kind, molecules = rng.integers(10), (*ACIDS, *BASES, *OTHERS)
        base = str(rng.choice(molecules))
        if kind == 0:
            texts.append(str(rng.choice(UNUSABLE)))
            checks.append(lambda row: row["error"] and row["smiles"] is None)
        elif kind == 1:
            mixture, reason = MIXTURES[rng.integers(len(MIXTURES))]
            texts.append(mixture)
            checks.append(lambda row, reason=reason: reason in row["error"])
        elif kind == 2:
            texts.append(str(rng.choice(METALS)))
            metal = next(s for s in ("Pt", "Hg", "Fe") if s in texts[-1])
            checks.append(lambda row, metal=metal: metal in row["smiles"])
        else:
            stereo = kind > 3
            flat = base if stereo else Chem.MolToSmiles(Chem.MolFromSmiles(base), False)
            text = salt(flat, rng) if base not in OTHERS or rng.random() < 0.3 else drawn(flat, rng)
            tail = str(rng.choice(TAILS))
            texts.append(f"{rng.choice(['', ' '])}{text}{tail}")
            wanted = key(base if stereo else flat)
            checks.append(lambda row, wanted=wanted: row["inchikey"] == wanted)
    table = attempt("valid", lambda: standardise(texts))
    assert len(table) == len(texts)
    for text, check, row in zip(texts, checks, table.to_dict("records"), strict=True):
        assert check(row), (text, row)


def _broken(rng: np.random.Generator, attempt: Callable) -> None:
    signs = list("CNOPSFIclno()[]=#@+-.123%/\\H*:~ |\x00\u00e9")
    texts = []
    for _ in range(8):
        base = str(rng.choice((*ACIDS, *BASES, *OTHERS, *METALS, *(m for m, _ in MIXTURES))))
        text = drawn(base, rng) if " " not in base else base
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(text) + 1))
            put = "".join(rng.choice(signs, rng.integers(0, 3)))
            text = text[:at] + put + text[at + int(rng.integers(0, 3)) :]
        texts.append(text)
    table = attempt("damaged", lambda: standardise(texts))
    read = table[table["error"].isna()]
    assert all(reason for reason in table["error"] if reason is not None)
    again = standardise(read["smiles"].tolist())
    assert again["smiles"].tolist() == read["smiles"].tolist(), read.index
    assert again["inchikey"].tolist() == read["inchikey"].tolist()
    with rdBase.BlockLogs():
        others = [drawn(texts[i].split()[0].split("|")[0], rng) for i in read.index]
    other = standardise(others)
    for i, was, now in zip(read.index, read["inchikey"], other["inchikey"], strict=True):
        assert was == now, (texts[i], others)
