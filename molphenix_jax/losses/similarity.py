"""Similarity w between perturbations, from frozen phenomic profiles, one block at a time.

    Identity    w_ij = 1 if i = j else 0                       (CLIP, DCL, InfoLOOB, SigLIP)
    Cosine      w_ij = <p_i, p_j> / (2 |p_i| |p_j|) + 1/2       (CWCL, paper eq. 2)
    ArctanL2    w_ij = 1 - (4/π) arctan(|p_i - p_j|² / c)       (S2L, paper App. D.3), 0 below k
                or, with null="pair", |p_i|² + |p_j|² in place of c

w_ii is exactly 1 in all three, whatever rounding says, and no gradient passes through w: the
profiles are frozen. They are never L2-normalised for ArctanL2, since their norm carries activity
(paper Fig. 6). c, the null constant, is computed once on the training screen by `null_constant`,
and k, where a share of soft positives is asked for, by `soft_positives`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from molphenix_jax.losses import blocks


class Similarity(Protocol):
    """w over a block of pairs, in [0, 1]."""

    def __call__(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared
    ) -> Float[Array, "n m"]:
        """Similarity of each row's perturbation with each column's."""
        ...


@dataclasses.dataclass(frozen=True)
class Identity:
    """w = I: a pair is the same perturbation or it is not."""

    def __call__(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared
    ) -> Float[Array, "n m"]:
        """1 for a positive pair, else 0."""
        del shared
        return blocks.positive_pairs(rows, cols).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """Cosine similarity of the profiles, mapped from [-1, 1] to [0, 1] (paper eq. 2)."""

    def __call__(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared
    ) -> Float[Array, "n m"]:
        """Half the cosine plus a half; a zero profile is at 1/2 to all others."""
        del shared
        p, q = _frozen(rows), _frozen(cols)
        # The product is scaled, not the profiles: no normalised copy of a side is made.
        product = blocks.dot(p, q, blocks.frozen_precision(rows))
        cosine = product * _inverse_norm(p)[:, None] * _inverse_norm(q)[None, :]
        w = jnp.clip(0.5 * cosine + 0.5, 0.0, 1.0)
        return jnp.where(blocks.positive_pairs(rows, cols), 1.0, w)


Null = Literal["screen", "pair"]
_LEAST_W = 1e-6  # of a soft positive


@dataclasses.dataclass(frozen=True)
class ArctanL2:
    """Arctan of the squared L2 distance in units of a null distance (paper App. D.3).

    Attributes:
        threshold: k; similarities below it become 0 (a hard zero, docs/method.md §14 row 6).
        null: "screen", c is the null constant; "pair", c is |p|² + |q|², the squared distance of
            two profiles of those lengths that have nothing in common. Profiles count from the
            controls' centre, 0. Two inactive perturbations, that agree in no more than that both
            are near the controls, are then as far apart as any two.
    """

    threshold: float = 0.75
    null: Null = "screen"

    def __call__(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared
    ) -> Float[Array, "n m"]:
        """1 at distance 0, 0 at the null distance and beyond."""
        if shared.center is None or shared.null_constant is None:
            raise ValueError("ArctanL2 needs shared.center and shared.null_constant")
        # |p - q|² = |p|² + |q|² - 2<p, q> loses digits to whatever the profiles have in common, so
        # that is taken away first: distances do not change.
        p = _frozen(rows) - shared.center[None, :]
        q = _frozen(cols) - shared.center[None, :]
        squares = jnp.sum(p * p, axis=1)[:, None] + jnp.sum(q * q, axis=1)[None, :]
        precision = blocks.frozen_precision(rows)
        distance = squares - 2.0 * blocks.dot(p, q, precision)
        # What is left of rounding between equal profiles is no distance: 1 - w has a logarithm.
        full = precision == jax.lax.Precision.HIGHEST
        rounding = jnp.finfo(jnp.float32).eps * float(p.shape[1]) ** 0.5 if full else 2.0**-11
        distance = jnp.where(distance > rounding * squares, distance, 0.0)
        # Beyond the null distance w would be negative, and is 0.
        w = arctan_similarity(jnp.minimum(distance / self._null(rows, cols, shared), 1.0))
        w = jnp.where(w < self.threshold, 0.0, jnp.clip(w, 0.0, 1.0))
        return jax.lax.stop_gradient(jnp.where(blocks.positive_pairs(rows, cols), 1.0, w))

    def _null(
        self, rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared
    ) -> Float[Array, ...]:
        """c, of all pairs or of each."""
        if self.null == "screen":
            assert shared.null_constant is not None
            return shared.null_constant
        p, q = (jnp.sum(_frozen(side) ** 2, axis=1) for side in (rows, cols))
        # Two profiles at the controls' centre are equal, and no 0 / 0.
        return jnp.maximum(p[:, None] + q[None, :], jnp.finfo(jnp.float32).tiny)


def arctan_similarity(t: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """1 - (4/π) arctan(t) on [0, 1] in float32, to within 2e-7; exactly 1 at 0 and exactly 0 at 1.

    A similarity asks for no other argument, and without branches and divisions by cases this is an
    order of magnitude faster on a CPU than the general arctan, which would cost as much as a matrix
    product. Cephes' atanf: reduce to |u| <= tan(π/8), then an odd polynomial. The reduction is
    π/4 - arctan(t) = arctan((1 - t) / (1 + t)), so that what is left near t = 1 is no difference of
    two roundings: where 0 is meant, 1e-8 has another logarithm.
    """
    high = t > 0.41421356
    u = jnp.where(high, (1.0 - t) / (1.0 + t), t)
    s = u * u
    p = ((8.05374449538e-2 * s - 1.38776856032e-1) * s + 1.99777106478e-1) * s - 3.33329491539e-1
    part = (4.0 / jnp.pi) * (p * s * u + u)
    return jnp.where(high, part, 1.0 - part)


def arctan_on_host(t: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """`arctan_similarity` in NumPy, of any t from 0 on: below 0 beyond the null distance."""
    return 1.0 - 4.0 / np.pi * np.arctan(t)


def _frozen(side: blocks.Side) -> Float[Array, "n p"]:
    if side.profile is None:
        raise ValueError("this similarity is computed from profiles, and none were given")
    return jax.lax.stop_gradient(side.profile).astype(jnp.float32)


def _inverse_norm(p: Float[Array, "n p"]) -> Float[Array, " n"]:
    norm = jnp.linalg.norm(p, axis=1)
    return 1.0 / jnp.where(norm > 0.0, norm, jnp.inf)


def null_constant(
    profile: Float[np.ndarray, "n p"],
    perturbation: Shaped[np.ndarray, " n"],
    *,
    n_pairs: int = 100_000,
    seed: int = 0,
    literal: bool = False,
) -> float:
    """Median squared L2 distance over random pairs of different perturbations: c of S2L.

    "c is a constant indicating the median l2 distance between a null set of embeddings" (paper
    App. D.3). The numerator of the similarity is a squared distance, so c is read as the median
    *squared* distance, which puts w = 0 at the null median (docs/method.md §14, row 7).

    Args:
        profile: corrected profiles, not L2-normalised; of the training split only.
        perturbation: which perturbation each row is; pairs within one are not null pairs.
        n_pairs: random pairs drawn, with replacement.
        seed: of the draw; the same seed gives the same constant.
        literal: the median of the un-squared distance, as the paper's words say.

    Returns:
        c > 0, in the units of the profiles (squared, unless literal).

    Raises:
        ValueError: rows do not match, values are not finite, there is only one perturbation, or
            most null pairs are at distance 0 (then no similarity can be told from it).
    """
    squared, _ = _null_distances("null_constant", profile, perturbation, n_pairs, seed)
    constant = float(np.median(np.sqrt(squared) if literal else squared))
    if constant <= 0.0:
        raise ValueError(
            "null_constant: more than half of the null pairs have identical profiles; "
            "check that the profiles were corrected and averaged"
        )
    return constant


class SoftPositives(NamedTuple):
    """What S2L takes for similar among pairs of different perturbations.

    Attributes:
        threshold: k.
        share: Of the pairs, those with w >= k: soft positives.
        mean: Of w over all pairs, those below k being 0.
    """

    threshold: float
    share: float
    mean: float


def soft_positives(
    profile: Float[np.ndarray, "n p"],
    perturbation: Shaped[np.ndarray, " n"],
    *,
    share: float = 0.0,
    threshold: float = 0.0,
    null: Null = "screen",
    null_constant: float = 1.0,
    n_pairs: int = 400_000,
    seed: int = 0,
) -> SoftPositives:
    """How many pairs S2L takes for similar at some k, or the k at which a share of them is.

    How near the nearest pairs are depends on noise and on the number of features, so that a k that
    serves one screen leaves another without soft positives, or with hundreds a row. The share says
    what is wanted.

    Args:
        profile: As in `null_constant`.
        perturbation: As in `null_constant`.
        share: Of the pairs, in (0, 1): k is the quantile of w above which they lie; where fewer
            are nearer than the null distance, all of those are soft. 0: k is given.
        threshold: k, with share=0.
        null: As in `ArctanL2`.
        null_constant: c, for null="screen".
        n_pairs: Random pairs drawn, with replacement.
        seed: Of the draw.

    Raises:
        ValueError: As in `null_constant`; share is out of range.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"soft_positives: share must be in [0, 1), got {share}")
    squared, lengths = _null_distances("soft_positives", profile, perturbation, n_pairs, seed)
    c = null_constant if null == "screen" else np.maximum(lengths, np.finfo(np.float32).tiny)
    w = np.clip(arctan_on_host(squared / c), 0.0, 1.0)
    k = max(float(np.quantile(w, 1.0 - share)), _LEAST_W) if share else threshold
    above = (w >= k) & (w > 0.0)
    return SoftPositives(k, float(above.mean()), float(np.where(above, w, 0.0).mean()))


