"""Wells that are no measurement, found before any statistic is fitted on them.

One control well that holds a million decides every mean, standard deviation and covariance of its
plate. So wells are held against medians first, which up to half of the controls cannot move:

- the distance of a control is the root mean square of its deviations from the median control of its
  group, each in robust standard deviations (1.4826 x the median absolute deviation) and counted up
  to `FEATURE_LIMIT`. Beyond `DISTANCE_LIMIT` it is no control;
- a value beyond `ABSURD` robust standard deviations is none that any biology gives, in a control or
  a treated well, and counts as missing.

On the Dahlin screen (3,179 DMSO wells) distances are 0.9 in the median and end at 7.0, but for two
wells at 12 and 13 that hold 7% and 9% of the usual number of cells; no value of the 346 features,
treated wells included, lies beyond 871. Active compounds are never judged by their distance.
"""

import dataclasses
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.phenomics.completeness import complete_features
from molphenix_jax.tables.rows import Rows, chunk_rows

DISTANCE_LIMIT = 10.0
# So that no single feature makes a control an outlier, nor hides behind the others: a tenth of the
# features beyond this is enough.
FEATURE_LIMIT = 30.0
ABSURD = 1e4

_MIN_CONTROLS = 8  # controls that make a median and a spread worth something
_MIN_OWN = 2  # controls of a smaller group that can still speak for each other
# Beyond this share (and this number) it is not the wells that are broken but the yardstick: two
# kinds of wells among the controls, for example.
_MOST_OUTLIERS, _FREE_OUTLIERS = 0.2, 3
_SPARSE = 0.05  # share of controls that must differ from the median to tell a spread of their own


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """What was found. n wells of width d.

    Attributes:
        distance: of each control, [n]; NaN for treated wells.
        outlier: controls beyond `DISTANCE_LIMIT`, [n].
        absurd: other wells with an absurd value in a feature that is kept, [n].
        n_absurd: number of such values of each well, [n].
        worst: the feature that is furthest off in each absurd well, [n].
        deviation: how far it is off, in robust standard deviations, [n].
        exploding: features given up for the absurd values they have, [d].
        by_controls: whether controls were the yardstick, not all wells.
        notes: why nothing was judged, where that is so.
    """

    distance: Float[np.ndarray, " n"]
    outlier: Bool[np.ndarray, " n"]
    absurd: Bool[np.ndarray, " n"]
    n_absurd: Int[np.ndarray, " n"]
    worst: Int[np.ndarray, " n"]
    deviation: Float[np.ndarray, " n"]
    exploding: Bool[np.ndarray, " d"]
    by_controls: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def nothing(cls, n: int, d: int) -> "Judged":
        """Of n wells against which nothing is known."""
        return cls(
            distance=np.full(n, np.nan),
            outlier=np.zeros(n, bool),
            absurd=np.zeros(n, bool),
            n_absurd=np.zeros(n, np.int64),
            worst=np.zeros(n, np.int64),
            deviation=np.zeros(n),
            exploding=np.zeros(d, bool),
            by_controls=False,
        )


