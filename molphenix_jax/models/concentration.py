"""Explicit concentration encodings at the molecule tower's input (paper guideline 3).

The paper names them (one-hot, log, sigmoid) and gives no constants; the readings are those of
docs/method.md §14 rows 20 and 21. Raw concentrations do not train ("compressed dynamic range") and
are not offered.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from molphenix_jax.parts import PartError, Parts, define, of_type, register

# Two doses within 5% are the same grid point: 3.3 and 3.33 µM, 0.62 and 0.63 µM.
SAME_DOSE_LOG10 = float(np.log10(1.05))
SIGMOID_CENTRE_UM = 1.0


@dataclasses.dataclass(frozen=True)
class ConcentrationSpec:
    """An encoding as a function.

    Attributes:
        encode: log10(µM) [n], and the constants of the training doses, to columns [n, k]; in JAX.
        new_doses: Whether a dose that training lacks gets columns of its own; where not, it counts
            as the nearest of the training doses, or not at all.
    """

    encode: Callable[[Array, "ConcentrationEncoding"], Array]
    new_doses: bool = True


CONCENTRATIONS: Parts[ConcentrationSpec] = define("concentration", of_type(ConcentrationSpec))


@dataclasses.dataclass(frozen=True)
class ConcentrationEncoding:
    """An encoding with the constants it took from the training concentrations.

    Attributes:
        kind: One of `CONCENTRATIONS`.
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
        if kind not in CONCENTRATIONS:
            raise ValueError(
                f"concentration encoding {kind!r} is unknown; choose one of "
                f"{', '.join(CONCENTRATIONS)}"
            )
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
        shape = jax.eval_shape(self, jax.ShapeDtypeStruct((2,), jnp.float32)).shape
        if len(shape) != 2 or shape[0] != 2:
            raise PartError(
                f"concentration {self.kind!r}: its encode gives {list(shape)} for two doses; it "
                "has to give a row of columns for each, [n, k]"
            )
        return shape[1]

    def __call__(self, concentration_um: Float[Array, " n"]) -> Float[Array, "n k"]:
        """Encodes concentrations in µM as [n, width].

        A dose outside the one-hot grid takes the column of the nearest one in log10 (§14 row 21
        leaves this open): `off_grid` tells which, for whoever evaluates them to say so.
        """
        log10 = jnp.log10(concentration_um.astype(jnp.float32))
        return CONCENTRATIONS[self.kind].encode(log10, self)

    def off_grid(self, concentration_um: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Doses in µM that training lacks, where such doses have no columns of their own."""
        told = CONCENTRATIONS[self.kind].new_doses or not self.width
        if told or not len(concentration_um):
            return np.zeros(len(concentration_um), bool)
        log10 = np.log10(np.asarray(concentration_um, np.float64))
        distance = np.abs(log10[:, None] - np.array(self.grid_log10)[None]).min(axis=1)
        return distance > SAME_DOSE_LOG10 + 1e-5  # slack for doses held as float32


def _none(log10: Float[Array, " n"], training: ConcentrationEncoding) -> Float[Array, "n 0"]:
    del training
    return jnp.zeros((log10.shape[0], 0), jnp.float32)


def _onehot(log10: Float[Array, " n"], training: ConcentrationEncoding) -> Float[Array, "n k"]:
    grid = jnp.asarray(training.grid_log10, jnp.float32)
    distance = jnp.abs(log10[:, None] - grid[None, :])
    return jax.nn.one_hot(jnp.argmin(distance, axis=1), grid.shape[0])


def _log(log10: Float[Array, " n"], training: ConcentrationEncoding) -> Float[Array, "n 1"]:
    return ((log10 - training.mean) / training.std)[:, None]


def _sigmoid(log10: Float[Array, " n"], training: ConcentrationEncoding) -> Float[Array, "n 1"]:
    del training
    return jax.nn.sigmoid(log10 - float(np.log10(SIGMOID_CENTRE_UM)))[:, None]


register("concentration", "none", ConcentrationSpec(_none, new_doses=False))
register("concentration", "onehot", ConcentrationSpec(_onehot, new_doses=False))
register("concentration", "log", ConcentrationSpec(_log))
register("concentration", "sigmoid", ConcentrationSpec(_sigmoid))
