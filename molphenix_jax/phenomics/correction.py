"""Batch correction on control wells: centre-scale, PCA-CS and TVN (docs/method.md §8).

Every method has two stages, and both see control wells only:

1. the screen: centre and scale on all controls, each condition (cell line, time) on its own;
   PCA-CS and TVN then clip and whiten (PCA on all controls, so that what lies between conditions is
   no axis, and every axis divided by its standard deviation);
2. the group (a plate or an experiment): centre on the group's controls; centre-scale and PCA-CS
   divide by their standard deviation, TVN aligns their covariance (CORAL).

A second screen reuses the rotation of the first (`Correction.extend`): both then lie in one space.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from molphenix_jax.phenomics.coral import CORAL_RIDGE, Axes, write_npy
from molphenix_jax.phenomics.group_stage import MIN_TO_CENTER, Grouped, fit_groups, rows_of
from molphenix_jax.phenomics.whitening import centers_and_scales, whitening
from molphenix_jax.storage import read_npz
from molphenix_jax.tables.rows import Rows, RowsOnDisk, RowsThrough, chunked

# Bump it when a corrected profile or a p-value changes; see screens.versions for what follows.
# 2: each condition is centred and scaled by its own controls before the PCA.
CORRECTION_VERSION = 2

# The group of each well: its name, or a category where millions of names would take memory.
Group = Sequence[str] | np.ndarray | pd.Categorical

Method = Literal["none", "centerscale", "pca_cs", "tvn"]

# CellProfiler features reach 10,000 control SDs (a ratio with a vanishing denominator), and one
# such value decides an L2 distance. On the Dahlin screen a bound of 10 SDs brings the mean squared
# distance of random pairs from 3.7 to 1.7 times the median after PCA-CS (2.4 to 1.1 after
# centre-scale) and costs nothing: halves of the replicates match as often (0.76 in the top 1%).
CLIP_SD = 10.0

# Controls that a condition needs for a scale of its own, and a second screen for both statistics.
_MIN_TO_REFIT = 8
_MIN_WELLS = 96  # wells that stand in for controls where there are none: a plate's worth
_CHUNK = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class Correction:
    """Fitted statistics of one screen; `apply` uses them, `save` and `load` keep them.

    Row 0 of centre, scale and the group arrays belongs to all controls together; a condition or
    group without enough controls of its own points there.

    Attributes:
        method: the method in use (centre-scale where PCA-CS or TVN found no control to fit on).
        clip: bound in control SDs, 0 for none; before the PCA, or last for centre-scale.
        center: mean of the controls, of all and of each condition, [s, d].
        scale: their standard deviation (1 where they are constant), [s, d].
        rotation: whitening PCA, [d, d]; [0, 0] for methods without one.
        rescaled: axes above the variance floor, which PCA-CS rescales in each group, [k].
        groups: names of the groups.
        stage: row of centre and scale for each group, [g].
        entry: row of the group arrays for each group, [g].
        group_center: [e, k].
        group_scale: [e, k].
        coral_axes: principal axes of each entry's controls, stacked, [r, k]: as many as there are
            controls, so that for a large screen they stay on disk.
        coral_gain: (variance + 0.5)^-1/2 - 0.5^-1/2 of each axis, [r].
        coral_start: first axis of each entry, and the end, [e + 1].
        notes: one sentence for each fallback taken.
    """

    method: Method
    clip: float
    center: Float[np.ndarray, "s d"]
    scale: Float[np.ndarray, "s d"]
    rotation: Float[np.ndarray, "d k"] | Float[np.ndarray, "0 0"]
    rescaled: Bool[np.ndarray, "k"]
    groups: tuple[str, ...]
    stage: Int[np.ndarray, "g"]
    entry: Int[np.ndarray, "g"]
    group_center: Float[np.ndarray, "e k"]
    group_scale: Float[np.ndarray, "e k"]
    coral_axes: Float[np.ndarray, "_ k"] | RowsOnDisk
    coral_gain: Float[np.ndarray, "r"]
    coral_start: Int[np.ndarray, "e1"]
    notes: tuple[str, ...] = ()

    def apply(self, x: Float[np.ndarray, "n d"], group: Group) -> Float[np.ndarray, "n d"]:
        """Corrects wells.

        Args:
            x: embeddings, all finite.
            group: correction batch of each well.

        Returns:
            Corrected embeddings, float32.

        Raises:
            ValueError: shapes disagree, a value is not finite, or a group was not seen by
                `fit_correction` or `extend`.
        """
        x = np.asarray(x)
        names, code = _checked(x, group)
        if self.method == "none":
            return x.astype(np.float32)
        if x.shape[1] != self.center.shape[1]:
            raise ValueError(
                f"these wells have {x.shape[1]} features, the correction was fitted on "
                f"{self.center.shape[1]}: read both screens with the same features"
            )
        number = {name: i for i, name in enumerate(self.groups)}
        unseen = sorted(set(names) - set(number))
        if unseen:
            raise ValueError(
                f"no correction was fitted for group {unseen[0]!r} ({len(unseen)} unseen): "
                "use Correction.extend with the wells of the new screen"
            )
        out = np.empty(x.shape, np.float32)
        for name, rows in rows_of(names, code):
            for start in range(0, len(rows), _CHUNK):
                part, i = rows[start : start + _CHUNK], number[name]
                y = self._screen_stage(x[part], int(self.stage[i]))
                out[part] = self._group_stage(y, self.entry[i])
        return out

    def extend(
        self,
        x: Rows,
        group: Group,
        is_control: Bool[np.ndarray, "n"] | Sequence[bool],
        *,
        pool: Int[np.ndarray, "n"] | None = None,
        axes_path: pathlib.Path | None = None,
    ) -> "Correction":
        """Fits the group stage on another screen and keeps the PCA, so that both share one space.

        The centre and scale of the screen stage are fitted anew on that screen's controls where
        it has at least 8, and so for each of its conditions: another microscope's intensities
        would else all lie beyond the clip. A screen without controls has them fitted on all its
        wells if there are at least 96, and else, as in the group stage, takes the statistics of all
        controls of the first screen.

        Args:
            x: embeddings of the other screen, same features.
            group: correction batch of each well.
            is_control: which wells are controls.
            pool: see `fit_correction`.
            axes_path: see `fit_correction`.

        Returns:
            A correction for the groups of the other screen only.

        Raises:
            ValueError: shapes disagree or a value is not finite.
        """
        names, code = _checked(x, group)
        is_control = _checked_mask(is_control, x.shape[0])
        if self.method == "none":
            return self
        if x.shape[1] != self.center.shape[1]:
            raise ValueError(
                f"this screen has {x.shape[1]} features, the correction was fitted on "
                f"{self.center.shape[1]}: read both screens with the same features"
            )
        controls, pool = np.flatnonzero(is_control), _pool(pool, x.shape[0])
        if len(controls) < MIN_TO_CENTER:
            return self._without_controls(x, names, code, pool)
        screen = dataclasses.replace(self, center=self.center[:1], scale=self.scale[:1])
        stage = np.zeros(x.shape[0], np.int64)
        if len(controls) >= _MIN_TO_REFIT:
            center, scale, stage, _ = centers_and_scales(x, controls, pool, _MIN_TO_REFIT)
            screen = dataclasses.replace(self, center=center, scale=scale)
        wells = Grouped(names, code, controls, MIN_TO_CENTER, pool)
        return _with_groups(screen, x, stage, wells, (), axes_path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all statistics to one NumPy archive (no pickle), exactly as they are held."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("groups", "notes"):
            fields[name] = np.array(fields[name], dtype=np.str_)
        # As np.savez, but without gathering the axes in memory.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, value in fields.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    if isinstance(value, RowsOnDisk):
                        write_npy(file, value)
                    else:
                        np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Correction":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is no saved correction.
        """
        fields: dict[str, Any] = read_npz(path, what="a saved correction")
        names = {f.name for f in dataclasses.fields(cls)}
        # Version 1 had one centre and scale for all conditions.
        one = "stage" not in fields
        if missing := names - fields.keys() - {"stage"}:
            raise ValueError(f"{os.fspath(path)}: not a saved correction (lacks {sorted(missing)})")
        fields = {name: _double(fields[name]) for name in names & fields.keys()}
        if one:
            fields |= {name: fields[name][None] for name in ("center", "scale")}
            fields["stage"] = np.zeros(len(fields["groups"]), np.int64)
        return cls(
            **fields
            | {
                "method": str(fields["method"]),
                "clip": float(fields["clip"]),
                "groups": tuple(fields["groups"].tolist()),
                "notes": tuple(fields["notes"].tolist()),
            }
        )

    def _without_controls(
        self,
        x: Rows,
        groups: tuple[str, ...],
        code: Int[np.ndarray, "n"],
        pool: Int[np.ndarray, "n"],
    ) -> "Correction":
        center, scale, stage = self.center[:1], self.scale[:1], np.zeros(x.shape[0], np.int64)
        note = "no controls to fit on: the statistics of the first screen are used"
        if x.shape[0] >= _MIN_WELLS:
            every = np.arange(x.shape[0])
            center, scale, stage, _ = centers_and_scales(x, every, pool, _MIN_WELLS)
            note = "no controls to fit on: the screen is centred and scaled on all its wells"
        return dataclasses.replace(
            self,
            center=center,
            scale=scale,
            groups=groups,
            stage=_of_groups(stage, code, len(groups)),
            entry=np.zeros(len(groups), np.int64),
            notes=(note,),
        )

    def _standardised(
        self, x: Float[np.ndarray, "n d"], stage: int | Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n d"]:
        return (x.astype(np.float64) - self.center[stage]) / self.scale[stage]

    def _screen_stage(
        self, x: Float[np.ndarray, "n d"], stage: int | Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n k"]:
        z = self._standardised(x, stage)
        if not self.rotation.size:
            return z
        if self.clip:
            np.clip(z, -self.clip, self.clip, out=z)
        return z @ self.rotation

    def _group_stage(self, y: Float[np.ndarray, "n k"], entry: int) -> Float[np.ndarray, "n k"]:
        y = (y - self.group_center[entry]) / self.group_scale[entry]
        if self.method == "tvn":
            part = slice(self.coral_start[entry], self.coral_start[entry + 1])
            axes, gain = self.coral_axes[part], self.coral_gain[part]
            return y * CORAL_RIDGE**-0.5 + (y @ axes.T * gain) @ axes
        if self.method == "centerscale" and self.clip:
            np.clip(y, -self.clip, self.clip, out=y)
        return y


def fit_correction(
    x: Rows,
    group: Group,
    is_control: Bool[np.ndarray, "n"] | Sequence[bool],
    *,
    method: Method,
    clip: float = CLIP_SD,
    pool: Int[np.ndarray, "n"] | None = None,
    axes_path: pathlib.Path | None = None,
) -> Correction:
    """Fits a batch correction on control wells (docs/method.md §8).

    - `none`: nothing.
    - `centerscale`: per group, centre and scale on its controls.
    - `pca_cs`: centre-scale and PCA on all controls, then per group centre-scale on its controls.
    - `tvn`: centre-scale, PCA and centre-scale on all controls; then per group multiply by
      (cov of its controls, ddof 1, + 0.5 I)^-1/2. The mean of the group's controls is subtracted
      first: a shift of the whole batch is what a correction has to remove before all else, and
      CORAL alone leaves it.

    Features are brought to control SDs before the PCA, since the columns of a CellProfiler table
    share no unit; axes of little variance are whitened no further than `whitening.VARIANCE_FLOOR`.
    A group with fewer than 4 controls takes its scale, and one with fewer than 2 also its centre,
    from all controls (of its condition, if `pool` tells these). With under 2 controls, every method
    but `none` becomes centre-scale on all wells of a group (of the screen where the group has under
    96 wells). One broken control decides all of this: `judge_wells` finds such wells, and reading a
    table sets them aside.

    Args:
        x: embeddings, all finite.
        group: correction batch of each well.
        is_control: which wells are controls; no other well is looked at if there are two.
        method: see above.
        clip: bound in control SDs, before the PCA (centre-scale: on the result); 0 for none.
        pool: the condition of each well, which is centred on its own controls before the PCA, and
            scaled on them where it has 8: what lies between cell lines takes no part in it. A
            group without controls of its own takes the statistics of those of its condition, if
            that has some, and only else of all controls.
        axes_path: a new file that takes `coral_axes`; without one they are held in memory.

    Returns:
        The fitted correction, with a note for each fallback.

    Raises:
        ValueError: unknown method, negative clip, shapes disagree, or a value is not finite.
    """
    if method not in get_args(Method):
        raise ValueError(f"unknown correction {method!r}; known: {', '.join(get_args(Method))}")
    if not clip >= 0:
        raise ValueError(f"clip is a number of SDs, 0 for none; got {clip}")
    names, code = _checked(x, group)
    n, d = x.shape
    is_control = _checked_mask(is_control, n)
    blank = Correction(
        method=method,
        clip=float(clip),
        center=np.zeros((1, d)),
        scale=np.ones((1, d)),
        rotation=np.zeros((0, 0)),
        rescaled=np.ones(d, bool),
        groups=(),
        stage=np.zeros(0, np.int64),
        entry=np.zeros(0, np.int64),
        group_center=np.zeros((1, d)),
        group_scale=np.ones((1, d)),
        coral_axes=np.zeros((0, d)),
        coral_gain=np.zeros(0),
        coral_start=np.zeros(2, np.int64),
    )
    if method == "none":
        return blank
    if not n:
        raise ValueError("a correction cannot be fitted on no wells")
    reference, minimum, notes = np.flatnonzero(is_control), MIN_TO_CENTER, ()
    for_own, pool = _MIN_TO_REFIT, _pool(pool, n)
    if len(reference) < MIN_TO_CENTER:
        notes = (
            f"{len(reference)} control wells: nothing could be corrected against controls; "
            f"{method} became centre and scale on all wells",
        )
        reference, minimum, for_own = np.arange(n), _MIN_WELLS, _MIN_WELLS
        method = "centerscale"
    center, scale, stage, n_constant = centers_and_scales(x, reference, pool, for_own)
    if n_constant:
        notes += (f"{n_constant} features are constant on the controls: centred, not scaled",)
    screen = dataclasses.replace(blank, method=method, center=center, scale=scale)
    if method in ("pca_cs", "tvn"):
        standardised = RowsThrough(x, stage, screen._standardised)
        z = chunked(standardised, reference, lambda rows: _clipped(rows, screen.clip))
        rotation, above_floor = whitening(z)
        screen = dataclasses.replace(screen, rotation=rotation, rescaled=above_floor)
        if not above_floor.all():
            notes += (
                f"{d - int(above_floor.sum())} of {d} PCA axes vary too little among the "
                f"{len(reference)} controls to be whitened fully",
            )
    wells = Grouped(names, code, reference, minimum, pool)
    return _with_groups(screen, x, stage, wells, notes, axes_path)


def _with_groups(
    screen: Correction,
    x: Rows,
    stage: Int[np.ndarray, "n"],
    wells: Grouped,
    notes: tuple[str, ...],
    axes_path: pathlib.Path | None,
) -> Correction:
    fields, more = fit_groups(
        RowsThrough(x, stage, screen._screen_stage),
        wells,
        scaling=screen.method != "tvn",
        rescaled=screen.rescaled,
        axes=Axes(axes_path, screen.rotation.shape[1] or x.shape[1]),
    )
    fields["stage"] = _of_groups(stage, wells.code, len(wells.names))
    return dataclasses.replace(screen, notes=notes + more, **fields)


def _of_groups(
    stage: Int[np.ndarray, "n"], code: Int[np.ndarray, "n"], n_groups: int
) -> Int[np.ndarray, "g"]:
    """What all wells of a group have, since its wells are of one condition."""
    out = np.zeros(n_groups, np.int64)
    out[code] = stage
    return out


def _double(x: np.ndarray) -> np.ndarray:
    """What is stored in half precision is computed with in double."""
    return x.astype(np.float64) if x.dtype == np.float16 else x


def _pool(pool: Int[np.ndarray, "n"] | None, n: int) -> Int[np.ndarray, "n"]:
    return np.zeros(n, np.int64) if pool is None else np.asarray(pool)


def _checked(x: Rows, group: Group) -> tuple[tuple[str, ...], Int[np.ndarray, "n"]]:
    """The names of the groups in order and the number of each well's, once x is usable."""
    if len(x.shape) != 2 or len(group) != x.shape[0]:
        raise ValueError(f"expected x [n, d] and group [n], got {x.shape} and {len(group)} groups")
    for start in range(0, len(x) if isinstance(x, np.ndarray) else 0, _CHUNK):
        bad = ~np.isfinite(x[start : start + _CHUNK]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise ValueError(f"embedding {row} has NaN or infinite values: reject such wells first")
    if isinstance(group, pd.Categorical):
        used, code = np.unique(group.codes, return_inverse=True)
        names = np.asarray(group.categories[used], dtype=np.str_)
        order = np.argsort(names)
        return tuple(names[order].tolist()), np.argsort(order)[code]
    names, code = np.unique(np.asarray(group, dtype=np.str_), return_inverse=True)
    return tuple(names.tolist()), code


def _checked_mask(is_control: ArrayLike, n: int) -> Bool[np.ndarray, "n"]:
    mask = np.asarray(is_control)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise ValueError(f"is_control must be bool [{n}], got {mask.dtype} {mask.shape}")
    return mask


def _clipped(z: Float[np.ndarray, "n d"], clip: float) -> Float[np.ndarray, "n d"]:
    return np.clip(z, -clip, clip) if clip else z