def judge_wells(
    x: Rows,
    group: Int[np.ndarray, " n"],
    is_control: Bool[np.ndarray, " n"],
    *,
    features_given: bool = False,
) -> Judged:
    """Finds outlying controls, absurd values, and the features or wells to give up for them.

    The yardstick of a well is the median control of its group, if that has at least 8, else that of
    all controls; a control of a smaller group is an outlier only if it is one among all controls
    and among those of its group. The spread is the larger one of the group's controls and of all
    controls within their groups. A feature with one value in more than half of the controls takes
    the median of the other deviations, and one that is constant in 95% of them the usual spread of
    the features.

    With under 8 controls all wells are the yardstick, of absurd values only, and the spread is
    where 95% of them end (over 1.96): treated wells are no sample of one distribution, and a
    p-value among the features spans many decades.

    Absurd values count as gaps (`complete_features`): in up to 3 wells, or 1%, they are these
    wells' fault, in more wells the feature's. A near-constant feature (the 95% above) goes for a
    single one.

    Controls are read in samples of one chunk (all where they are fewer), then all wells once, and
    twice more where a value is absurd.

    Args:
        x: embeddings, all finite.
        group: number of each well's correction group, from 0.
        is_control: which wells are controls.
        features_given: keep every feature, so that absurd values are always the wells' fault.
    """
    n, d = x.shape
    nothing = Judged.nothing(n, d)
    reference = np.flatnonzero(is_control)
    by_controls = len(reference) >= _MIN_CONTROLS
    if not by_controls:
        reference = np.arange(n)
    if len(reference) < _MIN_CONTROLS:
        return nothing
    quantile = 0.5 if by_controls else 0.95
    yardstick = _Yardstick(x, group, reference, quantile)
    distance, n_values, exploding = _first_pass(x, yardstick, is_control & by_controls)
    outlier, notes = distance > DISTANCE_LIMIT, []
    if outlier.sum() > max(_FREE_OUTLIERS, _MOST_OUTLIERS * len(reference)):
        notes.append(
            f"{outlier.sum()} of {len(reference)} controls lie more than {DISTANCE_LIMIT:g} robust "
            "SDs from the others: too many to be broken wells, so none was set aside for that; "
            "check what was read as control"
        )
        outlier[:] = False
    judged = dataclasses.replace(
        nothing, distance=distance, outlier=outlier, by_controls=by_controls, notes=tuple(notes)
    )
    others = np.flatnonzero(~outlier)
    if not n_values[others].any():
        return judged
    kept = np.ones(d, bool)
    if not features_given:
        kept = ~exploding
        kept &= complete_features(_WithoutAbsurd(x, others, yardstick, kept))
    n_absurd, worst, deviation = _absurd_values(x, others[n_values[others] > 0], yardstick, kept)
    absurd = n_absurd > 0
    if kept.sum() < d / 2 or absurd.sum() > n / 2:
        notes.append(
            f"{(n_values > 0).sum()} of {n} wells have values beyond {ABSURD:,.0f} robust SDs of "
            "the controls: too many to be broken, so none was set aside for that; check what was "
            "read as control"
        )
        return dataclasses.replace(judged, notes=tuple(notes))
    return dataclasses.replace(
        judged,
        absurd=absurd,
        n_absurd=n_absurd,
        worst=worst,
        deviation=deviation,
        exploding=~kept,
    )


class _Yardstick:
    """Medians and robust spreads of the reference wells of each group, and of all together.

    Entry 0 belongs to all of them; groups with fewer than `_MIN_CONTROLS` are measured by it.
    """

    def __init__(
        self,
        x: Rows,
        group: Int[np.ndarray, " n"],
        reference: Int[np.ndarray, " c"],
        quantile: float,
    ):
        most = chunk_rows(x.shape[1])
        self._group = group
        n_groups = int(group.max()) + 1
        order = reference[np.argsort(group[reference], kind="stable")]
        counts = np.bincount(group[reference], minlength=n_groups)
        members = np.split(order, np.cumsum(counts)[:-1])
        self._entry = np.zeros(n_groups, np.int64)  # of a group with enough controls
        self._own = np.zeros(n_groups, np.int64)  # of a group with too few
        pool = x[_sample(reference, most)].astype(np.float64)
        center = [np.median(pool, axis=0)]
        scale = [_spread(pool - center[0], quantile)[0]]
        own_spread, large = [scale[0]], []
        for i in range(n_groups):
            if counts[i] < _MIN_OWN:
                continue
            values = x[_sample(members[i], most)].astype(np.float64)
            middle = np.median(values, axis=0)
            enough = counts[i] >= _MIN_CONTROLS
            (self._entry if enough else self._own)[i] = len(center)
            center.append(middle)
            own_spread.append(
                _scaled_quantile(values - middle, quantile) if enough else np.zeros_like(middle)
            )
            if enough:
                large.append(members[i])
        self.center = np.stack(center)
        ids = _sample(np.sort(np.concatenate(large)) if large else reference, most)
        within, self.near_constant = _spread(
            x[ids] - self.center[self._entry[group[ids]]], quantile
        )
        self.scale = np.maximum(np.stack(own_spread), within)
        self.scale[0] = scale[0]

    def deviations(
        self, values: Float[np.ndarray, "k d"], ids: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, "k d"]:
        """How far wells lie from the centre of their group, in robust standard deviations."""
        return self._from(values, self._entry[self._group[ids]])

    def distances(
        self, deviations: Float[np.ndarray, "k d"], values: np.ndarray, ids: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, " k"]:
        """Distances of controls; in a small group the shorter one of two."""
        distance, own = _root_mean_square(deviations), self._own[self._group[ids]]
        few = np.flatnonzero((own > 0) & (distance > DISTANCE_LIMIT))
        if len(few):
            among_own = _root_mean_square(self._from(values[few], own[few]))
            distance[few] = np.minimum(distance[few], among_own)
        return distance

    def _from(self, values: np.ndarray, entry: Int[np.ndarray, " k"]) -> np.ndarray:
        return np.abs(values - self.center[entry]) / self.scale[entry]


