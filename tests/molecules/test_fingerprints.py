import numpy as np
import pytest
import rdkit
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen, Descriptors, rdFingerprintGenerator, rdMolDescriptors

from molphenix_jax import molecules
from molphenix_jax.molecules import (
    FINGERPRINTS,
    column_names,
    descriptors,
    featurise,
    featurise_blocks,
    shipped_smiles,
    tanimoto,
)

MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)
# Those that need no weights of others.
BLOCKS = [name for name in FINGERPRINTS if name != "minimol"]
SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "N[Pt](N)(Cl)Cl",  # no Gasteiger parameters: partial charges are NaN in RDKit
    "C",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
]


@pytest.mark.parametrize(
    ("block", "width", "dtype"),
    [
        ("morgan", 2048, np.uint8),
        ("maccs", 167, np.uint8),
        ("rdkit", 2048, np.uint8),
        ("physchem", 212, np.float32),
    ],
)
def test_shape_dtype_and_range(block, width, dtype):
    features = featurise(SMILES, block)
    assert features.shape == (len(SMILES), width)
    assert features.dtype == dtype
    assert np.isfinite(features).all()
    assert len(set(column_names(block))) == width
    if block != "physchem":
        assert set(np.unique(features)) == {0, 1}
    assert featurise([], block).shape == (0, width)


@pytest.mark.parametrize(
    ("block", "fingerprint"),
    [
        ("morgan", MORGAN.GetFingerprint),
        ("maccs", rdMolDescriptors.GetMACCSKeysFingerprint),
        ("rdkit", rdFingerprintGenerator.GetRDKitFPGenerator(fpSize=2048).GetFingerprint),
    ],
)
def test_bits_are_those_of_rdkit(block, fingerprint):
    expected = [list(fingerprint(Chem.MolFromSmiles(smiles))) for smiles in SMILES]
    np.testing.assert_array_equal(featurise(SMILES, block), expected)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_row_does_not_depend_on_its_neighbours(block):
    together = featurise([*SMILES, SMILES[0]], block)
    for row, smiles in enumerate(SMILES):
        np.testing.assert_array_equal(featurise([smiles], block)[0], together[row])
    np.testing.assert_array_equal(together[-1], together[0])


def test_physchem_values_against_rdkit():
    features, names = featurise(SMILES, "physchem"), column_names("physchem")
    mols = [Chem.MolFromSmiles(smiles) for smiles in SMILES]
    expected = {
        "MolLogP": [Crippen.MolLogP(mol) for mol in mols],
        "MolWt": [Descriptors.MolWt(mol) for mol in mols],
        "MaxEStateIndex": [Descriptors.MaxEStateIndex(mol) for mol in mols],
        "MinAbsEStateIndex": [Descriptors.MinAbsEStateIndex(mol) for mol in mols],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(features[:, names.index(name)], values, rtol=1e-6)
    some = descriptors(SMILES, names=("MolWt", "MolLogP"))
    np.testing.assert_array_equal(some[:, 1], features[:, names.index("MolLogP")])


def test_undefined_descriptors_become_zero():
    cisplatin = Chem.MolFromSmiles(SMILES[2])
    assert np.isnan(Descriptors.MaxPartialCharge(cisplatin))
    assert descriptors([SMILES[2]], names=("MaxPartialCharge",))[0, 0] == 0.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"),
        ("C/C=C/C(=O)O", "C/C=C\\C(=O)O"),
        ("C/C(=N/O)c1ccccc1", "C/C(=N\\O)c1ccccc1"),
        ("C[S@](=O)c1ccccc1", "C[S@@](=O)c1ccccc1"),
        ("C[C@H]1CC[C@@H](O)CC1", "C[C@H]1CC[C@H](O)CC1"),
        ("OC[C@H](O)[C@@H](O)CO", "OC[C@H](O)[C@H](O)CO"),
        ("C[C@H](N)C(=O)O", "CC(N)C(=O)O"),
    ],
)
def test_only_the_chiral_block_tells_stereoisomers_apart(one, other):
    for block in BLOCKS:
        rows = featurise([one, other], block)
        differ = (rows[0] != rows[1]).any()
        if block == "morgan_chiral":
            assert differ
        elif block != "physchem" or "@" in other:  # descriptors count unspecified centres
            assert not differ


def test_the_chiral_block_is_morgan_where_there_is_no_stereo():
    flat = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "c1ccncc1"]
    np.testing.assert_array_equal(featurise(flat, "morgan_chiral"), featurise(flat, "morgan"))
    alanine = ["C[C@H](N)C(=O)O", "OC(=O)[C@H](C)N", "N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O"]
    rows = featurise(alanine, "morgan_chiral")
    assert (rows[1:3] == rows[0]).all()  # L, however written
    assert (rows[3] != rows[0]).any()


def test_errors_name_what_was_wrong():
    with pytest.raises(ValueError, match=r"'ecfp' is unknown; choose from morgan, maccs"):
        featurise(SMILES, "ecfp")
    with pytest.raises(ValueError, match=r"'ecfp' is unknown"):
        column_names("ecfp")
    with pytest.raises(ValueError, match=r"row 1: 'C1CC'"):
        featurise(["CCO", "C1CC"], "maccs")
    with pytest.raises(ValueError, match="NoSuchThing"):
        descriptors(SMILES, names=("MolLogP", "NoSuchThing"))


def test_version_names_the_library():
    assert f"rdkit{rdkit.__version__}" in molecules.FEATURISER_VERSION


def test_tanimoto_is_that_of_rdkit():
    bits = featurise(SMILES, "morgan")
    vectors = [MORGAN.GetFingerprint(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    expected = [DataStructs.BulkTanimotoSimilarity(vector, vectors) for vector in vectors]
    np.testing.assert_allclose(tanimoto(bits, bits), expected, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_tanimoto_properties(seed, density):
    rng = np.random.default_rng(seed)
    a = (rng.random((5, 40)) < density).astype(np.uint8)
    b = (rng.random((3, 40)) < density).astype(np.uint8)
    similarity = tanimoto(a, b)
    assert similarity.dtype == np.float32
    assert ((similarity >= 0) & (similarity <= 1)).all()
    np.testing.assert_array_equal(similarity, tanimoto(b, a).T)
    np.testing.assert_array_equal(np.diag(tanimoto(a, a)), a.any(axis=1).astype(np.float32))
    union = (a[0] | b[0]).sum()
    np.testing.assert_allclose(similarity[0, 0], (a[0] & b[0]).sum() / max(union, 1), rtol=1e-6)


@pytest.mark.slow
def test_several_blocks_at_once_are_those_of_one_at_a_time():
    """Whatever a block leaves in a molecule for the next: in any order of them."""
    smiles = [*shipped_smiles()[:20], "C[C@H](O)CC", "C/C=C/C", "[Na+].[Cl-]"]
    names = ["maccs", "morgan", "morgan_chiral", "physchem", "rdkit"]
    alone = {name: featurise(smiles, name) for name in names}
    for order in (names, names[::-1], names[2:] + names[:2]):
        found = featurise_blocks(smiles, order)
        assert list(found) == order
        for name in names:
            assert found[name].dtype == alone[name].dtype
            np.testing.assert_array_equal(found[name], alone[name])
    assert featurise_blocks(smiles, []) == {}
    with pytest.raises(ValueError, match="row 1: 'nonsense' is not a valid SMILES"):
        featurise_blocks(["C", "nonsense"], ["maccs"])
