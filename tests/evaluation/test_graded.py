"""Graded relevance against a reference in plain loops, and where it cannot be told."""

import math

import numpy as np
import pytest

from molphenix_jax.evaluation import protocol, ranks
from molphenix_jax.evaluation.graded import Relevance, asked, graded_rows, ndcg
from molphenix_jax.evaluation.pooling import pool, put_together


def make(m=250, seed=0):
    rng = np.random.default_rng(seed)
    x, g, e = (rng.standard_normal((m, 5)) for _ in range(3))
    return x, g, e, rng.random(m)


def concordance(a, b):
    return max(0.0, 2 * float(a @ b) / float(a @ a + b @ b))


def reference(x, g, gain):
    """NDCG of the best 1% of each query, by cosine, without ties."""
    found = []
    k = math.ceil(len(g) / 100)
    for i in range(len(x)):
        cosine = [float(x[i] @ g[j]) / math.dist(g[j], np.zeros(5)) for j in range(len(g))]
        order = sorted(range(len(g)), key=lambda j: -cosine[j])[:k]
        gains = [gain(i, j) for j in range(len(g))]
        best = sorted(gains, reverse=True)[:k]
        value = sum(gains[j] / math.log2(r + 2) for r, j in enumerate(order))
        found.append(value / sum(of / math.log2(r + 2) for r, of in enumerate(best)))
    return np.array(found)


def test_true_effects_grade_as_a_loop_does():
    x, g, e, luck = make()
    found = ndcg(Relevance("true effects", effects=e), {"a": (x, g, "cosine", False)}, luck)
    expected = reference(x, g, lambda i, j: concordance(e[i], e[j]))
    np.testing.assert_allclose(found["a"], expected, rtol=1e-9)
    # Any order of the candidates is as good as another without a model.
    rng = np.random.default_rng(1)
    drawn = [
        ndcg(
            Relevance("", effects=e),
            {"a": (x, rng.standard_normal(g.shape), "cosine", False)},
            luck,
        )["a"].mean()
        for _ in range(30)
    ]
    assert np.mean(drawn) == pytest.approx(found["chance"].mean(), abs=0.02)


def test_the_true_effects_themselves_are_a_perfect_order_of_equally_strong_ones():
    _, _, e, luck = make()
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    found = ndcg(Relevance("", effects=e), {"oracle": (e, e, "euclidean", False)}, luck)
    np.testing.assert_allclose(found["oracle"], 1.0, rtol=1e-6)


def test_mechanisms_grade_by_their_name_and_unnamed_queries_are_not_asked():
    x, g, _, luck = make(250)
    label = np.array(["a", "b", "c", "", ""])[np.arange(250) % 5]
    found = ndcg(Relevance("column moa", label=label), {"m": (x, g, "cosine", False)}, luck)
    expected = reference(x, g, lambda i, j: float(label[i] == label[j]))
    known = label != ""
    np.testing.assert_allclose(found["m"][known], expected[known], rtol=1e-9)
    assert np.isnan(found["m"][~known]).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_candidates_of_equal_score_come_least_relevant_first_or_as_drawn(metric):
    _, _, e, luck = make(300)
    same = np.ones((300, 2))
    relevance = Relevance("", effects=e)
    against = ndcg(relevance, {"a": (same, same, metric, False)}, luck)
    drawn = ndcg(relevance, {"a": (same, same, metric, True)}, luck)
    assert against["a"].max() == 0.0
    assert drawn["a"].mean() == pytest.approx(drawn["chance"].mean(), abs=0.03)


def candidates(m, e, **changes):
    told = {
        "split": "unseen_molecules",
        "molecule": np.array([f"m{i // 2}" for i in range(m)]),
        "concentration_um": np.where(np.arange(m) % 2, 1.0, 10.0),
        "condition": np.full(m, ""),
        "p_value": np.where(np.arange(m) % 3, 0.005, 0.5),
        "profile": e,
        "relevance": Relevance("true effects", effects=e),
    }
    return protocol.Candidates(**{**told, **changes})


@pytest.mark.parametrize("n", [1, 3])
def test_parts_and_folds_come_together(n):
    m = 700
    x, g, e, _ = make(m)
    e[5] = 0.0  # no effect: nothing is like it
    models = {"molphenix": (x, g, "cosine"), "other": (g, x, "cosine")}
    whole = put_together(protocol.evaluate(candidates(m, e), models), lambda own: own).graded[0]
    parts = [protocol.evaluate(candidates(m, e), models, part=ranks.Part(i, n)) for i in range(n)]
    sent = []  # of each part the ranks, then the graded values
    for part in parts:
        try:
            put_together(part, lambda own: sent.append(own) or own)
        except ValueError:  # it misses the ranks of the others
            values = np.concatenate(list(part.graded[0].ndcg.values()))
            place = np.flatnonzero(np.isfinite(values))
            sent.append(np.stack([place, values[place]], axis=1))
    answers = iter([np.concatenate(sent[0::2]), np.concatenate(sent[1::2])])
    together = put_together(parts[0], lambda _: next(answers)).graded[0]
    assert len(together.molecule) == m - 1
    for name, values in whole.ndcg.items():
        np.testing.assert_array_equal(together.ndcg[name], values)

    ranked = put_together(protocol.evaluate(candidates(m, e), models), lambda own: own)
    pooled = pool([ranked, ranked]).graded
    assert len(pooled) == 1
    rows = graded_rows(pooled, psis=(0.01,), model="molphenix", n_bootstrap=50)
    row = next(r for r in rows if r["model"] == "other" and r["psi"] is None)
    assert row["n_queries"] == 2 * (m - 1)
    expected = whole.ndcg["molphenix"].mean() - whole.ndcg["other"].mean()
    assert row["difference"] == pytest.approx(expected)
    active = next(r for r in rows if r["model"] == "molphenix" and r["psi"] == 0.01)
    p_value = candidates(m, e).p_value[np.arange(m) != 5]
    assert active["ndcg"] == pytest.approx(whole.ndcg["molphenix"][p_value <= 0.01].mean())


def test_without_relevance_nothing_is_graded():
    x, g, e, _ = make(40)
    models = {"molphenix": (x, g, "cosine")}
    assert protocol.evaluate(candidates(40, e, relevance=None), models).graded == ()
    unnamed = Relevance("column moa", label=np.full(40, ""))
    assert protocol.evaluate(candidates(40, e, relevance=unnamed), models).graded == ()
    some = Relevance("column moa", label=np.array(["", "a"] * 20))
    graded = protocol.evaluate(candidates(40, e, relevance=some), models).graded[0]
    assert len(asked(graded).molecule) == 20
