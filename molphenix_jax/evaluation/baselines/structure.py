"""Baselines that know structure and dose: predict each candidate's profile, rank by cosine.

They stand beside the model in every table, so they are built to be hard to beat: doses interact
with structure, and every free choice, down to the space in which predicted and observed profiles
are compared, is made on the validation perturbations. They see the training perturbations that the
model sees, and nothing of the test profiles: those are not among their arguments.

- ``knn``: profiles of the nearest training perturbations by Tanimoto similarity and dose.
- ``ridge``: linear map from [bits, log dose, bits x log dose] to the profile.
- ``physchem``: the same from physico-chemical descriptors; what size and lipophilicity alone
  explain.
- ``embedded``: the same from what the model is told beside bits and descriptors, such as MiniMol's
  fingerprints; left out where that is nothing.

Where a screen has several conditions (times, cell lines) they are told those, as the model is.
"""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, UInt8

from molphenix_jax.evaluation import ranks
from molphenix_jax.evaluation.baselines.data import BaselineData, LeftOut, Prediction, Space

# Validation perturbations used to choose; more makes the choice slower, hardly better.
_MAX_VALIDATION = 500
# Directions of fingerprint space that ridge keeps. 256 lose a seventh of its top-1% recall on the
# COMAS cluster profiles, 1024 gain little and take two to four times as long.
_MAX_COMPONENTS = 512
# Columns of its design, which grows with the levels of the conditions: fewer directions then.
_MAX_COLUMNS = 2048
RIDGE_ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(-2, 4, 0.5))
_NEIGHBOURS = (3, 10, 30, 100)
_TANIMOTO_POWERS = (2.0, 6.0)
DOSE_WIDTHS = (0.15, 0.5, 2.0)
OTHER_CONDITION = (0.0, 0.3, 1.0)  # weight of a neighbour for each condition column that differs
_SHRINKAGES = (0.1, 0.01)
_MAX_AXES = 256
_CHUNK = 256
_CLIP_SD = 5.0


def knn(data: BaselineData) -> Prediction:
    """Weighted mean profile of the nearest training perturbations.

    The weight is Tanimoto**a · exp(-Δ²/2w²) · b**e with Δ the difference in log10 concentration and
    e the number of condition columns that differ; the k largest weights count. k, a, w, b and the
    space are chosen on validation.
    """
    chosen = validation_rows(data)
    train = np.asarray(data.train_profile, np.float64)
    nearest = _Neighbours(data.train_bits, data.train_log_dose)
    similarity, gap = nearest.of(data.validation_bits[chosen], data.validation_log_dose[chosen])
    several = data.train_condition.shape[1] > 0
    differing = differing_in(data.validation_condition[chosen], data.train_condition)

    def attempts():
        for power, width, other in itertools.product(
            _TANIMOTO_POWERS, DOSE_WIDTHS, OTHER_CONDITION if several else (1.0,)
        ):
            weight = _weights(similarity, gap, power, width)
            weight = weight * other**differing if several else weight
            for k in _NEIGHBOURS:
                settings = {"neighbours": k, "tanimoto_power": power, "dose_width_log10": width}
                if several:
                    settings["other_condition"] = other
                yield settings, weighted_mean(weight, train, k)

    settings, space = choose(attempts(), data, chosen)
    power, width = settings["tanimoto_power"], settings["dose_width_log10"]
    other = settings.get("other_condition", 1.0)
    predicted = []
    for start in range(0, len(data.test_log_dose), _CHUNK):
        rows = slice(start, start + _CHUNK)
        similarity, gap = nearest.of(data.test_bits[rows], data.test_log_dose[rows])
        weight = _weights(similarity, gap, power, width)
        if several:
            weight = weight * other ** differing_in(data.test_condition[rows], data.train_condition)
        predicted.append(weighted_mean(weight, train, settings["neighbours"]))
    return Prediction(np.concatenate(predicted), space, settings)


def ridge(data: BaselineData) -> Prediction:
    """Ridge regression from fingerprint, log dose and their products to the profile."""
    return _to_profile(data, by_fingerprint(data))


