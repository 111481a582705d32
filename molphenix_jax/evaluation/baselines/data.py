"""What baselines are told of the perturbations of one fold, and what they answer."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from molphenix_jax.evaluation.protocol import Compared, Ties

_COLUMNS = ("bits", "physchem", "log_dose", "condition", "profile")
_OPTIONAL = ("cell_count", "source", "embedding")
_FINITE = ("log_dose", "condition", "profile", "embedding")


class LeftOut(Exception):
    """A baseline that there is nothing to make of here; the message says why."""


class Observed(NamedTuple):
    """What was measured of the perturbations that search, one row each.

    Attributes:
        profile: mean corrected profile.
        cell_count: mean number of cells in its wells; NaN where unknown, None where no column has
            it.
        source: share of its wells in each source (`BaselineData.test_source`), None where unknown.
    """

    profile: Float[np.ndarray, "m d"]
    cell_count: Float[np.ndarray, "m"] | None = None
    source: Float[np.ndarray, "m s"] | None = None


@dataclasses.dataclass(frozen=True)
class BaselineData:
    """Training, validation and test perturbations of one fold, one row each.

    Attributes:
        train_bits: fingerprint bits, 0 or 1.
        train_physchem: physico-chemical descriptors; a non-finite entry is replaced by its mean.
        train_log_dose: log10 of the concentration in µM.
        train_condition: one-hot over the levels of each column that tells conditions, side by
            side; no columns where there is one condition.
        train_profile: mean corrected profile.
        validation_bits: as for training; the validation rows choose the hyper-parameters.
        validation_physchem: as for training.
        validation_log_dose: as for training.
        validation_condition: as for training.
        validation_profile: as for training.
        test_bits: the candidates of the evaluated split.
        test_physchem: as for training.
        test_log_dose: as for training.
        test_condition: as for training.
        train_cell_count: mean number of cells in the wells of each, in any unit; NaN where unknown,
            None where no column has it.
        validation_cell_count: as for training.
        test_source: share of the wells of each candidate in each source (campaign, batch), which no
            model is told; None where there is one source.
        train_embedding: what the model is told of molecules beside bits and descriptors, MiniMol's
            fingerprints for one; None where that is nothing.
        validation_embedding: as for training.
        test_embedding: as for training.
    """

    train_bits: UInt8[np.ndarray, "n b"]
    train_physchem: Float[np.ndarray, "n p"]
    train_log_dose: Float[np.ndarray, "n"]
    train_condition: Float[np.ndarray, "n c"]
    train_profile: Float[np.ndarray, "n d"]
    validation_bits: UInt8[np.ndarray, "v b"]
    validation_physchem: Float[np.ndarray, "v p"]
    validation_log_dose: Float[np.ndarray, "v"]
    validation_condition: Float[np.ndarray, "v c"]
    validation_profile: Float[np.ndarray, "v d"]
    test_bits: UInt8[np.ndarray, "m b"]
    test_physchem: Float[np.ndarray, "m p"]
    test_log_dose: Float[np.ndarray, "m"]
    test_condition: Float[np.ndarray, "m c"]
    train_cell_count: Float[np.ndarray, "n"] | None = None
    validation_cell_count: Float[np.ndarray, "v"] | None = None
    test_source: Float[np.ndarray, "m s"] | None = None
    train_embedding: Float[np.ndarray, "n w"] | None = None
    validation_embedding: Float[np.ndarray, "v w"] | None = None
    test_embedding: Float[np.ndarray, "m w"] | None = None
    _made: dict[str, Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self):
        for part, least in (("train", 2), ("validation", 2), ("test", 1)):
            n = len(getattr(self, f"{part}_log_dose"))
            if n < least:
                raise ValueError(f"baselines need at least {least} {part} perturbations, got {n}")
            for name in (*_COLUMNS, *_OPTIONAL):
                values = getattr(self, f"{part}_{name}", None)
                if values is None:
                    continue
                if len(values) != n:
                    raise ValueError(f"{part}_{name} has {len(values)} rows, {part}_log_dose {n}")
                if name in _FINITE and not np.isfinite(values).all():
                    raise ValueError(
                        f"{part}_{name} holds NaN or infinite values; a control of 0 µM has no log "
                        "dose and does not belong here"
                    )
        if self.train_bits.max(initial=0) > 1:
            raise ValueError("train_bits must be 0 or 1; counts or packed bytes are not supported")

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several baselines need, made by the first of them."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


@dataclasses.dataclass(frozen=True)
class Space:
    """Where predicted and observed profiles are compared; learnt from the training profiles.

    Attributes:
        name: for the record.
        centre: subtracted first, [d].
        scale: divides after that, [d].
        axes: directions onto which the result is turned, [d, r]; None leaves it as it is.
    """

    name: str
    centre: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    axes: Float[np.ndarray, "d r"] | None = None

    def of(self, profile: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
        """The profiles in this space."""
        scaled = (np.asarray(profile, np.float64) - self.centre[None]) / self.scale[None]
        return scaled if self.axes is None else scaled @ self.axes


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predicted profiles of the test perturbations, or something else that can be looked for.

    Attributes:
        profile: predicted profile of each test perturbation, [m, d]; with ``looked_for`` rows of
            whatever that gives.
        space: where to compare them with observed ones, chosen on validation; as they are if not
            given.
        settings: everything that was chosen on validation, for the record.
        looked_for: what of the observed perturbations the rows are compared with, by Euclidean
            distance; None for their profiles, by cosine. It gives None where nothing was observed.
        ties: as of ``Compared``.
    """

    profile: Float[np.ndarray, "m d"]
    space: Space = Space("observed", np.zeros(1), np.ones(1))
    settings: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    looked_for: Callable[[Observed], Float[np.ndarray, "m e"] | None] | None = None
    ties: Ties = "against"

    def of_rows(self, rows: slice) -> "Prediction":
        """The prediction of some of the perturbations."""
        return dataclasses.replace(self, profile=self.profile[rows])

    def against(self, observed: Observed | Float[np.ndarray, "m d"]) -> Compared | None:
        """Observed and predicted rows as ``protocol.evaluate`` takes them.

        None where what is looked for was not observed. An array stands for profiles alone.
        """
        if not isinstance(observed, Observed):
            observed = Observed(observed)
        if self.looked_for is None:
            query = self.space.of(observed.profile)
            return Compared(query, self.space.of(self.profile), "cosine", self.ties)
        query = self.looked_for(observed)
        return None if query is None else Compared(query, self.profile, "euclidean", self.ties)
