"""Baselines find a planted signal, never see the test profiles, and survive awkward columns."""

import dataclasses
import inspect

import numpy as np
import pytest

from molphenix_jax.evaluation import baselines, protocol, ranks
from molphenix_jax.evaluation.baselines import structure

N_BITS, WIDTH = 96, 12
KNOWING = (baselines.knn, baselines.ridge, baselines.physchem)  # of structure


def make_data(
    *,
    seed=0,
    n_molecules=120,
    doses=(-1.0, 0.0, 1.0),
    signal="linear",
    noise=0.3,
    n_conditions=1,
):
    """Molecules in families with shared bits; profile from bits, from the family, or physchem."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(n_molecules // 4), 4)
    bits = rng.random((n_molecules // 4, N_BITS)) < 0.3
    bits = (bits[family] ^ (rng.random((n_molecules, N_BITS)) < 0.04)).astype(np.uint8)
    descriptors = rng.normal(size=(n_molecules, 5))
    if signal == "linear":
        effect = (bits - bits.mean(axis=0)) @ rng.normal(size=(N_BITS, WIDTH))
    elif signal == "neighbours":
        effect = 5 * rng.normal(size=(n_molecules // 4, WIDTH))[family]
    else:
        effect = 3 * descriptors @ rng.normal(size=(5, WIDTH))
    molecule = np.repeat(np.arange(n_molecules), len(doses))
    log_dose = np.tile(doses, n_molecules)
    profile = (1 + log_dose[:, None] / 2) * effect[molecule] + noise * rng.normal(
        size=(len(molecule), WIDTH)
    )
    condition = np.zeros((len(molecule), 0))
    if n_conditions > 1:
        # Under each condition a molecule does something else.
        which = rng.integers(n_conditions, size=len(molecule))
        condition = np.eye(n_conditions)[which]
        turned = rng.normal(size=(n_conditions, WIDTH, WIDTH))
        profile = np.einsum("nd,nde->ne", profile, turned[which])
    # One direction (toxicity) dwarfs the rest and says nothing of the molecule.
    profile += 30 * rng.normal(size=(len(molecule), 1)) * np.ones((1, WIDTH))
    # Analogues stand on both sides of the split for "neighbours", which is what kNN is for.
    part = np.array(["train", "train", "validation", "test"])[np.arange(n_molecules) % 4][molecule]
    columns = {"bits": bits[molecule], "physchem": descriptors[molecule], "log_dose": log_dose}
    columns["condition"] = condition
    columns["profile"] = profile.astype(np.float32)
    rows = {
        f"{name}_{column}": values[part == name]
        for name in ("train", "validation", "test")
        for column, values in columns.items()
    }
    observed = rows.pop("test_profile")
    return baselines.BaselineData(**rows), observed


def recall(prediction, observed, percent=5):
    query, gallery, metric, ties = prediction.against(observed)
    found = ranks.rank_of_positive(query, gallery, np.arange(len(query)), metric=metric)
    rank = found.pessimistic if ties == "against" else found.drawn(np.zeros(len(query)))
    return ranks.recall_at(rank, len(query), percent)


@pytest.mark.parametrize(
    ("signal", "baseline", "least"),
    [("linear", "ridge", 0.8), ("neighbours", "knn", 0.8), ("physchem", "physchem", 0.8)],
)
def test_planted_signal_is_found(signal, baseline, least):
    data, observed = make_data(signal=signal)
    assert recall(baselines.BASELINES[baseline](data), observed) > least


@pytest.mark.parametrize("width", [8, 600])  # wider than the directions that are kept
def test_embeddings_of_the_model_have_a_baseline_that_is_told_them(width):
    data, observed = make_data(signal="physchem")
    turn = np.random.default_rng(1).normal(size=(5, width))
    told = {
        f"{part}_embedding": getattr(data, f"{part}_physchem") @ turn
        for part in ("train", "validation", "test")
    }
    known = dataclasses.replace(data, **told)
    assert recall(baselines.embedded(known), observed) > 0.8
    assert recall(baselines.knn(data), observed) < 0.8  # which is not told them
    with pytest.raises(baselines.LeftOut, match="no block of embeddings"):
        baselines.embedded(data)


def test_no_signal_is_not_found():
    data, observed = make_data()
    shuffled = np.random.default_rng(1).permutation(len(observed))
    for prediction in (fit(data) for fit in KNOWING):
        assert recall(prediction, observed[shuffled]) < 0.2


def test_dose_interacts_with_structure():
    data, _ = make_data()
    halved = dataclasses.replace(data, test_log_dose=np.zeros_like(data.test_log_dose))
    right, flat = baselines.ridge(data).profile, baselines.ridge(halved).profile
    at = data.test_log_dose == 1.0
    # Effects grow with the dose, 1.5 fold from 1 to 10 µM; shared noise direction left out.
    bent = np.linalg.norm(right[at] - right[at].mean(axis=1, keepdims=True))
    straight = np.linalg.norm(flat[at] - flat[at].mean(axis=1, keepdims=True))
    assert 1.3 < bent / straight < 1.7


def test_test_profiles_are_nowhere_among_the_arguments():
    fields = {field.name for field in dataclasses.fields(baselines.BaselineData)}
    assert not [name for name in fields if name.startswith("test") and "profile" in name]
    for baseline in (baselines.knn, baselines.ridge, baselines.physchem):
        assert list(inspect.signature(baseline).parameters) == ["data"]


def test_choices_are_made_on_validation():
    data, _ = make_data()
    nonsense = np.random.default_rng(2).permutation(data.validation_profile)
    blind = dataclasses.replace(data, validation_profile=nonsense)
    for name in ("knn", "ridge"):
        sighted = baselines.BASELINES[name](data).settings
        confused = baselines.BASELINES[name](blind).settings
        assert sighted["validation_mean_log_rank"] < confused["validation_mean_log_rank"] - 1
        assert str(sighted["space"]).startswith("whitened")


def test_constant_missing_and_exploding_descriptors_change_nothing_else():
    data, observed = make_data(signal="physchem")
    plain = recall(baselines.physchem(data), observed)

    def widened(values):
        extra = np.tile([3.0, np.nan, 0.0], (len(values), 1))
        extra[0, 2] = 1e30
        return np.concatenate([values, extra], axis=1)

    awkward = dataclasses.replace(
        data,
        train_physchem=widened(data.train_physchem),
        validation_physchem=widened(data.validation_physchem),
        test_physchem=widened(data.test_physchem),
    )
    prediction = baselines.physchem(awkward)
    assert np.isfinite(prediction.profile).all()
    assert recall(prediction, observed) > plain - 0.1


def test_nothing_to_learn_from_gives_the_mean_and_no_hits():
    data, observed = make_data(doses=(1.0,))
    constant = dataclasses.replace(
        data,
        train_physchem=np.ones_like(data.train_physchem),
        validation_physchem=np.ones_like(data.validation_physchem),
        test_physchem=np.ones_like(data.test_physchem),
    )
    prediction = baselines.physchem(constant)
    mean = np.broadcast_to(data.train_profile.mean(axis=0), prediction.profile.shape)
    np.testing.assert_allclose(prediction.profile, mean, rtol=1e-4, atol=1e-4)
    assert recall(prediction, observed) == 0.0


def test_molecules_without_any_bit_and_far_doses_still_get_a_prediction():
    data, _ = make_data()
    bits = data.test_bits.copy()
    bits[:3] = 0
    far = dataclasses.replace(data, test_bits=bits, test_log_dose=data.test_log_dose + 40)
    prediction = baselines.knn(far)
    mean = np.tile(data.train_profile.mean(axis=0, dtype=float), (3, 1))
    np.testing.assert_allclose(prediction.profile[:3], mean, rtol=1e-4)
    # The others keep their own neighbours, at the highest dose.
    assert len(np.unique(prediction.profile[3:].round(6), axis=0)) > 25


def test_tanimoto_against_a_count_by_hand():
    data, _ = make_data(n_molecules=16)
    similarity, gap = structure._Neighbours(data.train_bits, data.train_log_dose).of(
        data.test_bits, data.test_log_dose
    )
    for i, j in [(0, 0), (3, 7), (11, 2)]:
        a, b = data.test_bits[i].astype(bool), data.train_bits[j].astype(bool)
        assert similarity[i, j] == pytest.approx((a & b).sum() / (a | b).sum())
        assert gap[i, j] == data.test_log_dose[i] - data.train_log_dose[j]


@pytest.mark.parametrize(
    ("signal", "baseline"), [("linear", "ridge"), ("neighbours", "knn"), ("physchem", "physchem")]
)
def test_they_are_told_the_condition(signal, baseline):
    data, observed = make_data(signal=signal, n_conditions=2, n_molecules=240)
    none = {
        f"{part}_condition": np.zeros((len(getattr(data, f"{part}_log_dose")), 0))
        for part in ("train", "validation", "test")
    }
    told = recall(baselines.BASELINES[baseline](data), observed)
    untold = recall(baselines.BASELINES[baseline](dataclasses.replace(data, **none)), observed)
    assert told > untold + 0.05


def test_neighbours_of_another_condition_are_told_apart():
    one = np.array([[1, 0, 1, 0], [0, 1, 0, 1.0]])
    other = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1.0]])
    assert structure.differing_in(one, other).tolist() == [[0, 1, 2], [2, 1, 0]]
    assert structure.differing_in(one[:, :0], other[:, :0]).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_they_fit_the_protocol():
    data, observed = make_data()
    embeddings = {fit.__name__: fit(data).against(observed) for fit in KNOWING}
    m = len(observed)
    candidates = protocol.Candidates(
        "unseen_molecules",
        np.arange(m) // 3,
        10**data.test_log_dose,
        np.full(m, ""),
        np.zeros(m),
        observed,
    )
    found = protocol.evaluate(candidates, embeddings, psis=())
    # Both directions of the full gallery, candidates of one dose, and molecules.
    assert [set(table.rank) for table in found.tables] == [{"knn", "ridge", "physchem"}] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_bits": np.zeros((3, N_BITS), np.uint8)}, "train_bits has 3 rows"),
        ({"train_bits": np.full((180, N_BITS), 7, np.uint8)}, "must be 0 or 1"),
        ({"test_log_dose": np.full(90, -np.inf)}, "test_log_dose holds NaN or infinite"),
        ({"validation_profile": np.full((90, WIDTH), np.nan)}, "validation_profile holds NaN"),
        ({"validation_log_dose": np.zeros(0)}, "at least 2 validation perturbations, got 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_data_is_named(changes, message):
    data, _ = make_data()
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, **changes)