def by_fingerprint(data: BaselineData) -> "Linear":
    """Regressions from fingerprint, log dose and their products, made once for all that need them.

    Fingerprints are scaled to unit length, so that large molecules do not dominate, and turned onto
    their 512 leading directions, which keeps the fit to seconds for 13,000 perturbations of 4,263
    bits.
    """
    return data.once("by_fingerprint", lambda: _by_fingerprint(data))


def _by_fingerprint(data: BaselineData) -> "Linear":
    from sklearn.decomposition import TruncatedSVD

    train, train_row = _unique_rows(data.train_bits)
    train = _unit(train)
    # TruncatedSVD wants fewer components than columns and gains nothing beyond the rows.
    n_components = min(_MAX_COMPONENTS, _most_features(data), train.shape[1] - 1, len(train))
    centre = train.mean(axis=0, keepdims=True)
    svd = TruncatedSVD(n_components, n_iter=2, random_state=0).fit(train - centre)

    def reduced(bits):
        rows, where = _unique_rows(bits)
        return svd.transform(_unit(rows) - centre).astype(np.float64)[where]

    return Linear(
        data,
        svd.transform(train - centre).astype(np.float64)[train_row],
        reduced(data.validation_bits),
        reduced(data.test_bits),
    )


def physchem(data: BaselineData) -> Prediction:
    """Ridge regression from standardised descriptors, log dose and their products.

    Descriptors without spread in training say nothing and are left out; the others are clipped at
    five standard deviations, as some of them explode for large molecules.
    """
    parts = _standardised(data.train_physchem, data.validation_physchem, data.test_physchem)
    return _to_profile(data, Linear(data, *parts))


def embedded(data: BaselineData) -> Prediction:
    """Ridge regression from standardised embeddings of molecules, log dose and their products.

    Wide ones are turned onto their leading directions, as fingerprints are.

    Raises:
        LeftOut: The model is told no embeddings.
    """
    from sklearn.decomposition import TruncatedSVD

    train, validation = data.train_embedding, data.validation_embedding
    if train is None or validation is None or data.test_embedding is None:
        raise LeftOut("the model has no block of embeddings, such as minimol")
    parts = _standardised(train, validation, data.test_embedding)
    most = min(_MAX_COMPONENTS, _most_features(data), len(parts[0]))
    if parts[0].shape[1] > most:
        svd = TruncatedSVD(most, n_iter=2, random_state=0).fit(parts[0])
        parts = [svd.transform(part) for part in parts]
    return _to_profile(data, Linear(data, *parts))


def _most_features(data: BaselineData) -> int:
    """As many as keep the design, which has the products too, narrow enough."""
    return _MAX_COLUMNS // (2 + data.train_condition.shape[1])


def _standardised(
    train: Float[np.ndarray, "n f"], *others: Float[np.ndarray, "_ f"]
) -> list[Float[np.ndarray, "_ g"]]:
    """Columns at mean 0 and SD 1 of training, which comes first; those without spread are left out.

    Entries that are not finite become the mean.
    """
    known = np.asarray(train, np.float64)
    finite = np.isfinite(known)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, known, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(finite, np.square(known - mean[None]), 0.0).sum(axis=0) / count)
    varies = sd > 1e-9 * np.maximum(np.abs(mean), 1.0)

    def of(values):
        values = np.asarray(values, np.float64)[:, varies]
        values = np.where(np.isfinite(values), values, mean[None, varies])
        return np.clip((values - mean[None, varies]) / sd[None, varies], -_CLIP_SD, _CLIP_SD)

    return [of(values) for values in (train, *others)]


