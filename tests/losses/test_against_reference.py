"""Value and every gradient of every loss, in every execution, against float64 numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses import cases

pytestmark = pytest.mark.slow

EXECUTIONS = {
    "dense": {"execution": "dense"},
    "chunked-divides": {"execution": "chunked", "chunk_size": 8},
    "chunked-uneven": {"execution": "chunked", "chunk_size": 7},
    "ring-1": {"execution": "ring", "devices": 1},
    "ring-1-divides": {"execution": "ring", "devices": 1, "chunk_size": 12},
    "ring-1-uneven": {"execution": "ring", "devices": 1, "chunk_size": 7},
    "ring-2-divides": {"execution": "ring", "devices": 2, "chunk_size": 4},
    "ring-2-uneven": {"execution": "ring", "devices": 2, "chunk_size": 5},
    "ring-8": {"execution": "ring", "devices": 8},
    "ring-8-divides": {"execution": "ring", "devices": 8, "chunk_size": 1},
    "ring-8-uneven": {"execution": "ring", "devices": 8, "chunk_size": 2},
}


def run(case, execution, **kwargs):
    options = dict(EXECUTIONS[execution])
    devices = options.pop("devices", None)
    if devices:
        options["mesh"] = cases.ring_of(devices)
    return cases.value_and_grad(case, cases.make_batch(), **options, **kwargs)


# Every loss in these, softmax and sigmoid pairs in every execution; `make soak` takes all pairs.
EVERY_LOSS = ("dense", "chunked-uneven", "ring-8-uneven")
EVERY_EXECUTION = ("cwcl", "s2l-mixture")
RECALL = ("cloome", "ring-2-divides")  # patterns that go round in parts, too
# Of the streamed ones `make test` takes a softmax, pairs, and patterns.
KINDS = ("cwcl", "s2l-mixture", "cloome")


def tier(case, execution):
    """When a pair is taken: compiling it is what costs."""
    if execution == "dense" or (execution in EVERY_LOSS and case in KINDS):
        return pytest.mark.slow
    if execution in EVERY_LOSS or case in EVERY_EXECUTION or (case, execution) == RECALL:
        return pytest.mark.long
    return pytest.mark.soak


PAIRS = [
    pytest.param(case, execution, marks=tier(case, execution))
    for case in cases.CASES
    for execution in EXECUTIONS
]


@pytest.mark.parametrize(("case", "execution"), PAIRS)
def test_value_and_gradients(case, execution):
    value, gradients = cases.expected(case)
    (loss, _), got = run(case, execution)
    np.testing.assert_allclose(loss, value, rtol=3e-6, atol=3e-7)
    for name, expected, actual in zip(("z_x", "z_m", "scale", "bias"), gradients, got, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("case", ["clip", "cwcl", "s2l"])
def test_metrics_agree_and_mean_what_they_say(case):
    batch = cases.make_batch().real()
    logit = cases.SCALE * batch.z_x @ batch.z_m.T + cases.BIAS
    n = len(logit)
    expected = {
        "logit_positive": np.trace(logit) / n,
        "logit_negative": (logit.sum() - np.trace(logit)) / (n * (n - 1)),
    }
    if case == "cwcl":
        w = cases.reference.cosine_similarity(batch.profile)
        expected["similarity"] = (w.sum() - n) / (n * (n - 1))
    if case == "s2l":
        w = cases.reference.arctan_similarity(batch.profile, cases.NULL_CONSTANT, 0.4)
        expected["similarity"] = (w.sum() - n) / (n * (n - 1))
        assert 0.02 < expected["similarity"] < 0.9  # the batch has similar pairs to speak of
    for execution in ("dense", "chunked-uneven", "ring-8"):
        (_, metrics), _ = run(case, execution)
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_no_similarity_lies_at_the_threshold():
    """Else float32 and float64 could fall on different sides of it and the test above mislead."""
    batch = cases.make_batch().real()
    for null in ("screen", "pair"):
        profile = batch.profile.astype(float)
        w = cases.reference.arctan_similarity(profile, cases.NULL_CONSTANT, 0.0, null)
        assert np.abs(w - 0.4).min() > 1e-4
        assert 0.02 < np.mean(w < 0.4) < 0.98


@pytest.mark.parametrize(
    ("case", "execution"),
    [
        pytest.param(case, execution, marks=[] if often else pytest.mark.long)
        for case in ("clip", "cloome", "s2l")
        for execution in ("dense", "chunked-uneven", "ring-8")
        for often in [execution == "dense" or case == "s2l"]
    ],
)
def test_half_precision_embeddings(case, execution):
    """bf16 in, float32 logits: as close as the rounding of the inputs, and gradients in bf16."""
    value, gradients = cases.expected(case)
    (loss, _), got = run(case, execution, dtype=jnp.bfloat16)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, value, rtol=2e-2)
    for expected, actual in zip(gradients[:2], got[:2], strict=True):
        assert actual.dtype == jnp.bfloat16
        error = np.linalg.norm(actual.astype(np.float32) - expected) / np.linalg.norm(expected)
        assert error < 3e-2
