"""Nearest-neighbour questions on embeddings whose answer is known."""

import numpy as np
import pytest

from molphenix_jax.evaluation.neighbours import (
    ImageLabels,
    neighbour_record,
    questions,
    standardise_plates,
)

PLATES, WELLS, FIELDS = 3, ("A1", "A2", "B1", "B2"), 2
TREATMENT = {"A1": "control", "A2": "control", "B1": "x", "B2": "y"}


@pytest.fixture(scope="module")
def labels():
    rows = [(p, w) for p in range(PLATES) for w in WELLS for _ in range(FIELDS)]
    plate = np.array([f"P{p}" for p, _ in rows])
    well = np.array([w for _, w in rows])
    treatment = np.array([TREATMENT[w] for w in well])
    return ImageLabels(plate, well, treatment, treatment == "control")


def onehot(values):
    return (np.unique(values)[None] == np.asarray(values)[:, None]).astype(float)


def test_an_embedding_of_the_treatment_answers_everything_but_the_well(labels):
    z = onehot(labels.treatment)
    asked = questions(labels)
    for name in ("treatment", "treated", "other_position"):
        q = asked[name]
        assert (q.hits(z)[q.asked] == 1).all()
    # Controls A1 and A2 are alike: of each four fields that tie, the first one is taken.
    assert asked["well"].hits(z).mean() < 1
    well = asked["well"]
    assert (well.hits(onehot(labels.well)) == 1).all()


def test_no_question_lets_a_query_or_its_plate_answer(labels):
    asked = questions(labels)
    same_plate = labels.plate[:, None] == labels.plate[None]
    for name in ("treatment", "treated", "other_position"):
        assert not (asked[name].allowed & same_plate).any()
    assert not np.diag(asked["well"].allowed).any()
    # The plate's own colour is of no use, then: neighbours are as good as random ones.
    z = onehot(labels.plate) + 1e-3 * np.random.default_rng(0).normal(size=(24, 3))
    assert asked["treatment"].hits(z)[labels.treatment == "x"].mean() < 0.7


def test_other_positions_are_asked_of_controls_only_in_this_layout(labels):
    q = questions(labels)["other_position"]
    assert (q.asked == labels.is_control).all()
    # An embedding of the position alone cannot answer it.
    z = onehot(labels.well)
    assert not (labels.well[:, None] == labels.well[None])[q.allowed].any()
    np.testing.assert_allclose(q.chance()[q.asked], 1 / 3)
    assert q.hits(z).shape == (24,)


def test_chance_and_weights_are_those_of_balanced_classes(labels):
    record = neighbour_record(
        labels,
        {"mae": [np.ones((24, 1))] * 2, "untrained": [np.ones((24, 1))] * 2},
        unseen=[labels.plate == "P0", labels.plate == "P1"],
        compared=("mae", "untrained"),
        n_bootstrap=50,
        seed=0,
    )
    rows = {(r["question"], r["subset"], r["model"]): r for r in record["results"]}
    chance = {name: rows[name, "all", "chance"]["balanced_accuracy"] for name in questions(labels)}
    expected = {"treatment": 1 / 3, "treated": 0.5, "other_position": 1 / 3, "well": 1 / 7}
    assert chance == pytest.approx(expected)
    # All embeddings equal: the neighbour is the first allowed image, which is a control.
    assert rows["treatment", "all", "mae"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert rows["treatment", "all", "mae"]["seeds"] == pytest.approx([1 / 3, 1 / 3])
    assert rows["treatment", "unseen", "mae"]["n_queries"] == 16
    for row in record["differences"]:
        assert row["difference"] == 0
        assert row["ci"] is None


def test_unseen_queries_count_with_the_seed_that_has_not_seen_them(labels):
    good, bad = onehot(labels.treatment), onehot(labels.plate)
    unseen = [labels.plate == "P0", labels.plate == "P1", labels.plate == "P2"]
    # Each seed is good on its own unseen plate only if all its queries there find their kind.
    record = neighbour_record(
        labels,
        {"mae": [good, good, good], "untrained": [bad, bad, bad]},
        unseen=unseen,
        compared=("mae", "untrained"),
        n_bootstrap=200,
        seed=0,
    )
    rows = {(r["question"], r["subset"], r["model"]): r for r in record["results"]}
    assert rows["treatment", "unseen", "mae"]["balanced_accuracy"] == pytest.approx(1)
    assert rows["treatment", "unseen", "mae"]["n_queries"] == 24
    first = next(r for r in record["differences"] if r["question"] == "treatment")
    assert first["ci"][0] > 0
    np.testing.assert_allclose(first["difference"], np.mean(first["seeds"]))


def test_standardising_takes_the_plates_away_and_keeps_the_rest(labels):
    rng = np.random.default_rng(0)
    signal = onehot(labels.treatment) @ rng.normal(size=(3, 5))
    shifted = signal + 100 * onehot(labels.plate) @ rng.normal(size=(3, 5))
    np.testing.assert_allclose(
        standardise_plates(shifted, labels.plate),
        standardise_plates(signal, labels.plate),
        rtol=1e-6,
        atol=1e-9,
    )
    z = standardise_plates(shifted, labels.plate)
    np.testing.assert_allclose(z.std(0), 1)
    assert not standardise_plates(np.ones((24, 2)), labels.plate).any()


def test_questions_without_a_query_are_left_out():
    labels = ImageLabels(
        np.array(["P0"] * 4),
        np.array(["A1", "A1", "A2", "A2"]),
        np.array(["control", "control", "x", "x"]),
        np.array([True, True, False, False]),
    )
    assert list(questions(labels)) == ["well"]
