"""The rows of evaluation.json, by hand, and the statements that rest on them."""

import json

import numpy as np
import pytest

from molphenix_jax.evaluation import pooling, protocol, summary
from molphenix_jax.reporting.rows import with_interval

CONTRACT = {
    *("split", "subset", "psi", "gallery", "direction", "model", "n_queries", "n_gallery"),
    *("top_1pct", "top_5pct", "top_1pct_ci", "top_5pct_ci", "median_rank_pct"),
    *("chance_1pct", "chance_5pct", "mean_reciprocal_rank"),
}


def make_ranks(
    by_model, n_gallery, *, doses=(1.0,), direction="profile_to_molecule", condition=None
):
    n = len(next(iter(by_model.values())))
    return protocol.Ranks(
        (
            protocol.RankTable(
                setting=protocol.Setting("unseen_molecules", "all", None, "full", direction),
                molecule=np.arange(n) // len(doses),
                concentration_um=np.resize(doses, n),
                condition=np.full(n, "") if condition is None else np.asarray(condition),
                n_gallery=np.broadcast_to(n_gallery, (n,)),
                rank={model: np.asarray(rank) for model, rank in by_model.items()},
            ),
        ),
        (),
    )


def by_model(rows):
    return {row["model"]: row for row in rows}


def test_rows_by_hand_over_galleries_of_two_sizes():
    rank = [1, 2, 1, 5, 60, 2, 2, 9, 10, 300]
    n_gallery = np.array([100] * 5 + [300] * 5)
    rows = by_model(summary.summarise(make_ranks({"molphenix": rank}, n_gallery)))
    row = rows["molphenix"]
    assert set(row) == CONTRACT
    # Hits at 1%: rank <= 1 of 100, <= 3 of 300. At 5%: <= 5 and <= 15.
    assert row["top_1pct"] == pytest.approx(4 / 10)
    assert row["top_5pct"] == pytest.approx(8 / 10)
    share = np.array([1, 2, 1, 5, 60, 2 / 3, 2 / 3, 3, 10 / 3, 100])
    assert row["median_rank_pct"] == pytest.approx(np.median(share))
    assert (row["n_queries"], row["n_gallery"]) == (10, 200)
    assert row["top_1pct_ci"][0] < 0.4 < row["top_1pct_ci"][1]
    assert row["chance_1pct"] == pytest.approx(0.01)
    assert row["mean_reciprocal_rank"] == pytest.approx((1 / np.array(rank)).mean())
    harmonic = [(1 / np.arange(1, n + 1)).mean() for n in (100, 300)]
    assert rows["chance"]["mean_reciprocal_rank"] == pytest.approx(np.mean(harmonic))


def test_chance_is_analytic_and_stands_in_every_setting():
    rows = by_model(summary.summarise(make_ranks({"molphenix": np.arange(1, 41)}, 40)))
    assert rows["chance"]["top_1pct"] == rows["molphenix"]["chance_1pct"] == 1 / 40
    assert rows["chance"]["top_5pct"] == 2 / 40
    assert rows["chance"]["median_rank_pct"] == pytest.approx(100 * 20.5 / 40)
    # Ranks 1..40, each once, are what chance expects.
    for key in ("top_1pct", "top_5pct", "median_rank_pct"):
        assert rows["molphenix"][key] == pytest.approx(rows["chance"][key])


def test_better_means_beyond_the_interval_of_the_paired_difference():
    rng = np.random.default_rng(0)
    rank = rng.integers(1, 101, size=400)
    first = rng.random(400) < 0.15
    ranks = make_ranks(
        {
            "molphenix": np.where(first, 1, rank),
            "knn": rank,
            "ridge": np.where(first, 1, rng.permutation(rank)),
            "oracle": np.ones(400, int),
        },
        100,
    )
    rows = {(row["baseline"], row["metric"]): row for row in summary.paired_difference(ranks)}
    assert {baseline for baseline, _ in rows} == {"knn", "ridge", "chance"}
    knn = rows["knn", "top_1pct"]
    assert knn["difference"] == pytest.approx(((rank > 1) & first).mean())
    assert knn["better"] is True
    assert knn["ci"][0] > 0
    assert rows["chance", "top_1pct"]["better"] is True
    assert rows["ridge", "top_1pct"]["better"] is False
    assert rows["ridge", "top_1pct"]["ci"][0] < 0 < rows["ridge", "top_1pct"]["ci"][1]


def test_pairing_makes_the_difference_sharper_than_its_parts():
    rng = np.random.default_rng(1)
    knn = np.where(rng.random(500) < 0.3, 1, 50)
    ours = np.where(rng.random(500) < 0.05, 1, knn)
    ranks = make_ranks({"molphenix": ours, "knn": knn}, 100)
    low, high = summary.summarise(ranks)[0]["top_1pct_ci"]
    difference = next(r for r in summary.paired_difference(ranks) if r["baseline"] == "knn")
    assert difference["ci"][1] - difference["ci"][0] < 0.7 * (high - low)


