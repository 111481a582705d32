"""Property metrics against scikit-learn, and intervals that know of scaffolds."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from molphenix_jax.evaluation import (
    PROPERTY_BASELINES,
    auroc,
    average_precision,
    predict_property,
    property_results,
)
from molphenix_jax.evaluation.properties import r2

RNG = np.random.default_rng(0)
LABEL = (RNG.random(300) < 0.3).astype(float)
SCORE = np.round(LABEL + RNG.normal(size=300), 1)  # with ties


def test_metrics_are_those_of_scikit_learn():
    assert auroc(LABEL, SCORE) == pytest.approx(roc_auc_score(LABEL, SCORE))
    assert average_precision(LABEL, SCORE) == pytest.approx(average_precision_score(LABEL, SCORE))
    assert r2(SCORE, LABEL) == pytest.approx(r2_score(SCORE, LABEL))
    assert np.isnan(auroc(np.zeros(5), np.arange(5.0)))


def results(groups, **changes):
    return property_results(
        LABEL,
        {"mpnn": SCORE, "noise": RNG.normal(size=300), **changes},
        groups,
        loss="bce",
        model="mpnn",
        n_bootstrap=200,
        seed=0,
    )


def test_the_better_model_is_called_better_and_the_same_is_not():
    rows, comparisons = results(np.arange(300), copy=SCORE)
    assert {row["model"] for row in rows} == {"mpnn", "noise", "copy"}
    by_name = {c["baseline"]: c for c in comparisons if c["metric"] == "auroc"}
    assert by_name["noise"]["better"]
    assert not by_name["copy"]["better"]
    assert by_name["copy"]["difference"] == 0
    assert by_name["copy"]["ci"] is None
    value = next(r for r in rows if r["model"] == "mpnn" and r["metric"] == "auroc")
    assert value["ci"][0] < value["value"] < value["ci"][1]
    assert value["n_positive"] == LABEL.sum()


def test_one_scaffold_gives_no_interval():
    rows, comparisons = results(np.zeros(300, int))
    assert {row["ci"] for row in [*rows, *comparisons]} == {None}
    assert not any(row["better"] for row in comparisons)


@pytest.mark.slow
def test_fewer_scaffolds_make_wider_intervals():
    def width(groups):
        rows, _ = results(groups)
        low, high = next(r["ci"] for r in rows if r["model"] == "mpnn" and r["metric"] == "auroc")
        return high - low

    # Molecules of one scaffold that are alike: sorted by score, 15 a scaffold.
    alike = np.empty(300, int)
    alike[np.argsort(SCORE)] = np.arange(300) // 15
    assert width(alike) > 1.5 * width(np.arange(300))


@pytest.mark.parametrize(
    ("name", "binary"),
    [(name, True) for name in PROPERTY_BASELINES] + [("morgan_linear", False)],
)
def test_baselines_learn_what_is_linear_in_their_features(name, binary):
    rng = np.random.default_rng(1)
    x = (rng.random((400, 20)) < 0.4).astype(np.uint8)
    y = x @ rng.normal(size=20) + 0.1 * rng.normal(size=400)
    y = (y > np.median(y)).astype(float) if binary else y
    score = auroc if binary else r2
    predicted = predict_property(
        name,
        train=(x[:240], y[:240]),
        validation=(x[240:320], y[240:320]),
        test=x[320:],
        binary=binary,
        score=score,
        seed=0,
    )
    assert score(y[320:], predicted) > 0.6