class Linear:
    """Ridge from [features, dose, condition, features x dose, features x condition].

    One eigendecomposition serves every penalty and every target.
    """

    def __init__(
        self,
        data: BaselineData,
        train: Float[np.ndarray, "n f"],
        validation: Float[np.ndarray, "v f"],
        test: Float[np.ndarray, "m f"],
    ):
        """Decomposes the design of the training perturbations.

        Args:
            data: the perturbations, of which doses and conditions are taken.
            train: features of each molecule of training.
            validation: as for training.
            test: as for training.
        """
        self._parts = {
            name: (features, *(getattr(data, f"{name}_{of}") for of in ("log_dose", "condition")))
            for name, features in {"train": train, "validation": validation, "test": test}.items()
        }
        self._dose = data.train_log_dose.mean(), data.train_log_dose.std()
        # Features of one perturbation have squared length 1 on average, as the standardised dose
        # has.
        self._length = np.sqrt(np.square(train).sum(axis=1).mean()) or 1.0
        self._share = share = data.train_condition.mean(axis=0, keepdims=True)
        # Of squared length 1 on average too, over all columns that tell conditions together.
        self._spread = np.sqrt(max(float((share * (1 - share)).sum()), 1e-12))
        x = self._design("train")
        self._x_mean = x.mean(axis=0, keepdims=True)
        x = x - self._x_mean
        variance, self._directions = np.linalg.eigh(x.T @ x)
        self._variance = np.maximum(variance, 0.0)

    def fit(self, target: Float[np.ndarray, "n k"]) -> "Fit":
        """The regression of a target of the training perturbations."""
        mean = target.mean(axis=0, keepdims=True, dtype=np.float64)
        x = self._design("train") - self._x_mean
        turned = self._directions.T @ (x.T @ (target - mean))

        def predict(part, alpha, rows=slice(None)):
            design = (self._design(part, rows) - self._x_mean) @ self._directions
            return (design / (self._variance + alpha)[None]) @ turned + mean

        return predict

    def _design(
        self, part: str, rows: slice | Int[np.ndarray, "k"] = slice(None)
    ) -> Float[np.ndarray, "k e"]:
        features, log_dose, condition = (values[rows] for values in self._parts[part])
        features, (mean, sd) = features / self._length, self._dose
        # One dose only: nothing to standardise, and nothing to learn from it.
        dose = ((log_dose - mean) / (sd if sd > 1e-9 else np.inf))[:, None]
        told = np.concatenate([dose, (condition - self._share) / self._spread], axis=1)
        products = features[:, None, :] * told[:, :, None]
        return np.concatenate([features, told, products.reshape(len(features), -1)], axis=1)


# ("validation" or "test", penalty, rows of it) to predicted targets.
Fit = Callable[..., Float[np.ndarray, "k t"]]


def _to_profile(data: BaselineData, design: Linear) -> Prediction:
    predict, chosen = design.fit(data.train_profile), validation_rows(data)
    attempts = (({"alpha": alpha}, predict("validation", alpha, chosen)) for alpha in RIDGE_ALPHAS)
    settings, space = choose(attempts, data, chosen)
    return Prediction(predict("test", settings["alpha"]), space, settings)


def _spaces(profile: Float[np.ndarray, "n d"]) -> list[Space]:
    """As they are, standardised, and whitened with little and less shrinkage.

    In profiles a few directions (toxicity, cell count) carry most of the variance. They say that
    something happened, not which molecule did it; the cosine only sees past them when they are
    scaled down.
    """
    centre = profile.mean(axis=0, dtype=np.float64)
    sd = profile.std(axis=0, dtype=np.float64)
    scale = np.where(sd > 1e-9, sd, 1.0)
    standardised = Space("standardised", centre, scale)
    rows = standardised.of(profile)
    variance, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    variance, axes = variance[::-1][:_MAX_AXES], axes[:, ::-1][:, :_MAX_AXES]
    whitened = [
        Space(
            f"whitened, shrinkage {shrinkage:g}",
            centre,
            scale,
            axes / np.sqrt(np.maximum(variance, 0.0) + shrinkage)[None],
        )
        for shrinkage in _SHRINKAGES
    ]
    return [
        Space("as observed", np.zeros_like(centre), np.ones_like(centre)),
        standardised,
        *whitened,
    ]


