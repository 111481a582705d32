"""What stands beside a property model, always: linear and boosted models on plain descriptors."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

# Inverse regularisation of the logistic regressions and regularisation of the ridges; the one that
# is best on the validation molecules is taken.
_INVERSE_STRENGTHS = (0.001, 0.01, 0.1)
_STRENGTHS = (1.0, 100.0, 10_000.0)
# Standard deviations that a descriptor is limited to.
_CLIP_SD = 5.0

Fit = Callable[..., Float[np.ndarray, " t"]]

# Name → feature block (of molecules.FINGERPRINTS), whether the model is boosted trees.
PROPERTY_BASELINES: dict[str, tuple[str, bool]] = {
    "morgan_linear": ("morgan", False),
    "physchem_linear": ("physchem", False),
    "physchem_trees": ("physchem", True),
}


def predict_property(
    name: str,
    *,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: np.ndarray,
    binary: bool,
    score: Callable[[np.ndarray, np.ndarray], float],
    seed: int,
) -> Float[np.ndarray, " t"]:
    """Predictions of a baseline for the test molecules.

    Args:
        name: A key of `PROPERTY_BASELINES`.
        train: Features [n, k] and labels [n], none missing.
        validation: The same; chooses the regularisation, or when the trees stop.
        test: Features [t, k].
        binary: Whether labels are 0 and 1: logistic regression, else ridge.
        score: Metric of (label, prediction), larger is better.
        seed: Of the trees.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    block, trees = PROPERTY_BASELINES[name]
    if trees:
        return _trees(train, validation, test, binary, score, seed)
    if block == "morgan":
        x: list = [csr_array(part.astype(np.float32)) for part in (train[0], validation[0], test)]
    else:
        scaler = StandardScaler().fit(train[0])
        clip = lambda part: np.clip(scaler.transform(part), -_CLIP_SD, _CLIP_SD)  # noqa: E731
        x = [clip(part) for part in (train[0], validation[0], test)]
    best, chosen = -np.inf, np.zeros(len(test))
    for strength in _INVERSE_STRENGTHS if binary else _STRENGTHS:
        if binary:
            model = LogisticRegression(C=strength, max_iter=300).fit(x[0], train[1])
            predict = model.decision_function
        else:
            model = Ridge(strength).fit(x[0], train[1])
            predict = model.predict
        reached = score(validation[1], predict(x[1]))
        if reached > best:
            best, chosen = reached, predict(x[2])
    return chosen


def _trees(train, validation, test, binary, score, seed):
    """Boosted trees; the learning rate is chosen on the validation molecules."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
    best, chosen = -np.inf, np.zeros(len(test))
    for rate in (0.03, 0.1):
        model = kind(max_iter=200, learning_rate=rate, random_state=seed).fit(*train)
        predict = model.decision_function if binary else model.predict
        reached = score(validation[1], predict(validation[0]))
        if reached > best:
            best, chosen = reached, predict(test)
    return chosen
