"""Hopfield retrieval: embeddings replaced by what they recall (CLOOME, Hopfield-CLIP).

As in CLOOME's public code (docs/method.md §3): with stored patterns S and states q, one head, no
projections,

    recall(q; S) = normalise( softmax(β q Sᵀ) S )

    p_xx = recall(x; X)   p_xy = recall(y; X)   p_yy = recall(y; Y)   p_yx = recall(x; Y)
    loss = ℓ(p_xx, p_xy) + ℓ(p_yy, p_yx)

where ℓ is one direction of InfoLOOB (CLOOME) or of InfoNCE (Hopfield-CLIP). The retrieval is
attention, so it streams as attention does: a running log-sum-exp and the mean of what is stored
under it.

Unlike the other losses this one has more to hold than sums: recalled patterns and the pull on them,
[n, d] each. Left to itself the compiler holds those of all four recalls, several times over. The
chunked loss therefore writes its gradient out (`_half`), one summand of the loss after the other:

    recall p, q   →   ℓ(p, q) with ṗ, q̇   →   pulls on the means, in their place   →   added to ẋ, ẏ
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.losses import blocks, streaming
from molphenix_jax.losses.recall import (
    Recall,
    RetrievalKernel,
    own_gradient,
    own_recall,
)
from molphenix_jax.losses.softmax import SoftmaxKernel


@dataclasses.dataclass(frozen=True)
class RetrievedLoss:
    """ℓ(p_xx, p_xy) + ℓ(p_yy, p_yx), summed over rows.

    Attributes:
        kernel: ℓ, one direction.
        beta: β, inverse temperature of the retrieval.
    """

    kernel: SoftmaxKernel
    beta: float

    def __call__(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared, plan: streaming.Plan
    ) -> streaming.Summed:
        """The loss, and the sum of w."""
        if plan.execution == "chunked":
            return _in_turn(self, plan, rows, cols, shared)
        return self.both_ways(rows, cols, shared, plan)

    @property
    def retrieval(self) -> RetrievalKernel:
        """The kernel of a recall."""
        return RetrievalKernel(self.beta)

    def both_ways(self, rows, cols, shared, plan) -> streaming.Summed:
        """Both summands, differentiated by JAX."""

        def half(anchor: blocks.Side, other: blocks.Side) -> streaming.Summed:
            def recall(state: blocks.Side) -> blocks.Side:
                stats = streaming.reduce(self.retrieval, state, anchor, shared, plan)
                return state._replace(z=normalise(stats.rows.mean))

            return streaming.summed(self.kernel, recall(anchor), recall(other), shared, plan)

        first, w_first = half(rows, cols)
        second, w_second = half(cols, rows)
        return first + second, w_first + w_second


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_turn(loss: RetrievedLoss, plan: streaming.Plan, rows, cols, shared) -> streaming.Summed:
    return loss.both_ways(rows, cols, shared, plan)


def _in_turn_fwd(loss: RetrievedLoss, plan: streaming.Plan, rows, cols, shared):
    none = streaming.no_gradients(rows, cols)
    first, gradients = _half(loss, plan, rows, cols, shared, none, done=None)
    swapped = gradients._replace(rows=gradients.cols, cols=gradients.rows)
    second, swapped = _half(loss, plan, cols, rows, shared, swapped, done=gradients.rows[0, 0])
    gradients = swapped._replace(rows=swapped.cols, cols=swapped.rows)
    return (first[0] + second[0], first[1] + second[1]), (gradients, rows, cols)


def _in_turn_bwd(loss: RetrievedLoss, plan: streaming.Plan, residuals, cotangent: streaming.Summed):
    del loss, plan
    return streaming.scaled_cotangents(residuals, cotangent)


_in_turn.defvjp(_in_turn_fwd, _in_turn_bwd)


def _half(
    loss: RetrievedLoss,
    plan: streaming.Plan,
    anchor: blocks.Side,
    other: blocks.Side,
    shared: blocks.Shared,
    gradients: blocks.Stats,
    *,
    done: Array | None,
) -> tuple[streaming.Summed, blocks.Stats]:
    """ℓ(recall(anchor), recall(other)); its gradients in anchor and other, added to those given.

    Gradients have the anchor's in `rows` and the other's in `cols`. It begins after `done`.
    """
    retrieval = loss.retrieval

    def recalled(state: blocks.Side, recall: Recall):
        lse, mean = recall
        norm = jnp.sqrt(_row_dot(mean, mean))
        # With a barrier, since the compiler would rather keep both and divide again later.
        unit = jax.lax.optimization_barrier(mean * _inverse(norm)[:, None])
        return lse, norm, state._replace(z=unit)

    def recap(recalled, by_unit: Array) -> blocks.Stats:
        lse, norm, side = recalled
        # Of mean / |mean|: what is along it has no effect.
        across = by_unit - side.z * _row_dot(by_unit, side.z)[:, None]
        by_mean = Recall(jnp.zeros_like(lse), across * _inverse(norm)[:, None])
        stats = blocks.Stats(Recall(lse, side.z * norm[:, None]), (), ())
        return retrieval.recap(stats, blocks.Stats(by_mean, (), ()))

    own = recalled(anchor, own_recall(retrieval, anchor, plan, done=done))
    cross = recalled(
        other,
        streaming.statistics(retrieval, other, anchor, shared, plan, done=own[0][0]).rows,
    )
    value, by_unit = streaming.value_and_gradients(
        loss.kernel, own[2], cross[2], shared, plan, done=cross[0][0]
    )
    scalars = jax.tree.map(jnp.add, gradients.total, by_unit.total)

    nothing = (jnp.zeros(()), jnp.zeros(()))
    through_other = streaming.pulled_back(
        retrieval,
        other,
        anchor,
        shared,
        recap(cross, by_unit.cols),
        plan,
        start=blocks.Stats(gradients.cols, gradients.rows, nothing),
    )
    of_anchor = own_gradient(
        retrieval, anchor, recap(own, by_unit.rows).rows, plan, start=through_other.cols
    )
    return value, blocks.Stats(of_anchor, through_other.rows, scalars)


def _row_dot(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jnp.einsum("nd,nd->n", a, b, precision=jax.lax.Precision.HIGHEST)


def _inverse(norm: Float[Array, " n"]) -> Float[Array, " n"]:
    return 1.0 / jnp.where(norm > 0.0, norm, jnp.inf)


def normalise(mean: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1; a zero row (padding) stays zero, with zero gradient."""
    square = jnp.sum(mean * mean, axis=1, keepdims=True)
    zero = square <= 0.0
    return jnp.where(zero, 0.0, mean / jnp.sqrt(jnp.where(zero, 1.0, square)))
