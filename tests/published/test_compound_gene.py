"""EFAAR's compound-gene benchmark: by hand, and against a few plain lines."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.published.compound_gene import (
    Question,
    questions,
    relation_recall,
    score_seeds,
    summarise,
)

GENES = tuple(f"G{i}" for i in range(60))


def truth() -> pd.DataFrame:
    rows = [
        ("a", "G0", 1_000.0),
        ("a", "G1", 1_000.1),
        ("a", "G2", 10_000.0),
        ("a", "G3", 10_001.0),
    ]
    rows += [("b", "G9", 2_000.0), ("b", "absent", 1.0), ("c", "G4", 500.0), ("c", "G4", 5_000.0)]
    rows += [("gone", f"G{i}", 1.0) for i in range(30)]
    return pd.DataFrame(rows, columns=["treatment", "gene_symbol", "nM_value"])


def test_targets_ineligible_genes_and_others():
    asked, left = questions(truth(), ["c", "a", "b", "unknown"], GENES)
    assert [question.compound for question in asked] == ["a", "c"]
    a, c = asked
    assert a.active.tolist() == [0]
    # 1,000 < nM <= 10,000 is neither; above it is a gene like any other, as are those of others.
    assert a.others.tolist() == [3, *range(4, 30)]
    assert c.active.tolist() == [4]
    assert left == {"without a target that has a profile": 1, "with too few other genes": 0}
    few, left = questions(truth().iloc[:20], ["a"], GENES)
    assert not few
    assert left["with too few other genes"] == 1


@pytest.mark.parametrize(("n_active", "n_others"), [(1, 20), (10, 20), (11, 22)])
def test_as_many_others_as_the_benchmark_draws(n_active, n_others):
    question = Question("a", np.arange(n_active), np.arange(100, 200))
    drawn = question.drawn(3)
    assert drawn[:n_active].tolist() == question.active.tolist()
    others = drawn[n_active:]
    assert len(set(others)) == len(others) == n_others
    assert set(others) <= set(question.others)
    np.testing.assert_array_equal(drawn, question.drawn(3))
    assert drawn.tolist() != question.drawn(4).tolist()


def test_ap_and_auroc_by_hand():
    # Two targets among 22 genes, which come first and third: AP = (1/1 + 2/3) / 2; of the 2 x 20
    # pairs of a target and another gene one is in the wrong order.
    question = Question("a", np.array([0, 1]), np.arange(2, 22))
    score = np.full(60, 0.1)
    score[[0, 2, 1]] = 0.9, 0.8, 0.7
    score[3:22] -= np.arange(19) * 1e-3
    table = score_seeds([question], {"1": {"a": score}}, range(3))
    assert table["ap"].tolist() == pytest.approx([(1 + 2 / 3) / 2] * 3)
    assert table["auroc"].tolist() == pytest.approx([39 / 40] * 3)


def plain(label, score):
    order = np.argsort(-score)
    hit = label[order]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    above = [(score[p] > score[n]) for p in np.flatnonzero(label) for n in np.flatnonzero(~label)]
    return (precision * hit).sum() / hit.sum(), np.mean(above)


def test_against_plain_lines():
    rng = np.random.default_rng(5)
    asked = [
        Question(name, rng.choice(30, n, replace=False), np.arange(30, 60))
        for name, n in (("a", 3), ("b", 1))
    ]
    scores = {
        "1": {"a": rng.random(60), "b": rng.random(60)},
        "10": {"a": rng.random(60)},  # b was not measured there
    }
    found = score_seeds(asked, scores, range(4))
    assert len(found) == 4 * 3
    for row in found.to_dict("records"):
        question = next(each for each in asked if each.compound == row["compound"])
        genes = question.drawn(row["seed"])
        label = np.isin(genes, question.active)
        wanted = plain(label, scores[row["concentration"]][question.compound][genes])
        assert (row["ap"], row["auroc"]) == pytest.approx(wanted)
    table = summarise(found).set_index("concentration")
    assert table["n_compounds"].tolist() == [2, 1]
    own = found[found["concentration"] == "1"]
    by_seed = own.groupby("seed")["ap"]
    assert table.loc["1", "ap"] == pytest.approx(own["ap"].mean())
    assert table.loc["1", "ap_sd"] == pytest.approx(np.std(np.array(by_seed.mean())))
    assert table.loc["1", "ap_median"] == pytest.approx(by_seed.median().mean())
    assert 0.3 < table.loc["1", "auroc_random"] < 0.7


def test_recall_of_known_pairs():
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(60, 30))
    profiles[1::2] = profiles[::2] * 2  # pairs have the same direction
    profiles[1] = -profiles[0]  # one has the opposite, which is as extreme
    pairs = pd.DataFrame({"entity1": GENES[::2], "entity2": GENES[1::2]})
    again = pd.DataFrame({"entity1": [GENES[1], "absent"], "entity2": [GENES[0], GENES[3]]})
    same = pd.DataFrame({"entity1": [GENES[5]], "entity2": [GENES[5]]})
    recall, n = relation_recall(GENES, profiles, pd.concat([pairs, again, same]))
    assert (recall, n) == (1.0, 30)
    random = pd.DataFrame(
        {"entity1": rng.choice(GENES, 3_000), "entity2": rng.choice(GENES, 3_000)}
    )
    assert relation_recall(GENES, rng.normal(size=(60, 30)), random)[0] == pytest.approx(
        0.1, abs=0.03
    )
    few, n = relation_recall(GENES, profiles, pairs.iloc[:19])
    assert np.isnan(few)
    assert n == 19