@pytest.mark.parametrize("n_molecules", [1, 2, 4])
def test_few_molecules_give_no_interval(n_molecules):
    rank = np.random.default_rng(0).integers(1, 101, size=20 * n_molecules)
    ranks = make_ranks(
        {"molphenix": np.sort(rank), "knn": np.sort(rank)[::-1]}, 100, doses=np.arange(20.0)
    )
    for row in summary.paired_difference(ranks):
        assert (row["ci"], row["better"]) == (None, False)
    for row in summary.summarise(ranks):
        assert (row["top_1pct_ci"], row["top_5pct_ci"]) == (None, None)
        assert with_interval(row, "top_1pct").endswith("[no interval]") or row["model"] == "chance"
    page = summary.evaluation_record(ranks)
    json.dumps(page, allow_nan=False)


def test_a_difference_that_is_the_same_for_all_molecules_has_no_interval():
    always = np.ones(30, int)
    ranks = make_ranks({"molphenix": always, "knn": 50 * always}, 100)
    rows = {row["baseline"]: row for row in summary.paired_difference(ranks)}
    assert rows["knn"]["difference"] == 1
    assert (rows["knn"]["ci"], rows["knn"]["better"]) == (None, False)
    json.dumps(summary.evaluation_record(ranks), allow_nan=False)


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(2)
    molphenix, knn = rng.integers(1, 101, size=(2, 90))
    both = make_ranks({"molphenix": molphenix, "knn": knn}, 100)
    alone = make_ranks({"knn": knn}, 100)
    with_others = by_model(summary.summarise(both, seed=5))["knn"]
    assert with_others == by_model(summary.summarise(alone, seed=5))["knn"]


def test_recall_by_dose_and_doses_that_are_too_rare():
    rank = np.tile([50, 1, 50], 25)
    ranks = make_ranks({"molphenix": rank}, 100, doses=(0.1, 10.0, 1.0))
    odd = ranks.tables[0].concentration_um.copy()
    odd[[2, 5]] = 3.33333
    odd[[0, 3]] = 0.1004  # a pipetting oddity of the same dose
    table = protocol.RankTable(**{**ranks.tables[0].__dict__, "concentration_um": odd})
    rows, missing = summary.by_concentration(protocol.Ranks((table,), ()))
    recall = {r["concentration_um"]: r["top_1pct"] for r in rows if r["model"] == "molphenix"}
    assert recall == {0.1: 0.0, 1.0: 0.0, 10.0: 1.0}
    assert len(missing) == 1
    assert "3.3 µM (2)" in missing[0]["reason"]


def test_recall_by_condition_and_none_where_there_is_one():
    rank = np.tile([1, 50], 30)
    ranks = make_ranks({"molphenix": rank}, 100, condition=np.tile(["24 h", "48 h"], 30))
    rows = summary.by_condition(ranks)
    recall = {r["condition"]: r["top_1pct"] for r in rows if r["model"] == "molphenix"}
    assert recall == {"24 h": 1.0, "48 h": 0.0}
    assert summary.by_condition(ranks, min_molecules=31) == []
    assert summary.by_condition(make_ranks({"molphenix": rank}, 100)) == []
    assert summary.evaluation_record(ranks)["by_condition"] == rows


def test_curves_pass_through_the_recalls_and_end_at_one():
    rank = np.random.default_rng(3).integers(1, 201, size=100)
    ranks = make_ranks({"molphenix": rank}, 200)
    row = by_model(summary.summarise(ranks))["molphenix"]
    curve = by_model(summary.rank_curves(ranks))["molphenix"]
    at = dict(zip(curve["percent"], curve["recall"], strict=True))
    assert (at[1.0], at[5.0], at[100.0]) == (row["top_1pct"], row["top_5pct"], 1.0)
    assert (np.diff(curve["recall"]) >= 0).all()


def test_the_record_is_plain_json_and_says_what_is_missing():
    rng = np.random.default_rng(4)
    m = 60
    candidates = protocol.Candidates(
        split="unseen_screen:other",
        molecule=np.array([f"m{i // 3}" for i in range(m)]),
        concentration_um=np.resize([0.1, 1, 10], m),
        condition=np.full(m, ""),
        p_value=np.where(np.arange(m) < 40, 0.05, np.nan),
        profile=rng.normal(size=(m, 4)),
    )
    z = rng.normal(size=(m, 4)).astype(np.float32)
    embeddings = {
        "molphenix": (z, z + 0.1, "cosine"),
        "oracle": (candidates.profile, candidates.profile, "euclidean"),
    }
    pooled = pooling.pool([protocol.evaluate(candidates, embeddings, psis=(0.01, 0.1))])
    record = summary.evaluation_record(pooled, n_bootstrap=50)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(record) == {
        *("results", "comparisons", "by_concentration", "rank_curves", "not_computed")
    }
    ranking = [x for x in record["not_computed"] if "recall by dose" not in x["reason"]]
    assert [x["psi"] for x in ranking] == [0.01]
    assert {x["psi"] for x in record["not_computed"]} == {0.01, 0.1}
    assert {r["model"] for r in record["results"]} == {"molphenix", "oracle", "chance"}
    oracle = [r for r in record["results"] if r["model"] == "oracle"]
    assert {r["top_1pct"] for r in oracle} == {1.0}
