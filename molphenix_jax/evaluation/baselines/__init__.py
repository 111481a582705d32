"""What stands beside a model in every table: baselines that know structure and dose, and controls.

A baseline is a function from `BaselineData` to a `Prediction`; `structure` has those that predict
profiles from molecules, `controls` those that ask what could be found without chemistry.
"""

from collections.abc import Callable

import numpy as np

from molphenix_jax.evaluation.baselines.controls import (
    CONTROLS,
    cell_count,
    dose_only,
    magnitude,
    source_only,
)
from molphenix_jax.evaluation.baselines.data import (
    BaselineData,
    LeftOut,
    Observed,
    Prediction,
    Space,
)
from molphenix_jax.evaluation.baselines.structure import embedded, knn, physchem, ridge
from molphenix_jax.parts import PartError, Parts, define, function_of, register

__all__ = [
    "BASELINES",
    "CONTROL_NAMES",
    "UNTRAINED",
    "BaselineData",
    "LeftOut",
    "Observed",
    "Prediction",
    "Space",
    "cell_count",
    "dose_only",
    "embedded",
    "knn",
    "magnitude",
    "physchem",
    "predict",
    "ridge",
    "source_only",
]

# The model before its first update. It is no function of `BaselineData`, but named like one.
UNTRAINED = "untrained"

# Every baseline, by its name in ``evaluation.json``.
BASELINES: Parts[Callable[[BaselineData], Prediction]] = define(
    "baseline",
    function_of("data", gives="a Prediction"),
    reserved=("molphenix", "chance", "oracle", UNTRAINED),
)
for _baseline in (knn, ridge, physchem, embedded, *CONTROLS):
    register("baseline", _baseline.__name__, _baseline)
# Those that know no chemistry, or are no method at all; tables have them below the others.
CONTROL_NAMES = (*(control.__name__ for control in CONTROLS), UNTRAINED)


def predict(name: str, data: BaselineData) -> Prediction:
    """What the baseline of a name predicts.

    Raises:
        LeftOut: There is nothing to make it of.
        PartError: It gives something else than a profile for each test perturbation.
    """
    prediction = BASELINES[name](data)
    wanted = (len(data.test_log_dose), data.train_profile.shape[1])
    if isinstance(prediction, Prediction) and prediction.looked_for is not None:
        wanted = (wanted[0], *np.shape(prediction.profile)[1:])
    if not isinstance(prediction, Prediction) or np.shape(prediction.profile) != wanted:
        raise PartError(
            f"baseline {name!r} has to give a Prediction with a profile {list(wanted)}, got "
            f"{getattr(prediction, 'profile', prediction)!r:.80}"
        )
    return prediction
