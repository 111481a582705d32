"""Training batches as a pure function of (seed, step, index): unique perturbations, replicates.

Nothing is iterated, so there is no iterator state to save: the position in the data is the step.
Every number of a batch's row i is computed from the seed, the step and i alone, in time that does
not grow with the screen, so that each of any number of hosts computes just its own rows of the
same batch.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

Averaging = Literal["random", "full", "single"]
AVERAGING: tuple[str, ...] = get_args(Averaging)

# Streams of randomness: one key each, so that adding a stream disturbs no other.
_ORDER, _INACTIVE, _REPLICATES, _COUNT = 0, 1, 2, 3

# Mixing rounds of `permute`; four would do for large sets (Luby and Rackoff), small ones need more.
_ROUNDS = 12


class Batch(NamedTuple):
    """Indices of one batch: b perturbations with up to r replicates each.

    The input of perturbation i is the sum over j of weight[i, j] · replicates[replicate[i, j]].
    """

    perturbation: Int[np.ndarray, " b"]
    replicate: Int[np.ndarray, "b r"]
    weight: Float[np.ndarray, "b r"]


def undersample(
    p_value: Float[np.ndarray, " n"], *, psi: float, undefined: Literal["active", "inactive"]
) -> Bool[np.ndarray, " n"]:
    """Active perturbations: p ≤ ψ (paper guideline 2); undefined p-values count as configured."""
    return np.where(np.isnan(p_value), undefined == "active", p_value <= psi)


def random_bits(*parts: int | np.ndarray) -> UInt64[np.ndarray, "..."]:
    """64 random bits as a function of all parts, which broadcast (SplitMix64, Steele et al. 2014).

    numpy's generators draw in sequence; this one is asked for any number by its coordinates.
    """
    bits = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        for part in parts:
            bits = (bits ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits = bits ^ (bits >> np.uint64(31))
    return bits


def uniform(*parts: int | np.ndarray) -> Float[np.ndarray, "..."]:
    """Numbers in [0, 1) as a function of all parts, which broadcast."""
    return (random_bits(*parts) >> np.uint64(11)) * 2.0**-53


def permute(index: Int[np.ndarray, " n"], size: int, *key: int) -> Int[np.ndarray, " n"]:
    """Where a random permutation of 0..size-1 takes each index, without making the permutation.

    A Feistel network on pairs (high, low) of digits, whose few values beyond `size` are permuted
    again until they fall inside. grain.experimental.index_shuffle does the same for one index a
    call, which at 65,536 pairs a step takes longer than a GPU's step.

    Args:
        index: In 0..size-1.
        size: Number of elements.
        key: Numbers that the permutation depends on.
    """
    n_low = int(np.ceil(np.sqrt(size)))
    n_high = -(-size // n_low)
    result = np.array(index, np.int64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        high, low = np.divmod(result[outside], n_low)
        for turn in range(0, _ROUNDS, 2):
            high = (high + _below(n_high, *key, turn, low)) % n_high
            low = (low + _below(n_low, *key, turn + 1, high)) % n_low
        result[outside] = high * n_low + low
        outside = result >= size
    return result


def _below(size: int, *parts: int | np.ndarray) -> Int[np.ndarray, "..."]:
    return (random_bits(*parts) % np.uint64(size)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws batches of unique training perturbations.

    Each epoch passes once, in a new order, over the active perturbations and over a new random
    share `keep_inactive` of the inactive ones. A last batch that is not full is left to the next
    epoch's order.

    Attributes:
        active: Perturbation ids that every epoch visits.
        inactive: Perturbation ids of which every epoch visits a share.
        keep_inactive: That share, 0 (the paper's hard filter) to 1.
        offsets: Replicate rows of perturbation i are wells[offsets[i]:offsets[i + 1]].
        wells: Rows of the replicate table that training may see.
        batch_size: Perturbations per batch.
        max_replicates: At most so many replicates are averaged in one step.
        averaging: "random" draws n ~ U{1..R} replicates without replacement, "single" one, "full"
            all, up to max_replicates (docs/method.md §14 row 15).
        seed: Of order and replicate choice.
    """

    active: Int[np.ndarray, " a"]
    inactive: Int[np.ndarray, " i"]
    keep_inactive: float
    offsets: Int[np.ndarray, " bounds"]
    wells: Int[np.ndarray, " n"]
    batch_size: int
    max_replicates: int
    averaging: str
    seed: int

    @property
    def n_inactive_kept(self) -> int:
        """Inactive perturbations that one epoch visits."""
        return round(self.keep_inactive * len(self.inactive))

    @property
    def pairs_per_epoch(self) -> int:
        """Perturbations that one epoch visits."""
        return len(self.active) + self.n_inactive_kept

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one epoch."""
        return self.pairs_per_epoch // self.batch_size

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> Batch:
        """The batch of one step, the same whenever and wherever it is asked for.

        Args:
            step: Updates done before it.
            rows: Which rows of the batch are wanted, as a host of several does; None means all.
        """
        rows = np.arange(self.batch_size) if rows is None else rows
        epoch, position = divmod(step, self.steps_per_epoch)
        visited = self._visited(epoch, position * self.batch_size + rows)
        replicate, weight = self._replicates(visited, step, rows)
        return Batch(visited.astype(np.int32), replicate, weight)

    def _visited(self, epoch: int, place: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """The perturbations at some places of an epoch's order."""
        n_active = len(self.active)
        at = permute(place, self.pairs_per_epoch, self.seed, _ORDER, epoch)
        result = np.empty(len(at), np.int64)
        is_active = at < n_active
        result[is_active] = self.active[at[is_active]]
        # The first of a new order of all inactive ones: another share of them in every epoch.
        among = permute(
            at[~is_active] - n_active, max(len(self.inactive), 1), self.seed, _INACTIVE, epoch
        )
        result[~is_active] = self.inactive[among]
        return result

    def _replicates(
        self, chosen: Int[np.ndarray, " k"], step: int, rows: Int[np.ndarray, " k"]
    ) -> tuple[Int[np.ndarray, "k r"], Float[np.ndarray, "k r"]]:
        """Draws without replacement: a random order of all replicates, of which n count."""
        available = self.offsets[chosen + 1] - self.offsets[chosen]
        r = min(int((self.offsets[1:] - self.offsets[:-1]).max()), self.max_replicates)
        width = max(int(available.max(initial=0)), r)
        slots = np.arange(width)
        key = uniform(self.seed, _REPLICATES, step, rows[:, None], slots[None, :])
        key[slots[None, :] >= available[:, None]] = np.inf
        slot = np.argsort(key, axis=1)[:, :r]
        most = np.minimum(available, r)
        if self.averaging == "full":
            n = most
        elif self.averaging == "single":
            n = np.ones_like(most)
        else:
            n = 1 + np.floor(uniform(self.seed, _COUNT, step, rows) * most).astype(np.int64)
        used = np.arange(r)[None, :] < n[:, None]
        replicate = self.wells[self.offsets[chosen][:, None] + np.where(used, slot, 0)]
        return replicate.astype(np.int32), (used / n[:, None]).astype(np.float32)
