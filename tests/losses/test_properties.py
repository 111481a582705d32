"""Losses of properties: missing labels and padding change nothing, numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses import PROPERTY_LOSSES
from molphenix_jax.losses.properties import bce, hybrid_ce, mae

NAN = np.nan
LABELS = np.array([[0, 1], [NAN, 2], [1, NAN], [0, 0]], np.float32)
COUNTS = jnp.array([True, True, True, False])


def outputs(loss, seed=0):
    shape = (4, 2, 3) if loss == "hybrid_ce" else (4, 2)
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("loss", PROPERTY_LOSSES)
def test_missing_labels_and_padding_rows_do_not_count(loss):
    labels = np.minimum(LABELS, 1) if loss == "bce" else LABELS
    out = outputs(loss)
    known = np.isfinite(labels) & np.asarray(COUNTS)[:, None]
    value, gradient = jax.value_and_grad(PROPERTY_LOSSES[loss])(out, jnp.asarray(labels), COUNTS)
    np.testing.assert_array_equal(np.abs(gradient).reshape(4, 2, -1).max(-1) > 0, known)
    changed = jnp.where(known.reshape(4, 2, *(1,) * (out.ndim - 2)), out, 1e4)
    again = float(PROPERTY_LOSSES[loss](changed, jnp.asarray(labels), COUNTS))
    assert again == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize("loss", PROPERTY_LOSSES)
def test_without_a_label_the_loss_and_its_gradient_are_0(loss):
    nothing = jnp.full((4, 2), NAN, jnp.float32)
    value, gradient = jax.value_and_grad(PROPERTY_LOSSES[loss])(outputs(loss), nothing, COUNTS)
    assert value == 0
    assert not np.asarray(gradient).any()


def test_numbers_by_hand():
    all_count = jnp.array([True, True])
    logits = jnp.array([[0.3, -2.0], [1.0, 0.5]])
    labels = jnp.array([[1.0, NAN], [0.0, 1.0]])
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    by_hand = -(np.log(p[0, 0]) + np.log(1 - p[1, 0]) + np.log(p[1, 1])) / 3
    assert float(bce(logits, labels, all_count)) == pytest.approx(by_hand, rel=1e-6)
    errors = (abs(0.3 - 1) + abs(1.0 - 0) + abs(0.5 - 1)) / 3
    assert float(mae(logits, labels, all_count)) == pytest.approx(errors, rel=1e-6)


def test_hybrid_is_half_cross_entropy_and_half_squared_error_of_the_expected_class():
    logits = jnp.array([[[0.2, 1.0, -0.5]], [[0.0, 0.3, 2.0]]])
    labels = jnp.array([[0.0], [2.0]])
    p = np.asarray(jax.nn.softmax(logits[:, 0]), np.float64)
    ce = -(np.log(p[0, 0]) + np.log(p[1, 2])) / 2
    expected = p @ np.arange(3)
    squared = ((expected - np.asarray(labels)[:, 0]) ** 2).mean()
    value = float(hybrid_ce(logits, labels, jnp.array([True, True])))
    assert value == pytest.approx(0.5 * ce + 0.5 * squared, rel=1e-6)
