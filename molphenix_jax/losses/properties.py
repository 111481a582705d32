"""Losses of property prediction with missing labels (NaN): BCE, MAE, hybrid cross-entropy.

Each is a mean over the labels that are there and that count; without any it is 0, gradients too.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Share of the cross-entropy in the hybrid loss, graphium's default (docs/method.md §10).
HYBRID_ALPHA = 0.5


def bce(
    logits: Float[Array, "n k"], labels: Float[Array, "n k"], counts: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Binary cross-entropy of labels 0 and 1.

    Args:
        logits: Of label 1.
        labels: NaN where there is none.
        counts: Rows that count (False for padding).
    """
    known, y = _known(labels, counts)
    return _mean(jax.nn.softplus(logits) - y * logits, known)


def mae(
    predictions: Float[Array, "n k"], labels: Float[Array, "n k"], counts: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Mean absolute error."""
    known, y = _known(labels, counts)
    return _mean(jnp.abs(predictions - y), known)


def hybrid_ce(
    logits: Float[Array, "n k c"], labels: Float[Array, "n k"], counts: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Cross-entropy over ordered classes and squared error of the expected class, half each.

    For measurements too noisy to regress on, sorted into brackets 0 … c-1 (graphium's
    `HybridCELoss`).

    Args:
        logits: Of the c classes.
        labels: 0 … c-1; NaN where there is none.
        counts: Rows that count.
    """
    known, y = _known(labels, counts)
    n_classes = logits.shape[-1]
    log_p = jax.nn.log_softmax(logits, axis=-1)
    of_label = jnp.take_along_axis(log_p, y.astype(jnp.int32)[..., None], axis=-1)[..., 0]
    expected = jnp.exp(log_p) @ jnp.arange(n_classes, dtype=log_p.dtype)
    loss = -HYBRID_ALPHA * of_label + (1 - HYBRID_ALPHA) * (expected - y) ** 2
    return _mean(loss, known)


PROPERTY_LOSSES = {"bce": bce, "mae": mae, "hybrid_ce": hybrid_ce}


def _known(labels: Array, counts: Array) -> tuple[Array, Array]:
    """Which labels count, and the labels with 0 in place of the others."""
    known = jnp.isfinite(labels) & counts[:, None]
    return known, jnp.where(known, labels, 0.0)


def _mean(values: Array, known: Array) -> Array:
    return jnp.where(known, values, 0.0).sum() / jnp.maximum(known.sum(), 1)
