"""What a run takes for similar: directions, null constant, threshold, and how many pairs pass."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from molphenix_jax import losses
from molphenix_jax.losses import blocks, similarity
from molphenix_jax.phenomics.replicable import ReplicableError, replicable_axes
from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.screen import Screen, replicate_rows
from molphenix_jax.screens.splits import Split
from molphenix_jax.tasks.align.config import loss_options
from molphenix_jax.tasks.align.training.assets import SimilarAssets

SOFT_POSITIVES = "soft_positives"  # metric: in a row of a batch
# Rows and columns of a batch whose soft positives are counted for the metrics.
_LOOKED_AT = 256


@dataclasses.dataclass(frozen=True)
class Similar:
    """What w of a run is computed with; fitted on its training pairs.

    Attributes:
        axes: Profiles times these are what distances and angles are taken of [d, r]; None: they are
            taken of profiles as they are.
        null_constant: c.
        options: Of the loss, k as it was chosen.
        soft: How many pairs are soft positives; of S2L alone.
        chosen: Whether k was chosen so that a share of the pairs passes it.
        notes: What is said of it when a run begins, in sentences.
    """

    axes: Float[np.ndarray, "d r"] | None
    null_constant: float
    options: Mapping[str, Any]
    soft: losses.SoftPositives | None
    chosen: bool
    notes: tuple[str, ...]

    def coordinates(self, profile: Float[Array, "k d"]) -> Float[Array, "k r"]:
        """What w is computed from, of profiles; jitted."""
        if self.axes is None:
            return profile
        return jnp.matmul(profile, self.axes, precision=jax.lax.Precision.HIGHEST)

    def soft_in_row(self, coordinates: Float[Array, "k r"]) -> Float[Array, ""]:
        """Soft positives in a row of a batch, in the mean of its first rows and columns; jitted.

        Args:
            coordinates: Of the batch, from `coordinates`; of S2L.
        """
        n = len(coordinates)
        few = coordinates[:_LOOKED_AT]
        side = blocks.Side(few, few, jnp.arange(len(few)), jnp.ones(len(few), bool))
        zero = jnp.zeros(())
        shared = blocks.Shared(zero, zero, jnp.float32(self.null_constant), few.mean(axis=0))
        w = similarity.ArctanL2(self.options["threshold"], self.options["null"])(side, side, shared)
        beside = jnp.sum(w > 0.0) - len(few)
        return beside * (n - 1) / (len(few) * max(len(few) - 1, 1))

    def stored(self, width: int) -> np.ndarray | SimilarAssets:
        """As a checkpoint keeps it; `width` is that of a profile."""
        constant = np.asarray(self.null_constant, np.float32)
        share = self.soft is not None and self.chosen
        if self.axes is None and not share:
            return constant
        axes = np.zeros((0, 0), np.float32)
        if self.axes is not None:
            # Of one shape, however many there are: a checkpoint is read by shapes.
            axes = np.zeros((width, width), np.float32)
            axes[:, : self.axes.shape[1]] = self.axes
        return SimilarAssets(constant, axes, np.asarray(self.soft if share else (), np.float32))

    def taken(self, stored: np.ndarray | SimilarAssets) -> "Similar":
        """With what a checkpoint, or the first process, has of it."""
        if not isinstance(stored, SimilarAssets):
            return dataclasses.replace(self, null_constant=float(stored))
        axes, soft, options = None, self.soft, self.options
        if stored.axes.size:
            axes = stored.axes[:, np.any(stored.axes != 0.0, axis=0)]
        if stored.soft.size:
            soft = losses.SoftPositives(*map(float, stored.soft))
            options = {**options, "threshold": soft.threshold}
        constant = float(stored.constant)
        return dataclasses.replace(
            self, axes=axes, null_constant=constant, soft=soft, options=options
        )


def fit_similar(
    config: Config,
    screen: Screen,
    split: Split,
    pairs: Int[np.ndarray, " k"],
    profile: Float[np.ndarray, "k d"],
    *,
    batch_rows: int,
) -> Similar:
    """Fits what w needs.

    Args:
        config: Of the run.
        screen: What is learned.
        split: Says which wells training may see.
        pairs: Perturbations that it may visit.
        profile: Their training profiles.
        batch_rows: Of a batch.

    """
    loss, options, notes = config.loss, loss_options(config), []
    compares = losses.LOSSES[loss.name].compares_w
    axes = None
    if compares and loss.replicate_correlation > 0.0:
        axes, told = _axes(screen, ~split.withheld, pairs, loss.replicate_correlation)
        notes.append(told)
    profile = profile if axes is None else profile @ axes
    c = losses.null_constant(
        profile,
        pairs,
        n_pairs=100_000,
        seed=config.seed,
        literal=loss.null_constant == "literal",
    )
    if loss.name != "s2l":  # a loss from outside may mean something else by its options
        return Similar(axes, c, options, None, False, tuple(notes))
    soft = losses.soft_positives(
        profile,
        pairs,
        share=loss.soft_share,
        threshold=options["threshold"],
        null=options["null"],
        null_constant=c,
        n_pairs=400_000 if loss.soft_share else 100_000,
        seed=config.seed,
    )
    notes.append(
        f"{loss.name}: at k = {soft.threshold:.3f}, {soft.share:.2%} of the pairs of different "
        f"perturbations are soft positives, {soft.share * (batch_rows - 1):.2g} in a row of "
        f"{batch_rows:,}; the mean target is {mean_target(soft.mean, batch_rows):.4f}, "
        f"{1 / batch_rows:.4f} without them"
    )
    options = {**options, "threshold": soft.threshold}
    return Similar(axes, c, options, soft, bool(loss.soft_share), tuple(notes))


def mean_target(mean: float, rows: int) -> float:
    """The mean of w over a batch, its diagonal of ones counted.

    Args:
        mean: Of w beside the diagonal.
        rows: Of the batch.
    """
    return (1.0 + (rows - 1) * mean) / rows


def first_bias(config: Config, similar: Similar, *, batch_rows: int) -> float:
    """Where the bias starts: what the config says, or 0 there: the logit of the mean target.

    A sigmoid that starts there (open_clip #650) has not to unlearn a bias first. With soft
    positives by `loss.soft_share` their part of the mean counts, and γ and ζ: one answer p for all
    pairs is best at p = w / (w + γ - ζ w), w being the mean target.
    """
    if config.model.bias_init:
        return config.model.bias_init
    if not (similar.soft and config.loss.soft_share):
        return -float(np.log(batch_rows - 1))
    target = mean_target(similar.soft.mean, batch_rows)
    options = similar.options
    return float(np.log(target / (options["gamma"] - options["zeta"] * target)))


def _axes(
    screen: Screen, seen: np.ndarray, pairs: Int[np.ndarray, " k"], correlation: float
) -> tuple[Float[np.ndarray, "d r"] | None, str]:
    """The directions that wells of the pairs agree on, None where there are none; in words."""
    wells, of_pair = replicate_rows(screen.offsets, pairs)
    wells, of_pair = wells[seen[wells]], of_pair[seen[wells]]
    field = f"loss.replicate_correlation={correlation:g}"
    try:
        axes, found = replicable_axes(screen.replicates[wells], of_pair, correlation=correlation)
    except ReplicableError as error:
        return None, f"similarity is that of profiles as they are: {error} ({field})"
    return axes.astype(np.float32), (
        f"similarity of profiles is taken along the {len(found)} of {screen.width} directions in "
        f"which two wells of a perturbation correlate by {found[-1]:.2f} to {found[0]:.2f} "
        f"({field})"
    )
