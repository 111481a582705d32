"""Odd texts: each gives a molecule or a reason, and none ends the process."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molphenix_jax.molecules import check_smiles, featurise, standardise
from molphenix_jax.molecules.standard import MAX_ATOMS, MAX_CHARACTERS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nan", "no SMILES, only 'nan'"),
        ("N/A", "no SMILES"),
        ("-", "no SMILES"),
        (" None ", "no SMILES"),
        ("#NAME?", "spreadsheet"),
        ("InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3", "an InChI"),
        ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "an InChIKey"),
        ("\n  RDKit\n\n  1  0\nM  END", "a mol block"),
        ("CCO>>CC=O", "a reaction"),
        ("[#6]CC", "a SMARTS pattern"),
        ("C~C", "a SMARTS pattern"),
        ("[*]CC", "placeholder"),
        ("CC* |$;;_R1$|", "placeholder"),
        ("CCO |Sg:n:0,1::ht|", "a polymer"),
        ("CCO |m:0:1.2|", "not known"),
        ("CCO CC(=O)O", "a second SMILES"),
        ("CCO + c1ccccc1", "a second SMILES"),
        ("CCO;c1ccccc1", "two SMILES in one cell"),
        ("CCO,CCN", "two SMILES in one cell"),
        ("CCO,(x)", "not a valid SMILES"),
        ("C\u2212C", "has the character"),
        ("C\ud800", "has the character"),
        ("CC\0C", "has the character"),
        ("[H][H]", "no atoms but hydrogen"),
        ("[Fe]" + ".[Fe]" * 200, "parts"),
        ("C" * (MAX_ATOMS + 1), "atoms"),
        ("C" * (MAX_CHARACTERS + 1), "characters"),
        ("[Fe]" + "".join("([F])[Fe]" for _ in range(3)) + "([Cl])" * 20, "neighbours"),
    ],
)
def test_what_is_no_smiles_is_said(text, reason):
    found = check_smiles([text])[0]
    assert found is not None
    assert reason in found
    assert "\n" not in found


@pytest.mark.parametrize(
    "text",
    ["CCO\tethanol", "CCO CCCP", "CCO FCCP", "CCO |$;;$|", "CCO|c:1|", "CCO |&1:0|", "\u200bCCO"],
)
def test_names_and_extensions_after_a_smiles_are_no_part_of_it(text):
    row = standardise([text]).iloc[0]
    assert row.smiles == "CCO"
    assert row.left_out == (("marks of relative or racemic stereo",) if "&" in text else ())


@pytest.mark.slow
def test_the_largest_molecule_that_fits_is_read():
    assert standardise(["C" * MAX_ATOMS])["error"][0] is None


# What brought the interpreter down or kept it busy for minutes; in a process of its own, since a
# crash of this one would be no failed test.
_BOMBS = r"""
from molphenix_jax.molecules import check_smiles
n = 20_000
ring = "".join(f"%({i})" for i in range(900))
bombs = [
    "C" * n, "C(" * n + "C" + ")" * n, "C(" * 2_000, "[" * n, "(" * n, "C" + "=" * n,
    "C1CC1" * 2_000, "c1ccccc1" * 1_200, "N[C@@H](C)C(=O)" * 600 + "O", ".".join(["C"] * 5_000),
    "C" + ring + "C" + ring, "[Fe]" + "%10" * 3_000, "[C+999999999999]", "[999999999999C]",
    "C" * 9_999 + "(", "C" * 4_000, "C(" * 999 + "C" + ")" * 999 + "CCC",
    "InChI=1S/C9999H9999/" + "c1-2" * 100, "1" * n, "%" * n, "\\/" * n, "C/C=" * 2_400,
    "".join(f"[Fe]{''.join(f'%({i * 40 + j})' for j in range(40))}" for i in range(40)),
]
reasons = check_smiles(bombs)
assert all(reasons), [b[:20] for b, r in zip(bombs, reasons) if r is None]
print("survived", len(reasons))
"""


@pytest.mark.slow
def test_huge_and_broken_texts_are_rejected_and_the_process_lives():
    done = subprocess.run(
        [sys.executable, "-c", _BOMBS], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "survived" in done.stdout


@pytest.mark.slow
@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_a_molecule_or_a_reason(text):
    row = standardise([text]).iloc[0]
    assert (row.error is None) == (row.inchikey is not None)


_ALPHABET = "CNOSPFIBcnos()[]=#123%+-@/\\.*>~|& HNaPtFe:$_\u00e9"


def test_mutations_of_smiles_give_a_molecule_or_a_reason():
    rng = random.Random(0)
    whole = [
        "CC(=O)Oc1ccccc1C(=O)O", "N[C@@H](C)C(=O)O.Cl", "C/C=C/C(=O)[O-].[Na+]", "N.N.Cl[Pt]Cl",
        "C1CC2CCC1C2", "c1ccc2[nH]ccc2c1", "[2H]C([2H])([2H])O", "C[N+](C)(C)CCO.[Cl-]",
    ]  # fmt: skip
    texts = []
    for _ in range(300):
        text = list(rng.choice(whole))
        for _ in range(rng.randint(0, 2)):
            at = rng.randrange(len(text) + 1)
            kind = rng.random()
            if kind < 0.4:
                text.insert(at, rng.choice(_ALPHABET))
            elif kind < 0.7 and len(text) > 1:
                del text[min(at, len(text) - 1)]
            else:
                text[at : at + 1] = rng.choice(_ALPHABET)
        texts.append("".join(text))
    table = standardise(texts)
    assert ((table["error"].isna()) == table["inchikey"].notna()).all()
    usable = table["smiles"].dropna().tolist()
    assert 50 < len(usable) < 290
    # What is usable has features, and is its own standard form.
    for block in ("morgan", "morgan_chiral", "maccs", "rdkit", "physchem"):
        assert len(featurise(usable, block)) == len(usable)
    again = standardise(usable)
    assert again["error"].tolist() == [None] * len(usable)
    assert again["inchikey"].tolist() == table["inchikey"].dropna().tolist()
