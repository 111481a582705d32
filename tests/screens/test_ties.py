import numpy as np
import pytest

from molphenix_jax.molecules import featurise
from molphenix_jax.screens.ties import describe_ties, row_digests

STEREO = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "C/C=C/C(=O)O", "C/C=C\\C(=O)O", "CCO"]
BLOCKS = ("morgan", "maccs", "rdkit", "physchem")


def said(*blocks: str) -> list[str]:
    return describe_ties(row_digests([featurise(STEREO, b) for b in blocks]), blocks)


def test_stereoisomers_are_ties_unless_a_block_tells_them_apart():
    (note,) = said(*BLOCKS)
    assert note.startswith("4 of 5 molecules share all features (maccs, morgan, physchem, rdkit)")
    assert "morgan_chiral" in note
    assert said(*BLOCKS, "morgan_chiral") == []


def test_a_tie_is_one_in_all_blocks():
    one = np.array([[1, 0], [1, 0], [0, 1]], np.uint8)
    other = np.array([[0.0], [-0.0], [2.0]], np.float32)
    assert len(describe_ties(row_digests([one, other]), ("a", "b"))) == 1
    other[1] = 1.0
    assert describe_ties(row_digests([one, other]), ("a", "b")) == []
    assert describe_ties(np.zeros((0, 16), np.uint8), ()) == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_digests_do_not_depend_on_neighbours(order):
    rows = np.array([[1.5, 2.0], [3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(
        row_digests([rows[list(order)]]), row_digests([rows])[list(order)]
    )