def choose(
    attempts: Iterable[tuple[dict, Float[np.ndarray, "k d"]]],
    data: BaselineData,
    chosen: Int[np.ndarray, "k"],
) -> tuple[dict, Space]:
    """Settings and space with the lowest mean log rank of the validation perturbations.

    The mean log rank looks at the top of the list as the mean reciprocal rank does, but rests on
    every query in place of the few that come first.
    """
    own = np.arange(len(chosen))
    spaces = _spaces(data.train_profile)
    observed = [space.of(data.validation_profile[chosen]) for space in spaces]
    scored = []
    for settings, predicted in attempts:
        for space, query in zip(spaces, observed, strict=True):
            found = ranks.rank_of_positive(query, space.of(predicted), own)
            scored.append((float(np.log(found.pessimistic).mean()), settings, space))
    score, settings, space = min(scored, key=lambda attempt: attempt[0])
    return {**settings, "space": space.name, "validation_mean_log_rank": score}, space


def validation_rows(data: BaselineData) -> Int[np.ndarray, "k"]:
    """Evenly spaced rows, all of them where there are few."""
    n = len(data.validation_log_dose)
    return np.unique(np.linspace(0, n - 1, min(n, _MAX_VALIDATION)).astype(int))


class _Neighbours:
    """Tanimoto similarity and dose gap to the training perturbations.

    Doses of one molecule share a fingerprint, so similarities are worked out between molecules.
    """

    def __init__(self, bits: UInt8[np.ndarray, "n b"], log_dose: Float[np.ndarray, "n"]):
        self._bits, self._where = _unique_rows(bits)
        self._log_dose = np.asarray(log_dose, np.float32)

    def of(
        self, bits: UInt8[np.ndarray, "q b"], log_dose: Float[np.ndarray, "q"]
    ) -> tuple[Float[np.ndarray, "q n"], Float[np.ndarray, "q n"]]:
        """Similarity in [0, 1] and log10 dose gap of each row to each training perturbation."""
        rows, where = _unique_rows(bits)
        common = rows @ self._bits.T
        either = rows.sum(axis=1)[:, None] + self._bits.sum(axis=1)[None] - common
        tanimoto = common / np.maximum(either, 1.0)
        gap = np.asarray(log_dose, np.float32)[:, None] - self._log_dose[None]
        return tanimoto[where][:, self._where], gap


def _weights(similarity, gap, power: float, width: float) -> Float[np.ndarray, "q n"]:
    exponent = 0.5 * np.square(gap / width)
    # Only the ratios within a row count; measured from the nearest dose, a held-out concentration
    # far from all of training does not lose its neighbours to underflow.
    return similarity**power * np.exp(exponent.min(axis=1, keepdims=True) - exponent)


def differing_in(
    condition: Float[np.ndarray, "q c"], others: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "q n"]:
    """How many columns that tell conditions differ: each has a single 1 among its levels."""
    return condition.sum(axis=1)[:, None] - condition @ others.T


def weighted_mean(
    weight: Float[np.ndarray, "q n"], profile: Float[np.ndarray, "n d"], k: int
) -> Float[np.ndarray, "q d"]:
    """Mean profile under the k largest weights; the plain mean where nothing is similar at all."""
    n_queries, n = weight.shape
    k = min(k, n)
    column = np.argpartition(-weight, k - 1, axis=1)[:, :k]
    value = np.take_along_axis(weight, column, axis=1).astype(np.float64)
    total = value.sum(axis=1)
    value /= np.where(total > 0, total, 1.0)[:, None]
    row_start = np.arange(0, n_queries * k + 1, k)
    sparse = scipy.sparse.csr_matrix((value.ravel(), column.ravel(), row_start), (n_queries, n))
    mean = profile.mean(axis=0, keepdims=True)
    return np.where(total[:, None] > 0, sparse @ profile, mean)


def _unique_rows(
    bits: UInt8[np.ndarray, "n b"],
) -> tuple[Float[np.ndarray, "u b"], Int[np.ndarray, "n"]]:
    """Distinct fingerprints as float32, and which of them each row is."""
    packed = np.ascontiguousarray(np.packbits(np.asarray(bits, np.uint8), axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(bits)[first].astype(np.float32), where


def _unit(rows: Float[np.ndarray, "u b"]) -> Float[np.ndarray, "u b"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)
