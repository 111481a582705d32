"""Hopfield retrieval: embeddings replaced by what they recall (CLOOME, Hopfield-CLIP).

As in CLOOME's public code (SPEC §3): with stored patterns S and states q, one head, no projections,

    recall(q; S) = normalise( softmax(β q Sᵀ) S )

    p_xx = recall(x; X)   p_xy = recall(y; X)   p_yy = recall(y; Y)   p_yx = recall(x; Y)
    loss = ℓ(p_xx, p_xy) + ℓ(p_yy, p_yx)

where ℓ is one direction of InfoLOOB (CLOOME) or of InfoNCE (Hopfield-CLIP). The retrieval is
attention, so it streams as attention does: a running log-sum-exp and the mean of what is stored
under it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.losses import blocks
from molphenix_jax.losses.softmax import log_sum_exp


class Recall(NamedTuple):
    """Of each state: log Σ e^{β<q, s>} and the mean of the stored patterns under that softmax."""

    lse: Float[Array, " n"]
    mean: Float[Array, "n d"]


@dataclasses.dataclass(frozen=True)
class RetrievalKernel:
    """Softmax-weighted mean of the columns' patterns, for each row's state.

    Attributes:
        beta: β, inverse temperature of the retrieval.
    """

    beta: float

    def partial(self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared) -> blocks.Stats:
        """Recall from the block's columns only."""
        del shared
        s, valid = self._scores(rows, cols)
        lse = log_sum_exp(s, valid, axis=1)
        mean = blocks.dot(_probability(s, lse, valid), cols.z.T)
        return blocks.Stats(Recall(lse, mean), (), ())

    def merge(self, a: blocks.Stats, b: blocks.Stats) -> blocks.Stats:
        """Means are weighted by their share of the joint sum."""
        lse = jnp.logaddexp(a.rows.lse, b.rows.lse)
        safe = jnp.where(jnp.isfinite(lse), lse, 0.0)
        mean = (
            jnp.exp(a.rows.lse - safe)[:, None] * a.rows.mean
            + jnp.exp(b.rows.lse - safe)[:, None] * b.rows.mean
        )
        return blocks.Stats(Recall(lse, mean), (), ())

    def empty(self, rows: blocks.Side, cols: blocks.Side) -> blocks.Stats:
        """Nothing recalled."""
        del cols
        n, d = rows.z.shape
        return blocks.Stats(Recall(jnp.full((n,), -jnp.inf), jnp.zeros((n, d))), (), ())

    def recap(self, stats: blocks.Stats, cotangent: blocks.Stats) -> blocks.Stats:
        """lse, the pull ȯ on the recalled mean o, and <ȯ, o>; not o itself."""
        recall: Recall = stats.rows
        pull = cotangent.rows.mean
        level = jnp.sum(pull * recall.mean, axis=1) - cotangent.rows.lse
        return blocks.Stats((recall.lse, pull, level), (), ())

    def pullback(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared, recap: blocks.Stats
    ) -> Float[Array, ""]:
        """Σ p_ij (<ȯ_i, s_j> - <ȯ_i, o_i>): p through its exponent, s_j directly."""
        del shared
        s, valid = self._scores(rows, cols)
        lse, pull, level = recap.rows
        p = _probability(s, lse, valid)
        return jnp.sum(p * (blocks.dot(pull, cols.z) - level[:, None]))

    def _scores(self, rows: blocks.Side, cols: blocks.Side):
        return self.beta * blocks.dot(rows.z, cols.z), blocks.valid_pairs(rows, cols)


def _probability(s, lse, valid) -> Float[Array, "n m"]:
    top = jnp.where(jnp.isfinite(lse), lse, jnp.inf)[:, None]
    return jnp.exp(jnp.where(valid, s - top, -jnp.inf))


def normalise(mean: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1; a zero row (padding) stays zero, with zero gradient."""
    square = jnp.sum(mean * mean, axis=1, keepdims=True)
    zero = square <= 0.0
    return jnp.where(zero, 0.0, mean / jnp.sqrt(jnp.where(zero, 1.0, square)))
