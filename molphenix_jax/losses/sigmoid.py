"""Sigmoid losses: every pair is a yes-or-no question of its own (SigLIP, S2L; paper eq. 3 and 4).

With l = α<z_x, z_m> + b and σ the logistic function,

    weighted   Σ_ij -[ w log σ(l) + (γ - ζ w) log σ(-l) ] / N      (Algorithm 1)
    mixture    Σ_ij -log[ w σ(l) + (1 - w) σ(-l) ] / N             (eq. 4, sign of b corrected)

both as docs/method.md §14 rows 1 to 5 read them.

SigLIP is the weighted form with w = I and γ = ζ = 1. Pairs do not depend on each other.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.losses.pairs import PairSum

Form = Literal["weighted", "mixture"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigmoidKernel(PairSum):
    """A sigmoid loss.

    Attributes:
        form: "weighted" (γ and ζ count) or "mixture".
        gamma: γ, the weight of a pair that is not similar at all.
        zeta: ζ, by how much similarity takes that weight away.
    """

    form: Form = "weighted"
    gamma: float = 1.0
    zeta: float = 1.0

    def pairs(self, logit: Float[Array, "n m"], w: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """The loss of each pair."""
        if self.form == "mixture":
            return mixture_pairs(logit, w)
        return weighted_pairs(logit, w, gamma=self.gamma, zeta=self.zeta)


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
