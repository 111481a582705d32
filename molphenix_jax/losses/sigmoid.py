"""Sigmoid losses: every pair is a yes-or-no question of its own (SigLIP, S2L; paper eq. 3 and 4).

With l = α<z_x, z_m> + b and σ the logistic function,

    weighted   Σ_ij -[ w log σ(l) + (γ - ζ w) log σ(-l) ] / N      (Algorithm 1)
    mixture    Σ_ij -log[ w σ(l) + (1 - w) σ(-l) ] / N             (eq. 4, sign of b corrected)

both as docs/method.md §14 rows 1 to 5 read them.

SigLIP is the weighted form with w = I and γ = ζ = 1. Pairs do not depend on each other, so a
block's statistics are a plain sum.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.losses import blocks
from molphenix_jax.losses.similarity import Similarity

Form = Literal["weighted", "mixture"]


@dataclasses.dataclass(frozen=True)
class SigmoidKernel:
    """Sum over pairs of a sigmoid loss; also the sum of w, for the metrics.

    Attributes:
        similarity: w of a block.
        form: "weighted" (γ and ζ count) or "mixture".
        gamma: γ, the weight of a pair that is not similar at all.
        zeta: ζ, by how much similarity takes that weight away.
    """

    similarity: Similarity
    form: Form = "weighted"
    gamma: float = 1.0
    zeta: float = 1.0

    @property
    def separable(self) -> Literal["pairs"]:
        """Each pair stands alone."""
        return "pairs"

    def partial(self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared) -> blocks.Stats:
        """The block's sums of the loss and of w."""
        logit = blocks.logits(rows, cols, shared)
        w = self.similarity(rows, cols, shared)
        if self.form == "mixture":
            pairs = mixture_pairs(logit, w)
        else:
            pairs = weighted_pairs(logit, w, gamma=self.gamma, zeta=self.zeta)
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


def weighted_pairs(
    logit: Float[Array, "n m"], w: Float[Array, "n m"], *, gamma: float, zeta: float
) -> Float[Array, "n m"]:
    """-[w log σ(l) + (γ - ζw) log σ(-l)] for each pair.

    Uses -log σ(±l) = max(∓l, 0) + log(1 + e^-|l|), which neither overflows nor cancels.
    """
    v = gamma - zeta * w
    tail = jnp.log1p(jnp.exp(-jnp.abs(logit)))
    return w * jnp.maximum(-logit, 0.0) + v * jnp.maximum(logit, 0.0) + (w + v) * tail


def mixture_pairs(logit: Float[Array, "n m"], w: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """-log[w σ(l) + (1 - w) σ(-l)] for each pair.

    With e = e^-|l| the larger of σ(±l) is 1/(1 + e), the smaller e/(1 + e). Where all weight lies
    on the smaller one, log e = -|l| is taken before e can underflow.
    """
    positive = logit >= 0.0
    magnitude = jnp.where(positive, logit, -logit)  # |l|, with a slope at 0 too
    e = jnp.exp(-magnitude)
    likely = jnp.where(positive, w, 1.0 - w)
    only_unlikely = likely <= 0.0
    mixed = jnp.where(only_unlikely, 1.0, likely + (1.0 - likely) * e)
    return jnp.log1p(e) - jnp.where(only_unlikely, -magnitude, jnp.log(mixed))


def _sum(values: Float[Array, "n m"], valid: Array) -> Float[Array, ""]:
    return jnp.sum(jnp.where(valid, values, 0.0))
