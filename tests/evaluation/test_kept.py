"""Ranks as a table and back, and which queries two runs share."""

import dataclasses

import numpy as np
import pytest

from molphenix_jax.evaluation.kept import PairingError, paired_ranks, ranks_frame
from tests.evaluation.test_summary import make_ranks


def test_there_and_back():
    ranks = make_ranks({"molphenix": [1, 7, 3], "knn": [2, 2, 9]}, 40)
    frame = ranks_frame([ranks, ranks])
    assert frame["fold"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["psi"].isna().all()
    (table,) = paired_ranks({"a": frame}, model="knn")[0].tables
    (told,) = ranks.tables
    assert table.setting == told.setting
    np.testing.assert_array_equal(table.rank["a"], [2, 2, 9] * 2)
    np.testing.assert_array_equal(table.concentration_um, np.tile(told.concentration_um, 2))


def test_models_of_some_settings_alone_are_missing_in_the_others():
    with_oracle = make_ranks({"molphenix": [1], "oracle": [1]}, 5)
    without = make_ranks({"molphenix": [2]}, 5, direction="molecule_to_profile")
    frame = ranks_frame(
        [dataclasses.replace(with_oracle, tables=with_oracle.tables + without.tables)]
    )
    assert frame["oracle"].isna().tolist() == [False, True]
    assert ranks_frame([]).empty


def test_queries_are_paired_by_what_was_asked_and_not_by_place():
    a = ranks_frame([make_ranks({"molphenix": [1, 2, 3, 4]}, 40)])
    b = a.iloc[[3, 1, 2, 0]].assign(molphenix=[40, 20, 30, 10]).reset_index(drop=True)
    ranks, alone = paired_ranks({"fold": a, "b": b}, model="molphenix")  # a column has that name
    (table,) = ranks.tables
    pairs = {tuple(row) for row in zip(table.rank["fold"], table.rank["b"], strict=True)}
    assert pairs == {(1, 10), (2, 20), (3, 30), (4, 40)}
    assert alone == {"fold": 0, "b": 0}


def test_a_fold_of_other_candidates_is_left_out():
    a = ranks_frame([make_ranks({"molphenix": [1, 2]}, 40), make_ranks({"molphenix": [3, 4]}, 40)])
    b = a.drop(index=3)  # the second fold has one candidate less, though it says 40
    ranks, alone = paired_ranks({"a": a, "b": b}, model="molphenix")
    assert ranks.tables[0].rank["a"].tolist() == [1, 2]
    assert alone == {"a": 2, "b": 1}
    with pytest.raises(PairingError, match="a and b were not asked the same"):
        paired_ranks({"a": a[a["fold"] == 1], "b": b}, model="molphenix")


def test_another_gallery_is_another_question():
    a = ranks_frame([make_ranks({"molphenix": [1, 2]}, [40, 41])])
    b = ranks_frame([make_ranks({"molphenix": [1, 2]}, [40, 50])])
    ranks, alone = paired_ranks({"a": a, "b": b}, model="molphenix")
    assert len(ranks.tables[0].molecule) == 1
    assert alone == {"a": 1, "b": 1}
    with pytest.raises(PairingError, match="b has no ranks of knn"):
        paired_ranks({"a": a.rename(columns={"molphenix": "knn"}), "b": b}, model="knn")
