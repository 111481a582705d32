import pytest

from molphenix_jax.molecules import match_substructures


def test_matches_by_column():
    patterns = {"acid": "C(=O)[OX2H]", "benzene": "c1ccccc1", "amine": "[NX3;H2]"}
    hits = match_substructures(["CC(=O)O", "c1ccccc1N", "CC(=O)O", "C"], patterns)
    assert hits.tolist() == [
        [True, False, False],
        [False, True, True],
        [True, False, False],
        [False, False, False],
    ]
    assert match_substructures([], patterns).shape == (0, 3)


def test_errors_name_pattern_and_row():
    with pytest.raises(ValueError, match=r"'ring' is not a valid SMARTS: 'C1CC'"):
        match_substructures(["C"], {"ring": "C1CC"})
    with pytest.raises(ValueError, match=r"row 1: 'C1CC'"):
        match_substructures(["C", "C1CC"], {"carbon": "C"})
