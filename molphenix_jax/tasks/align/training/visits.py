"""What a run trains on: the pairs of a split that its filter lets through, and their batches."""

import dataclasses

import numpy as np
from jaxtyping import Int

from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.sampling import Sampler, undersample
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.splits import Split
from molphenix_jax.tasks.align.config import split_rule
from molphenix_jax.wells.conditions.values import listed_levels


@dataclasses.dataclass(frozen=True)
class Visits:
    """The training pairs of one split.

    Attributes:
        pairs: Those that training may visit at all: all of them where inactive ones are kept.
        inactive: Those whose p-value is above ψ.
        sampler: Makes the batches.
    """

    pairs: Int[np.ndarray, " k"]
    inactive: Int[np.ndarray, " i"]
    sampler: Sampler


def make_visits(config: Config, screen: Screen, split: Split, n_devices: int) -> Visits:
    """The training pairs of a split that pass `data.psi`, in batches that devices can share.

    Raises:
        ScreenError: Fewer than two for each device are left.
    """
    d = config.data
    seen = undersample(screen.p_value[split.train], psi=d.psi, undefined=d.undefined_p)
    active, inactive = split.train[seen], split.train[~seen]
    n_kept = len(active) + round(d.keep_inactive * len(inactive))
    if n_kept < 2 * n_devices:
        raise ScreenError(
            f"{n_kept} of {len(split.train)} training pairs are left at p ≤ {d.psi}; raise "
            "data.psi (1 keeps all) or data.keep_inactive, or set data.undefined_p=active"
        )
    batch_size = min(config.train.batch_size, n_kept)
    batch_size -= batch_size % n_devices
    wells = np.flatnonzero(~split.withheld)
    counts = np.bincount(screen.perturbation_of_replicate[wells], minlength=screen.n_perturbations)
    sampler = Sampler(
        active=active,
        inactive=inactive,
        keep_inactive=d.keep_inactive,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        wells=wells,
        batch_size=batch_size,
        max_replicates=d.max_replicates,
        averaging=d.averaging,
        seed=config.seed,
    )
    return Visits(split.train if d.keep_inactive > 0 else active, inactive, sampler)


def describe_visits(
    visits: Visits, config: Config, screen: Screen, split: Split
) -> tuple[str, ...]:
    """What a split holds and what the activity filter did, in sentences."""
    d = config.data
    n_molecules = lambda ids: len(np.unique(screen.molecule[ids]))  # noqa: E731
    notes = [
        f"split by {split_rule(config)}: {len(split.train):,} training pairs "
        f"({n_molecules(split.train):,} molecules), {len(split.validation):,} validation "
        f"({n_molecules(split.validation):,}), {len(split.test):,} of unseen molecules "
        f"({n_molecules(split.test):,})"
    ]
    if d.shuffle_pairs:
        notes.append(
            "control: training perturbations have each other's molecules and doses "
            "(data.shuffle_pairs); recall of unseen molecules has to be chance"
        )
    undefined = int(np.isnan(screen.p_value[split.train]).sum())
    for name, levels in screen.conditions.levels.items():
        notes.append(
            f"the molecule side is told {name}, one-hot over {listed_levels(name, levels)}"
        )
    untrained = np.bincount(screen.condition[split.train], minlength=len(screen.conditions))
    if not untrained.all():
        named = [screen.conditions.labels[c] for c in np.flatnonzero(untrained == 0)[:5]]
        notes.append(
            f"no training pair is of {'; '.join(named)}: what the model says there is extrapolated"
        )
    if undefined:
        notes.append(
            f"{undefined:,} training pairs have no p-value and count as {d.undefined_p} "
            "(data.undefined_p)"
        )
    if len(visits.inactive):
        notes.append(
            f"{len(visits.inactive):,} training pairs are inactive (p > {d.psi:g}); each epoch "
            f"visits {d.keep_inactive:.0%} of them"
        )
    if visits.sampler.batch_size < config.train.batch_size:
        notes.append(
            f"batches hold {visits.sampler.batch_size:,} pairs, fewer than train.batch_size="
            f"{config.train.batch_size:,}: that is all there are"
        )
    return tuple(notes)
