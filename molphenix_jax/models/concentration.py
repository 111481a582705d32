"""Explicit concentration encodings at the molecule tower's input (paper guideline 3).

The paper names them (one-hot, log, sigmoid) and gives no constants; the readings are those of
docs/method.md §14 rows 20 and 21. Raw concentrations do not train ("compressed dynamic range") and
are not offered.
"""

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Kind = Literal["none", "onehot", "log", "sigmoid"]
KINDS: tuple[str, ...] = get_args(Kind)

# Two doses within 5% are the same grid point: 3.3 and 3.33 µM, 0.62 and 0.63 µM.
SAME_DOSE_LOG10 = float(np.log10(1.05))
SIGMOID_CENTRE_UM = 1.0


@dataclasses.dataclass(frozen=True)
class ConcentrationEncoding:
    """An encoding with the constants it took from the training concentrations.

    Attributes:
        kind: One of `KINDS`.
        grid_log10: Training doses as log10(µM), ascending, near-equal ones merged.
        mean: Mean of log10(µM) over training perturbations.
        std: Standard deviation of the same; 1 where a screen has a single dose.
    """

    kind: str
    grid_log10: tuple[float, ...]
    mean: float
    std: float

    @classmethod
    def fit(
        cls, concentration_um: Float[np.ndarray, " n"], *, kind: str
    ) -> "ConcentrationEncoding":
        """Takes the dose grid and the log-dose statistics from training concentrations (µM, > 0).

        Raises:
            ValueError: An unknown kind, or a concentration that is not positive.
        """
        if kind not in KINDS:
            raise ValueError(f"concentration encoding {kind!r} is unknown; choose one of {KINDS}")
        concentration_um = np.asarray(concentration_um, np.float64)
        if not (concentration_um > 0).all():
            raise ValueError("treated concentrations must be above 0 µM to be encoded")
        log10 = np.log10(concentration_um)
        grid: list[float] = []
        for dose in np.unique(log10):
            if not grid or dose - grid[-1] > SAME_DOSE_LOG10:
                grid.append(float(dose))
        std = float(log10.std())
        return cls(kind, tuple(grid), float(log10.mean()), std if std > 1e-6 else 1.0)

    @property
    def width(self) -> int:
        """Number of columns of the encoding."""
        return {"none": 0, "onehot": len(self.grid_log10), "log": 1, "sigmoid": 1}[self.kind]

    def __call__(self, concentration_um: Float[Array, " n"]) -> Float[Array, "n k"]:
        """Encodes concentrations in µM as [n, width].

        A dose outside the one-hot grid takes the column of the nearest one in log10 (§14 row 21
        leaves this open): `off_grid` tells which, for whoever evaluates them to say so.
        """
        n = concentration_um.shape[0]
        if self.kind == "none":
            return jnp.zeros((n, 0), jnp.float32)
        log10 = jnp.log10(concentration_um.astype(jnp.float32))
        if self.kind == "onehot":
            grid = jnp.asarray(self.grid_log10, jnp.float32)
            distance = jnp.abs(log10[:, None] - grid[None, :])
            return jax.nn.one_hot(jnp.argmin(distance, axis=1), grid.shape[0])
        if self.kind == "log":
            return ((log10 - self.mean) / self.std)[:, None]
        return jax.nn.sigmoid(log10 - float(np.log10(SIGMOID_CENTRE_UM)))[:, None]

    def off_grid(self, concentration_um: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Doses in µM for which a one-hot has no column of their own; none in other encodings."""
        if self.kind != "onehot" or not len(concentration_um):
            return np.zeros(len(concentration_um), bool)
        log10 = np.log10(np.asarray(concentration_um, np.float64))
        distance = np.abs(log10[:, None] - np.array(self.grid_log10)[None]).min(axis=1)
        return distance > SAME_DOSE_LOG10 + 1e-5  # slack for doses held as float32
