"""Training batches as a pure function of (seed, step): unique perturbations, chosen replicates.

Nothing is iterated, so there is no iterator state to save: the position in the data is the step.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

Averaging = Literal["random", "full", "single"]
AVERAGING: tuple[str, ...] = get_args(Averaging)

# Streams of randomness: one key each, so that adding a stream disturbs no other.
_ORDER, _REPLICATES = 0, 1


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


@dataclasses.dataclass
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
        averaging: "random" draws n ~ U{1..R} replicates without replacement (SPEC §14 row 15),
            "single" one, "full" all (up to max_replicates).
        seed: Of order and replicate choice.
    """

    active: Int[np.ndarray, " a"]
    inactive: Int[np.ndarray, " i"]
    keep_inactive: float
    offsets: Int[np.ndarray, " p+1"]
    wells: Int[np.ndarray, " n"]
    batch_size: int
    max_replicates: int
    averaging: str
    seed: int
    _epoch: int = dataclasses.field(default=-1, init=False, repr=False)
    _visited: np.ndarray = dataclasses.field(
        default_factory=lambda: np.empty(0, np.int64), init=False, repr=False
    )

    @property
    def n_inactive_kept(self) -> int:
        """Inactive perturbations that one epoch visits."""
        return round(self.keep_inactive * len(self.inactive))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one epoch."""
        return (len(self.active) + self.n_inactive_kept) // self.batch_size

    def _rng(self, stream: int, index: int) -> np.random.Generator:
        key = np.random.SeedSequence([self.seed, stream, index])
        return np.random.Generator(np.random.Philox(key))

    def batch(self, step: int) -> Batch:
        """The batch of one step, the same whenever and wherever it is asked for."""
        epoch, position = divmod(step, self.steps_per_epoch)
        visited = self._order(epoch)
        chosen = visited[position * self.batch_size : (position + 1) * self.batch_size]
        replicate, weight = self._replicates(chosen, self._rng(_REPLICATES, step))
        return Batch(chosen.astype(np.int32), replicate, weight)

    def _order(self, epoch: int) -> Int[np.ndarray, " e"]:
        """The perturbations of an epoch in order; the newest epoch is remembered."""
        if epoch != self._epoch:
            rng = self._rng(_ORDER, epoch)
            kept = rng.choice(self.inactive, self.n_inactive_kept, replace=False)
            self._visited = rng.permutation(np.concatenate([self.active, kept]))
            self._epoch = epoch
        return self._visited

    def _replicates(
        self, chosen: Int[np.ndarray, " b"], rng: np.random.Generator
    ) -> tuple[Int[np.ndarray, "b r"], Float[np.ndarray, "b r"]]:
        """Draws without replacement: a random order of all replicates, of which n count."""
        available = self.offsets[chosen + 1] - self.offsets[chosen]
        width = int((self.offsets[1:] - self.offsets[:-1]).max())
        key = rng.random((len(chosen), width))
        key[np.arange(width)[None, :] >= available[:, None]] = np.inf
        r = min(width, self.max_replicates)
        slot = np.argsort(key, axis=1)[:, :r]
        most = np.minimum(available, r)
        if self.averaging == "full":
            n = most
        elif self.averaging == "single":
            n = np.ones_like(most)
        else:
            n = rng.integers(1, most + 1)
        used = np.arange(r)[None, :] < n[:, None]
        rows = self.wells[self.offsets[chosen][:, None] + np.where(used, slot, 0)]
        return rows.astype(np.int32), (used / n[:, None]).astype(np.float32)
