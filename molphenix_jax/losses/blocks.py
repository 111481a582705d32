"""One block of pairs: what every loss sees, whether the block is the whole batch or a tile of it.

A loss over a batch looks at all pairs (i, j) of a profile i and a molecule j. `Side` holds what one
side of a block brings along (embeddings, frozen profile, identity, mask), `Shared` what all pairs
have in common. A `Kernel` is the block mathematics of a loss, in three functions:

    partial    what one block says about its rows, its columns and its sum    -> Stats
    merge      two partial statements about the same rows and columns         -> Stats
    pullback   a scalar whose gradient, summed over the blocks, is the gradient of the final Stats

and two small ones (`empty`, `recap`). `streaming` is written against these and knows no loss;
losses know no chunk and no device.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Side(NamedTuple):
    """The rows, or the columns, of a block of pairs.

    Attributes:
        z: embeddings; rows are phenomic, columns molecules, or what a loss puts in their place.
        profile: frozen phenomic profiles of the same perturbations, or None.
        index: place in the batch; a pair with equal indices is a positive.
        mask: False where the row is padding or was already seen in another block.
    """

    z: Float[Array, "n d"]
    profile: Float[Array, "n p"] | None
    index: Int[Array, " n"]
    mask: Bool[Array, " n"]


class Shared(NamedTuple):
    """What all pairs have in common.

    Attributes:
        scale: α, or 1/τ in a softmax loss.
        bias: added to every logit.
        null_constant: c of the arctan similarity, or None.
        center: a point near the profiles' mean, or None; see `similarity.ArctanL2`.
    """

    scale: Float[Array, ""]
    bias: Float[Array, ""]
    null_constant: Float[Array, ""] | None
    center: Float[Array, " p"] | None


class Stats(NamedTuple):
    """Statements about pairs by row, by column and in total: pytrees, () where there is none."""

    rows: Any
    cols: Any
    total: Any


class Kernel(Protocol):
    """Block mathematics of a reduction over pairs; instances are hashable and hold only options."""

    def partial(self, rows: Side, cols: Side, shared: Shared) -> Stats:
        """Statistics of one block; pairs with a masked side take no part."""
        ...

    def merge(self, a: Stats, b: Stats) -> Stats:
        """Statistics of the union of two disjoint sets of pairs with the same rows and columns."""
        ...

    def empty(self, rows: Side, cols: Side) -> Stats:
        """Statistics of no pair at all: the neutral element of `merge`."""
        ...

    def recap(self, stats: Stats, cotangent: Stats) -> Stats:
        """What `pullback` needs to know, given the final statistics and their cotangents.

        As little as possible: it is all that lives, and travels, in the backward pass.
        """
        ...

    def pullback(self, rows: Side, cols: Side, shared: Shared, recap: Stats) -> Float[Array, ""]:
        """A scalar whose gradient in z, scale and bias is this block's part of the whole."""
        ...


def dot(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST,
) -> Float[Array, "n m"]:
    """A bᵀ in float32 whatever the inputs' dtype.

    float32 inputs get the precision that is asked for, full precision also where a device's default
    is less. Half-precision inputs are multiplied as they are, on the units made for that, and
    summed in float32; so are their gradients.
    """
    if a.dtype == b.dtype == jnp.bfloat16:
        return _half_dot(a, b)
    return jnp.matmul(a.astype(jnp.float32), b.astype(jnp.float32).T, precision=precision)


def frozen_precision(side: Side) -> jax.lax.Precision:
    """Of products of frozen profiles: full, and less where the embeddings' are in half precision.

    HIGH is TF32 on a GPU, eight times as fast as float32 there: a product of two profiles is off by
    1e-5 of their norms.
    """
    half = side.z.dtype == jnp.bfloat16
    return jax.lax.Precision.HIGH if half else jax.lax.Precision.HIGHEST


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Float[Array, "n m"]:
    return jax.lax.dot_general(
        a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32
    )


@jax.custom_vjp
def _half_dot(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    return _product(a, b, 1, 1)


def _half_dot_fwd(a, b):
    return _half_dot(a, b), (a, b)


def _half_dot_bwd(inputs, cotangent):
    # By itself the cotangent stays float32, and takes the other operand with it.
    a, b = inputs
    cotangent = cotangent.astype(a.dtype)
    of_a, of_b = _product(cotangent, b, 1, 0), _product(cotangent, a, 0, 0)
    return of_a.astype(a.dtype), of_b.astype(b.dtype)


_half_dot.defvjp(_half_dot_fwd, _half_dot_bwd)


def logits(rows: Side, cols: Side, shared: Shared) -> Float[Array, "n m"]:
    """l_ij = scale · <z_i, z_j> + bias (docs/method.md §14, row 2)."""
    return shared.scale * dot(rows.z, cols.z) + shared.bias


def valid_pairs(rows: Side, cols: Side) -> Bool[Array, "n m"]:
    """Pairs both of whose sides take part."""
    return rows.mask[:, None] & cols.mask[None, :]


def positive_pairs(rows: Side, cols: Side) -> Bool[Array, "n m"]:
    """Pairs of a profile with its own molecule."""
    return rows.index[:, None] == cols.index[None, :]
