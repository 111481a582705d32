"""Losses that are a plain sum over pairs: all that one has to say is the loss of a pair."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.losses import blocks
from molphenix_jax.losses.similarity import Identity, Similarity


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSum:
    """Sum over pairs of what `pairs` gives; also the sum of w, for the metrics.

    Subclasses are frozen dataclasses, whose fields are the options of the loss.

    Attributes:
        similarity: w of a block.
    """

    similarity: Similarity = Identity()

    def pairs(self, logit: Float[Array, "n m"], w: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """The loss of each pair.

        Args:
            logit: scale · cos + bias.
            w: 1 where the pair is a positive; elsewhere 0, or how similar its profiles are.
        """
        raise NotImplementedError

    @property
    def separable(self) -> Literal["pairs"]:
        """Each pair stands alone."""
        return "pairs"

    def partial(self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared) -> blocks.Stats:
        """The block's sums of the loss and of w."""
        w = self.similarity(rows, cols, shared)
        pairs = self.pairs(blocks.logits(rows, cols, shared), w)
        valid = blocks.valid_pairs(rows, cols)
        return blocks.Stats((), (), (_sum(pairs, valid), _sum(w, valid)))

    def merge(self, a: blocks.Stats, b: blocks.Stats) -> blocks.Stats:
        """Sums add."""
        return blocks.Stats((), (), (a.total[0] + b.total[0], a.total[1] + b.total[1]))

    def empty(self, rows: blocks.Side, cols: blocks.Side) -> blocks.Stats:
        """Zero sums."""
        del rows, cols
        return blocks.Stats((), (), (jnp.zeros(()), jnp.zeros(())))

    def recap(self, stats: blocks.Stats, cotangent: blocks.Stats) -> blocks.Stats:
        """A sum's gradient needs nothing from other blocks; w has none."""
        del stats
        return blocks.Stats((), (), cotangent.total[0])

    def pullback(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared, recap: blocks.Stats
    ) -> Float[Array, ""]:
        """The block's sum."""
        return recap.total * self.partial(rows, cols, shared).total[0]

    def finish(self, stats: blocks.Stats) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The summed loss and the sum of w."""
        return stats.total


def _sum(values: Float[Array, "n m"], valid: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.where(valid, values, 0.0))