def _null_distances(
    who: str,
    profile: Float[np.ndarray, "n p"],
    perturbation: Shaped[np.ndarray, " n"],
    n_pairs: int,
    seed: int,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """|p - q|² and |p|² + |q|² of random pairs of different perturbations, drawn with replacement.

    Raises:
        ValueError: See `null_constant`.
    """
    profile = np.asarray(profile, dtype=np.float64)
    perturbation = np.asarray(perturbation)
    if profile.ndim != 2 or perturbation.shape != profile.shape[:1]:
        raise ValueError(
            f"{who}: profile has shape {profile.shape} and perturbation "
            f"{perturbation.shape}; expected [n, p] and [n]"
        )
    if not np.isfinite(profile).all():
        row = int(np.flatnonzero(~np.isfinite(profile).all(axis=1))[0])
        raise ValueError(f"{who}: profile row {row} has a NaN or infinite value")
    if n_pairs < 1:
        raise ValueError(f"{who}: n_pairs must be at least 1, got {n_pairs}")
    _, group = np.unique(perturbation, return_inverse=True)
    if group.size == 0 or group.max() == 0:
        raise ValueError(f"{who}: needs rows of at least two different perturbations")
    # The second row of a pair is drawn from the rows outside the first one's perturbation: with
    # rows sorted by perturbation these are all but one interval, which a cyclic shift steps over.
    order = np.argsort(group, kind="stable")
    size = np.bincount(group)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    rng = np.random.default_rng(seed)
    first = rng.integers(0, group.size, n_pairs)
    own = group[order[first]]
    steps = rng.integers(0, group.size - size[own])
    second = (start[own] + size[own] + steps) % group.size
    length = np.einsum("ij,ij->i", profile, profile)
    squared, lengths = np.empty(n_pairs), np.empty(n_pairs)
    for at in range(0, n_pairs, 4096):
        part = slice(at, at + 4096)
        i, j = order[first[part]], order[second[part]]
        difference = profile[i] - profile[j]
        squared[part] = np.einsum("ij,ij->i", difference, difference)
        lengths[part] = length[i] + length[j]
    return squared, lengths
