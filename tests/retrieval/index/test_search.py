"""Exact search against all cosines at once: in blocks, in parts, with molecules that come twice."""

import numpy as np
import pytest

from molphenix_jax.retrieval import LibraryError, open_index
from molphenix_jax.retrieval.index import library, search
from tests.retrieval.index import saving

N, K, D = 500, 2, 16
Z = saving.vectors(N, K, D)
QUERIES = saving.vectors(7, D, seed=1)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "INDEX"
    saving.write(folder, Z, shards=3, chunk=60)
    return open_index(folder)


@pytest.fixture(params=[10**6, 64, 7], ids=["one block", "blocks", "small blocks"])
def blocks(request, monkeypatch):
    """Sizes of blocks: more than all, some, fewer rows than the top that is asked for."""
    monkeypatch.setattr(library, "ROWS", request.param)
    monkeypatch.setattr(search, "QUERIES", 3 if request.param < 1000 else 1024)


@pytest.mark.parametrize("top", [1, 20, 499, 500, 700])
def test_best_dose(index, blocks, top):
    found = index.search(QUERIES, top=top)
    cosines = np.einsum("qd,mkd->qmk", QUERIES, Z)
    order = np.argsort(-cosines.max(2), axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(found.molecule, order)
    np.testing.assert_array_equal(found.dose, np.take_along_axis(cosines.argmax(2), order, axis=1))
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(cosines.max(2), order, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("top", [1, 33, 1000])
def test_every_dose(index, blocks, top):
    found = index.search(QUERIES, top=top, best_dose=False)
    cosines = np.einsum("qd,mkd->qmk", QUERIES, Z).reshape(len(QUERIES), -1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(found.molecule * K + found.dose, order)


def test_equal_scores_go_to_the_lower_molecule_and_dose(tmp_path, blocks):
    z = np.full((40, K, D), 0.25, np.float32)  # whose products are exact in any order
    saving.write(tmp_path, z, chunk=9)
    index = open_index(tmp_path)
    found = index.search(z[:1, 0], top=12)
    np.testing.assert_array_equal(found.molecule[0], np.arange(12))
    assert not found.dose.any()
    every = index.search(z[:1, 0], top=12, best_dose=False)
    np.testing.assert_array_equal(every.molecule[0] * K + every.dose[0], np.arange(12))


def test_a_library_that_gets_better_and_better(tmp_path, blocks):
    """Each block is better than all before it."""
    angle = np.linspace(np.pi / 2, 0.1, 300)
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)[:, None]
    saving.write(tmp_path, z, chunk=50, doses=(1.0,))
    found = open_index(tmp_path).search(np.array([[1.0, 0.0]]), top=30)
    np.testing.assert_array_equal(found.molecule[0], np.arange(299, 269, -1))


def test_a_molecule_of_two_shards_or_libraries_counts_once(tmp_path, blocks):
    keys = np.arange(N)
    keys[300:320] = np.arange(20)  # again, in the second shard
    keys[200] = 199  # a shard's own are what its job took care of; here by hand all the same
    saving.write(tmp_path, Z, shards=2, chunk=70, keys=keys)
    saving.write(tmp_path, Z[:50], number=1, library="more.csv", keys=np.arange(470, 520))
    index = open_index(tmp_path)
    kept = np.r_[0:200, 201:300, 320:500]
    z = np.concatenate([Z[kept], Z[30:50]])
    np.testing.assert_array_equal(index.molecules["id"].iloc[[0, -1]], ["m0", "m519"])
    assert len(index) == len(index.molecules) == len(z) == 499
    np.testing.assert_array_equal(index.embeddings(np.arange(len(z))), z)
    cosines = np.einsum("qd,mkd->qmk", QUERIES, z).max(2)
    found = index.search(QUERIES, top=499)
    np.testing.assert_array_equal(found.molecule, np.argsort(-cosines, axis=1, kind="stable"))
    assert index.percentile(QUERIES, np.full((7, 1), -2.0)).tolist() == [[1.0]] * 7


def test_scores_and_share_above(index, blocks):
    cosines = np.einsum("qd,mkd->qmk", QUERIES, Z)
    rows = np.array([3, 499, 0, 3])
    np.testing.assert_allclose(index.scores(QUERIES, rows), cosines[:, rows], atol=1e-6)
    found = index.search(QUERIES, top=50)
    share = index.percentile(QUERIES, found.scores[:, ::-1])
    np.testing.assert_allclose(share[:, ::-1], np.tile(np.arange(50) / N, (7, 1)), atol=1e-9)
    thresholds = np.tile([1.1, 0.2, -0.1], (7, 1))
    above = (cosines.max(2)[:, :, None] > thresholds[:, None]).mean(1)
    np.testing.assert_allclose(index.percentile(QUERIES, thresholds), above)


def test_no_query_and_wrong_ones(index, unchecked):
    assert index.search(np.zeros((0, D)), top=5).scores.shape == (0, 5)
    assert index.percentile(np.zeros((0, D)), np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(LibraryError, match=r"\[q, 16\] as the index's model gives, not \(2, 4\)"):
        index.search(np.zeros((2, 4)))
    with pytest.raises(LibraryError, match="row 1 has NaN"):
        index.search(np.stack([QUERIES[0], np.full(D, np.nan)]))
    with pytest.raises(LibraryError, match="top=0"):
        index.search(QUERIES, top=0)
    with pytest.raises(IndexError, match="from 0 to 499"):
        index.scores(QUERIES, np.array([500]))
    with pytest.raises(LibraryError, match="a row for each query"):
        index.percentile(QUERIES, np.zeros((2, 1)))
