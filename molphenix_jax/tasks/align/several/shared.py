"""What the models of several screens share: pure functions on their parameters.

Each screen has an ordinary model of two towers. Their molecule towers (and molecule encoders) are
one, but for rows of the first layer: the inputs that stand for a condition are of one screen alone,
those for a dose are shared by the screens that have it. The phenomic tower, the scale and the bias
of the logits are each screen's own.

    {"params": {"molecule_head": …, "screens": {NAME: {"phenomic_head": …, "log_scale", "bias"}}}}
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from molphenix_jax.models import CONCENTRATIONS, ConcentrationEncoding

OWN = ("phenomic_head", "log_scale", "bias")
SCREENS = "screens"
Rows = Int[np.ndarray, " k"]


def input_rows(labels: Mapping[str, Sequence[Hashable]]) -> dict[str, Rows]:
    """Where each input of each screen's molecule tower stands among those of all of them.

    Args:
        labels: What each input is, for each screen; what is equal is one.
    """
    place: dict[Hashable, int] = {}
    return {
        name: np.array([place.setdefault(label, len(place)) for label in of], np.int64)
        for name, of in labels.items()
    }


def joined(models: Mapping[str, Any], rows: Mapping[str, Rows]) -> Any:
    """The parameters of all screens from those of a model of each; the first one's are shared.

    Args:
        models: Parameters of the model of each screen.
        rows: From `input_rows`.
    """
    first = next(iter(models.values()))["params"]
    own = {name: {part: model["params"][part] for part in OWN} for name, model in models.items()}
    kernels = {name: _kernel(model["params"]) for name, model in models.items()}
    n = 1 + max(int(of.max()) for of in rows.values())
    kernel = jnp.zeros((n, next(iter(kernels.values())).shape[1]))
    for name in reversed(kernels):
        kernel = kernel.at[rows[name]].set(kernels[name])
    shared = {part: value for part, value in first.items() if part not in OWN}
    return {"params": {**_with_kernel(shared, kernel), SCREENS: own}}


def of_screen(params: Any, name: str, rows: Rows) -> Any:
    """The parameters of one screen's model.

    Args:
        params: From `joined`; leaves may have leading axes, as [members].
        name: Of the screen.
        rows: Of its inputs, from `input_rows`.
    """
    shared = {part: value for part, value in params["params"].items() if part != SCREENS}
    kernel = jnp.take(_kernel(shared), rows, axis=-2)
    return {"params": {**_with_kernel(shared, kernel), **params["params"][SCREENS][name]}}


def with_own(params: Any, models: Mapping[str, Any]) -> Any:
    """The parameters with what is each screen's own taken from models of theirs."""
    own = {name: {part: of["params"][part] for part in OWN} for name, of in models.items()}
    return {**params, "params": {**params["params"], SCREENS: own}}


def with_molecule_side(params: Any, model: Any, rows: Rows) -> Any:
    """The parameters with the molecule side of one screen's model.

    Args:
        params: From `joined`; leaves may have leading axes, as [members].
        model: Parameters of the screen's model.
        rows: Of its inputs, from `input_rows`; the others stay.
    """
    kernel = _kernel(params["params"]).at[..., rows, :].set(_kernel(model["params"]))
    shared = {part: value for part, value in model["params"].items() if part not in OWN}
    return {**params, "params": {**params["params"], **_with_kernel(shared, kernel)}}


def own_doses(
    together: ConcentrationEncoding, concentration_um: np.ndarray
) -> tuple[ConcentrationEncoding, list[Hashable]]:
    """The dose encoding of one of several screens, and what each of its columns stands for.

    Args:
        together: Fitted on the doses of all of them.
        concentration_um: The screen's training doses in µM.
    """
    grid = np.array(together.grid_log10)
    distance = np.abs(np.log10(concentration_um.astype(np.float64))[:, None] - grid[None, :])
    used = np.unique(distance.argmin(axis=1))
    own = ConcentrationEncoding(
        together.kind, tuple(grid[used].tolist()), together.mean, together.std
    )
    if by_dose(together):
        return own, [("dose", int(i)) for i in used]
    return own, [("dose column", i) for i in range(own.width)]


def by_dose(encoding: ConcentrationEncoding) -> bool:
    """Whether an encoding has a column for each training dose."""
    return not CONCENTRATIONS[encoding.kind].new_doses and encoding.width == len(
        encoding.grid_log10
    )


def _kernel(params: Mapping[str, Any]) -> Any:
    return params["molecule_head"]["project_in"]["kernel"]


def _with_kernel(params: Mapping[str, Any], kernel: Any) -> dict[str, Any]:
    head = params["molecule_head"]
    return {
        **params,
        "molecule_head": {**head, "project_in": {**head["project_in"], "kernel": kernel}},
    }
