"""Recall: what a state q retrieves from stored patterns S, softmax(β q Sᵀ) S, tile by tile.

Where the states are the stored patterns themselves, <z_i, z_j> is the score of i for j and of j for
i. `own_recall` and its `own_gradient` therefore visit each unordered pair once, in the tiles on and
above the diagonal, and a tile speaks for its rows and for its columns at the same time:

             ┌──────┬──────┬──────┐
             │  ◹   │  →↓  │  →↓  │      →  what rows recall of columns, i ≤ j
             ├──────┼──────┼──────┤      ↓  what columns recall of rows, i < j
             │      │  ◹   │  →↓  │
             ├──────┼──────┼──────┤
             │      │      │  ◹   │
             └──────┴──────┴──────┘

That saves half a product of n² d in the recall and one and a half in its gradient: the pull on the
scores, of both directions together, reaches the patterns through one product in place of two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from molphenix_jax.losses import blocks, streaming
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
        score, valid = self.scores(rows, cols)
        return blocks.Stats(recalled(score, valid, cols.z), (), ())

    def merge(self, a: blocks.Stats, b: blocks.Stats) -> blocks.Stats:
        """Recall from the union of two sets of columns."""
        return blocks.Stats(merged(a.rows, b.rows), (), ())

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
        score, valid = self.scores(rows, cols)
        return pulled(score, valid, cols.z, recap.rows)

    def scores(
        self, rows: blocks.Side, cols: blocks.Side
    ) -> tuple[Float[Array, "n m"], Bool[Array, "n m"]]:
        """β <q, s>, and the pairs that take part."""
        return self.beta * blocks.dot(rows.z, cols.z), blocks.valid_pairs(rows, cols)


def recalled(
    score: Float[Array, "n m"], valid: Bool[Array, "n m"], stored: Float[Array, "m d"]
) -> Recall:
    """Recall of n states from m stored patterns."""
    lse = log_sum_exp(score, valid, axis=1)
    return Recall(lse, blocks.dot(_probability(score, lse, valid), stored.T))


def merged(a: Recall, b: Recall) -> Recall:
    """Means are weighted by their share of the joint sum."""
    lse = jnp.logaddexp(a.lse, b.lse)
    safe = jnp.where(jnp.isfinite(lse), lse, 0.0)
    mean = jnp.exp(a.lse - safe)[:, None] * a.mean + jnp.exp(b.lse - safe)[:, None] * b.mean
    return Recall(lse, mean)


def pulled(
    score: Float[Array, "n m"], valid: Bool[Array, "n m"], stored: Float[Array, "m d"], recap: Any
) -> Float[Array, ""]:
    """A scalar with the gradient that the pull on the means has in scores and stored patterns."""
    lse, pull, level = recap
    p = _probability(score, lse, valid)
    return jnp.sum(p * (blocks.dot(pull, stored) - level[:, None]))


def _probability(score, lse, valid) -> Float[Array, "n m"]:
    top = jnp.where(jnp.isfinite(lse), lse, jnp.inf)[:, None]
    return jnp.exp(jnp.where(valid, score - top, -jnp.inf))


# Patterns that recall each other, every pair once. ------------------------------------------------


def own_recall(
    kernel: RetrievalKernel, side: blocks.Side, plan: streaming.Plan, *, done: Array | None
) -> Recall:
    """Recall of patterns from themselves, chunked; begun after `done`, see `streaming.after`."""

    def visit(rows: tuple, cols: tuple) -> tuple[Recall, Recall]:
        (row_side,), (col_side,) = rows, cols
        score, down, up = _both_ways(kernel, row_side, col_side)
        return recalled(score, down, col_side.z), recalled(score.T, up.T, row_side.z)

    start = streaming.after(kernel.empty(side, side).rows, done)
    return _upper_triangle(visit, (side,), start, merged, plan)


def own_gradient(
    kernel: RetrievalKernel,
    side: blocks.Side,
    recap: Any,
    plan: streaming.Plan,
    *,
    start: Float[Array, "n d"],
) -> Float[Array, "n d"]:
    """Gradient of the patterns, as states and as what is stored, added to `start`; chunked.

    Args:
        kernel: the block mathematics.
        side: the patterns.
        recap: the rows of `kernel.recap`, of the final statistics and their cotangents.
        plan: how to walk.
        start: the gradient to add to.
    """

    def visit(rows: tuple, cols: tuple) -> tuple[Array, Array]:
        (row_side, row_recap), (col_side, col_recap) = rows, cols

        def pullback(z_row: Array, z_col: Array) -> Array:
            score, down, up = _both_ways(
                kernel, row_side._replace(z=z_row), col_side._replace(z=z_col)
            )
            return pulled(score, down, z_col, row_recap) + pulled(score.T, up.T, z_row, col_recap)

        return jax.grad(pullback, argnums=(0, 1))(row_side.z, col_side.z)

    return _upper_triangle(visit, (side, recap), start, jnp.add, plan)


def _both_ways(kernel: RetrievalKernel, rows: blocks.Side, cols: blocks.Side):
    """Scores of a tile, and which of its pairs count for its rows and for its columns."""
    score, valid = kernel.scores(rows, cols)
    i, j = rows.index[:, None], cols.index[None, :]
    return score, valid & (i <= j), valid & (i < j)


def _upper_triangle(
    visit: Callable[[tuple, tuple], tuple[Any, Any]],
    sides: tuple,
    start: Any,
    add: Callable[[Any, Any], Any],
    plan: streaming.Plan,
) -> Any:
    """Adds up what tiles on and above the diagonal say of their rows and of their columns.

    Args:
        visit: what a tile says, of its rows and of its columns.
        sides: pytrees of a common leading length, a `Side` first; both rows and columns.
        start: what to add to, of the same leading length.
        add: joins two statements about the same rows.
        plan: its chunk size is the side of a tile.
    """
    n = sides[0].z.shape[0]
    tile = min(plan.tile, n)
    across = -(-n // tile)

    def step(col, row, so_far):
        row_at, col_at = row * tile, col * tile
        tiles = streaming.fresh(sides, row_at, tile), streaming.fresh(sides, col_at, tile)
        for at, part in zip((row_at, col_at), visit(*tiles), strict=True):
            so_far = streaming.put(so_far, add(streaming.take(so_far, at, tile), part), at)
        return so_far

    def stripe(row, so_far):
        return jax.lax.fori_loop(row, across, lambda col, s: step(col, row, s), so_far)

    return jax.lax.fori_loop(0, across, stripe, start)