def _first_pass(
    x: Rows, yardstick: _Yardstick, is_control: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"], Bool[np.ndarray, " d"]]:
    """Distances of controls, absurd values of each well, near-constant features that explode.

    The last are those with an absurd value in a well that has no other one.
    """
    n, d = x.shape
    distance, n_values, exploding = np.full(n, np.nan), np.zeros(n, np.int64), np.zeros(d, bool)
    for ids in _chunks(np.arange(n), d):
        values = x[ids]
        deviations = yardstick.deviations(values, ids)
        mine = is_control[ids]
        distance[ids[mine]] = yardstick.distances(deviations[mine], values[mine], ids[mine])
        absurd = deviations > ABSURD
        n_values[ids] = absurd.sum(axis=1)
        sound = ~(absurd & ~yardstick.near_constant).any(axis=1)
        sound &= ~(distance[ids] > DISTANCE_LIMIT)
        exploding |= absurd[sound].any(axis=0)
    return distance, n_values, exploding


def _absurd_values(
    x: Rows, suspects: Int[np.ndarray, " k"], yardstick: _Yardstick, kept: Bool[np.ndarray, " d"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Of each well: absurd values in features that are kept, the worst feature, its deviation."""
    n, d = x.shape
    n_absurd, worst, deviation = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    for ids in _chunks(suspects, d):
        deviations = np.where(kept, yardstick.deviations(x[ids], ids), 0.0)
        n_absurd[ids] = (deviations > ABSURD).sum(axis=1)
        worst[ids] = deviations.argmax(axis=1)
        deviation[ids] = deviations.max(axis=1)
    return n_absurd, worst, deviation


@dataclasses.dataclass(frozen=True)
class _WithoutAbsurd:
    """Some rows, with NaN for every absurd value of the features that are kept."""

    x: Rows
    rows: Int[np.ndarray, " k"]
    yardstick: _Yardstick
    kept: Bool[np.ndarray, " d"]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.x.shape[1]

    def __getitem__(self, ids: Int[np.ndarray, " k"], /) -> Float[np.ndarray, "k d"]:
        rows = self.rows[ids]
        values = self.x[rows]
        absurd = self.yardstick.deviations(values, rows) > ABSURD
        return np.where(absurd & self.kept, np.nan, values)


def _root_mean_square(deviations: Float[np.ndarray, "k d"]) -> Float[np.ndarray, " k"]:
    return np.sqrt(np.square(np.minimum(deviations, FEATURE_LIMIT)).mean(axis=1))


def _scaled_quantile(residual: Float[np.ndarray, "c d"], q: float) -> Float[np.ndarray, " d"]:
    """A quantile of the deviations, 1 for a normal distribution of variance 1."""
    return np.quantile(np.abs(residual), q, axis=0) / NormalDist().inv_cdf((1 + q) / 2)


def _spread(
    residual: Float[np.ndarray, "c d"], q: float
) -> tuple[Float[np.ndarray, " d"], Bool[np.ndarray, " d"]]:
    """A robust standard deviation that is nowhere 0, and which features told none of their own."""
    spread = _scaled_quantile(residual, q)
    for j in np.flatnonzero(spread == 0):
        others = np.abs(residual[residual[:, j] != 0, j])
        if len(others) > _SPARSE * len(residual):
            spread[j] = _scaled_quantile(others[:, None], q)[0]
    told = spread > 0
    usual = np.median(spread[told]) if told.any() else np.inf
    return np.where(told, spread, usual), ~told


def _sample(ids: Int[np.ndarray, " k"], most: int) -> Int[np.ndarray, " m"]:
    """All of them, or so many at even steps: a median needs no more."""
    if len(ids) <= most:
        return ids
    return ids[np.linspace(0, len(ids) - 1, most).astype(np.int64)]


def _chunks(ids: Int[np.ndarray, " k"], width: int):
    step = chunk_rows(width)
    return (ids[start : start + step] for start in range(0, len(ids), step))
