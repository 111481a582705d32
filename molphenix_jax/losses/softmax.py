"""Softmax losses: each row asks which column is its own (CLIP, DCL, InfoLOOB, CWCL).

Every one of them is, with l = <z_x, z_m> / τ, a sum over rows (and for most over columns too) of

    log Σ_j e^{l_ij}  -  Σ_j w_ij l_ij / Σ_j w_ij

    CLIP       w = I, both directions                                        (InfoNCE, eq. 1)
    CWCL       w = cosine of frozen profiles, rows only                      (eq. 2)
    DCL        w = I, both directions, the positive left out of the log-sum
    InfoLOOB   τ · DCL, as CLOOME's public code has it (docs/method.md §3)

A bias would cancel, so there is none. A row with no negatives has nothing to be told apart from:
where the positive is left out it contributes 0, not -∞.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molphenix_jax.losses import blocks
from molphenix_jax.losses.similarity import Similarity


class RowStats(NamedTuple):
    """Of each row: log Σ e^l, Σ w l and Σ w."""

    lse: Float[Array, " n"]
    target: Float[Array, " n"]
    weight: Float[Array, " n"]


@dataclasses.dataclass(frozen=True)
class SoftmaxKernel:
    """Running log-sum-exp and weighted mean logit of rows, and log-sum-exp of columns.

    Attributes:
        similarity: w of a block, the target distribution of a row before it is normalised.
        exclude_positive: leave the positive out of the log-sum (DCL, InfoLOOB).
        columns: also each column asks for its row; w must be symmetric and sum to 1 (Identity).
    """

    similarity: Similarity
    exclude_positive: bool = False
    columns: bool = True

    @property
    def separable(self) -> Literal["rows", "no"]:
        """Rows stand alone unless columns ask too."""
        return "no" if self.columns else "rows"

    def partial(self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared) -> blocks.Stats:
        """What the block says about its rows and columns."""
        logit, w, valid, contrast = self._pairs(rows, cols, shared)
        row_stats = RowStats(
            lse=log_sum_exp(logit, contrast, axis=1),
            target=jnp.sum(jnp.where(valid, w * logit, 0.0), axis=1),
            weight=jnp.sum(jnp.where(valid, w, 0.0), axis=1),
        )
        return blocks.Stats(
            row_stats, log_sum_exp(logit, contrast, axis=0) if self.columns else (), ()
        )

    def merge(self, a: blocks.Stats, b: blocks.Stats) -> blocks.Stats:
        """Sums add, log-sums add under the logarithm (a running maximum and sum in one number)."""
        return blocks.Stats(
            RowStats(
                jnp.logaddexp(a.rows.lse, b.rows.lse),
                a.rows.target + b.rows.target,
                a.rows.weight + b.rows.weight,
            ),
            jnp.logaddexp(a.cols, b.cols) if self.columns else (),
            (),
        )

    def empty(self, rows: blocks.Side, cols: blocks.Side) -> blocks.Stats:
        """Log 0, and zero sums."""
        n, m = rows.z.shape[0], cols.z.shape[0]
        return blocks.Stats(
            RowStats(jnp.full((n,), -jnp.inf), jnp.zeros((n,)), jnp.zeros((n,))),
            jnp.full((m,), -jnp.inf) if self.columns else (),
            (),
        )

    def recap(self, stats: blocks.Stats, cotangent: blocks.Stats) -> blocks.Stats:
        """The final log-sums, and the cotangents; Σ w has none."""
        return blocks.Stats(
            (stats.rows.lse, cotangent.rows.lse, cotangent.rows.target),
            (stats.cols, cotangent.cols) if self.columns else (),
            (),
        )

    def pullback(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared, recap: blocks.Stats
    ) -> Float[Array, ""]:
        """Sum of probabilities: e^{l - lse} has, with lse held fixed, the gradient of lse."""
        logit, w, valid, contrast = self._pairs(rows, cols, shared)
        lse, by_lse, by_target = recap.rows
        by_pair = w * by_target[:, None] * logit
        by_pair += _weighted_probability(logit, lse, by_lse, contrast, axis=1)
        if self.columns:
            lse, by_lse = recap.cols
            by_pair += _weighted_probability(logit, lse, by_lse, contrast, axis=0)
        return jnp.sum(jnp.where(valid, by_pair, 0.0))

    def finish(self, stats: blocks.Stats) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss summed over rows (and columns), and the sum of w."""
        rows: RowStats = stats.rows
        mean_logit = rows.target / jnp.where(rows.weight > 0.0, rows.weight, 1.0)
        loss = jnp.sum(_where_finite(rows.lse, mean_logit))
        if self.columns:
            loss += jnp.sum(_where_finite(stats.cols, mean_logit))
        return loss, jnp.sum(rows.weight)

    def _pairs(self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared):
        logit = shared.scale * blocks.dot(rows.z, cols.z)
        w = self.similarity(rows, cols, shared)
        valid = contrast = blocks.valid_pairs(rows, cols)
        if self.exclude_positive:
            contrast = valid & ~blocks.positive_pairs(rows, cols)
        return logit, w, valid, contrast


def log_sum_exp(
    logit: Float[Array, "n m"], keep: Bool[Array, "n m"], *, axis: int
) -> Float[Array, " k"]:
    """Log Σ e^l over the kept entries of an axis; -∞, with zero gradient, where none is kept."""
    kept = jnp.where(keep, logit, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(kept, axis=axis, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    total = jnp.sum(jnp.exp(kept - top), axis=axis)
    some = total > 0.0
    log_total = jnp.log(jnp.where(some, total, 1.0)) + jnp.squeeze(top, axis=axis)
    return jnp.where(some, log_total, -jnp.inf)


def _weighted_probability(logit, lse, weight, keep, *, axis: int) -> Float[Array, "n m"]:
    """Weight · e^{l - lse} along an axis; rows without any kept entry (lse = -∞) give 0."""
    lse = jnp.expand_dims(jnp.where(jnp.isfinite(lse), lse, jnp.inf), axis)
    weight = jnp.expand_dims(weight, axis)
    return weight * jnp.exp(jnp.where(keep, logit - lse, -jnp.inf))


def _where_finite(lse: Float[Array, " n"], mean_logit: Float[Array, " n"]) -> Float[Array, " n"]:
    finite = jnp.isfinite(lse)
    return jnp.where(finite, jnp.where(finite, lse, 0.0) - mean_logit, 0.0)
