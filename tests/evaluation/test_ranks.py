"""Ranks against a brute-force reference, ties, and the rounding of top-K%."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molphenix_jax.evaluation import ranks


def brute_force(query, gallery, positive, metric):
    """One pair at a time; ties are equal scores to nine digits."""
    strict, pessimistic = [], []
    for q, p in zip(query, positive, strict=True):
        if metric == "cosine":
            scores = [np.dot(q, g) / np.linalg.norm(q) / np.linalg.norm(g) for g in gallery]
        else:
            scores = [-np.sum((q - g) ** 2) for g in gallery]
        gaps = [score - scores[p] for score in scores]
        strict.append(1 + sum(gap > 1e-6 for gap in gaps))
        pessimistic.append(sum(gap >= -1e-6 for gap in gaps))
    return strict, pessimistic


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk_size", [1, 7, 64])
def test_matches_brute_force_with_duplicates_and_a_shuffled_gallery(metric, chunk_size):
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 5)).astype(np.float32)
    gallery[25:] = gallery[:15]  # exact duplicates
    query = (gallery + 0.7 * rng.normal(size=gallery.shape)).astype(np.float32)[:33]
    positive = rng.permutation(40)[:33]
    found = ranks.rank_of_positive(query, gallery, positive, metric=metric, chunk_size=chunk_size)
    strict, pessimistic = brute_force(query.astype(float), gallery.astype(float), positive, metric)
    np.testing.assert_array_equal(found.strict, strict)
    np.testing.assert_array_equal(found.pessimistic, pessimistic)
    assert (found.pessimistic > found.strict).any()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_identical_candidates_tie_exactly_wherever_they_stand(metric):
    # Wide rows and odd sizes: the edge kernels of a matrix product add up in another order.
    rng = np.random.default_rng(1)
    gallery = np.tile(rng.normal(size=(1, 515)).astype(np.float32), (101, 1))
    query = 1e3 + rng.normal(size=(37, 515)).astype(np.float32)
    for chunk_size in (1, 8, 37):
        found = ranks.rank_of_positive(
            query, gallery, np.arange(37), metric=metric, chunk_size=chunk_size
        )
        np.testing.assert_array_equal(found.strict, 1)
        np.testing.assert_array_equal(found.pessimistic, 101)


def test_euclidean_is_unmoved_by_the_origin():
    rng = np.random.default_rng(2)
    gallery = rng.normal(size=(60, 8))
    query = gallery + rng.normal(size=gallery.shape)
    here = ranks.rank_of_positive(query, gallery, np.arange(60), metric="euclidean")
    there = ranks.rank_of_positive(query + 1e4, gallery + 1e4, np.arange(60), metric="euclidean")
    np.testing.assert_array_equal(here.pessimistic, there.pessimistic)


def test_the_truth_itself_ranks_first_and_a_zero_row_last():
    profile = np.random.default_rng(3).normal(size=(20, 4))
    exact = ranks.rank_of_positive(profile, profile, np.arange(20), metric="euclidean")
    np.testing.assert_array_equal(exact.pessimistic, 1)
    dead = ranks.rank_of_positive(np.zeros((20, 4)), profile, np.arange(20))
    np.testing.assert_array_equal(dead.pessimistic, 20)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 31), st.integers(0, 10**6))
def test_chunk_size_never_matters(m, d, chunk_size, seed):
    rng = np.random.default_rng(seed)
    # Few distinct values: many exact ties.
    query, gallery = rng.integers(-1, 2, size=(2, m, d)).astype(np.float32)
    positive = rng.integers(m, size=m)
    whole = ranks.rank_of_positive(query, gallery, positive, chunk_size=m)
    parts = ranks.rank_of_positive(query, gallery, positive, chunk_size=chunk_size)
    np.testing.assert_array_equal(whole.strict, parts.strict)
    np.testing.assert_array_equal(whole.pessimistic, parts.pessimistic)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_values_without_a_rank_are_an_error_that_names_the_row(bad, side):
    pair = [np.ones((5, 3)), np.ones((5, 3))]
    pair[side][3, 1] = bad
    with pytest.raises(ValueError, match=f"{('query', 'gallery')[side]}: 1 of 5 rows.*row 3"):
        ranks.rank_of_positive(*pair, np.arange(5))


@pytest.mark.parametrize(
    ("positive", "message"),
    [(np.arange(4), "5 integers"), (np.full(5, 5), r"0\.\.4"), (np.full(5, 0.0), "float64")],
)
@pytest.mark.usefixtures("unchecked")
def test_positions_are_checked(positive, message):
    with pytest.raises(ValueError, match=message):
        ranks.rank_of_positive(np.ones((5, 3)), np.ones((5, 3)), positive)


@pytest.mark.parametrize(
    ("n_gallery", "percent", "largest_hit"),
    # 7% of 100 and 0.7% of 1000 come out above 7 in floats.
    [(50, 1, 1), (99, 1, 1), (100, 1, 1), (101, 1, 2), (200, 1, 2), (300, 1, 3), (100, 7, 7)]
    + [(1000, 0.7, 7), (1000, 0.1, 1), (19, 5, 1), (21, 5, 2), (1, 100, 1), (7, 100, 7)],
)
def test_cutoff_rounds_up_and_is_at_least_one(n_gallery, percent, largest_hit):
    assert ranks.cutoff(n_gallery, percent) == largest_hit
    assert ranks.recall_at(np.array([largest_hit]), n_gallery, percent) == 1.0
    assert ranks.recall_at(np.array([largest_hit + 1]), n_gallery, percent) == 0.0


@pytest.mark.parametrize(("n_gallery", "percent"), [(0, 1), (10, 0), (10, 101), (10, -1)])
def test_cutoff_rejects_what_has_no_meaning(n_gallery, percent):
    with pytest.raises(ValueError, match="gallery needs|percent must"):
        ranks.cutoff(n_gallery, percent)


def test_chance_is_what_random_embeddings_get():
    rng = np.random.default_rng(4)
    query, gallery = rng.normal(size=(2, 3000, 6))
    found = ranks.rank_of_positive(query, gallery, np.arange(3000)).pessimistic
    for percent in (1, 5):
        expected = ranks.cutoff(3000, percent) / 3000
        sd = np.sqrt(expected * (1 - expected) / 3000)
        assert abs(ranks.recall_at(found, 3000, percent) - expected) < 4 * sd


def test_each_query_is_held_to_its_own_gallery():
    rank, n_gallery = np.array([2, 2, 3]), np.array([100, 101, 300])
    np.testing.assert_array_equal(ranks.hits(rank, n_gallery, 1), [0, 1, 1])
    np.testing.assert_allclose(ranks.chance_hits(rank, n_gallery, 1), [0.01, 2 / 101, 0.01])


def test_no_queries_have_no_recall():
    with pytest.raises(ValueError, match="no queries"):
        ranks.recall_at(np.array([], int), 10, 1)
