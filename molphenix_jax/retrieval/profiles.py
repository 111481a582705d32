"""Wells to what the phenomic side of a trained model takes."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.trained.alignment import Alignment
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.trained.sides import ImageSide

_LIST_COLUMN = "embedding"
_FEWEST = 2  # control wells that a group needs to be centred on
_SHOWN = 5


class Profiles:
    """Reads and corrects wells as a model's training did."""

    def __init__(self, trained: Alignment):
        self._trained, self._names = trained, trained.feature_names

    def described(self) -> str:
        """What the phenomic side takes, in words."""
        if isinstance(self._trained.phenomic, ImageSide):
            shape = " × ".join(map(str, self._trained.about["images"]["shape"]))
            return f"images of {shape}"
        first = ", ".join(self._names[:3])
        method = self._trained.correction.method
        return f"{len(self._names):,} features ({first}, …), corrected by {method}"

    def array(self, wells: Any, *, corrected: bool = False) -> Float[np.ndarray, "n d"]:
        """The features of wells, in the model's order.

        Raises:
            ModelError: Other features, or values that are not finite.
        """
        what = "corrected profiles" if corrected else "wells"
        x = self._of_table(wells) if isinstance(wells, pd.DataFrame) else _numbers(wells, what)
        width = self._width(corrected)
        if x.ndim != 2 or x.shape[1] != width:
            raise ModelError(
                f"{what}: the model takes [n, {width}], a row for each; found {x.shape}"
            )
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            column = int(np.flatnonzero(~np.isfinite(x[bad[0]]))[0])
            name = column if corrected else self._names[column]
            raise ModelError(
                f"{what}: {len(bad)} of {len(x)} rows have NaN or infinite values, the first is "
                f"row {bad[0]}, {name}: leave them out"
            )
        return x

    def correct(self, wells: Any, controls: Any, groups: Any) -> Float[np.ndarray, "n d"]:
        """See `Model.correct`."""
        x = self.array(wells)
        group = np.full(len(x), "wells", object)
        if groups is not None:
            group = self.column(wells, groups, len(x), "groups").astype(str)
        fitted = self._trained.correction
        if fitted.method == "none":
            return x.astype(np.float32)
        if controls is None:
            return self._by_trained_groups(x, group, given=groups is not None)
        own = self._mask(wells, controls, len(x))
        if own is None:
            if groups is not None:
                raise ModelError(
                    "controls of their own make one group: put wells and controls of several "
                    "plates into one table, and let controls= tell which rows are controls"
                )
            other = self.array(controls)
            all_wells = np.concatenate([x, other])
            own = np.arange(len(all_wells)) >= len(x)
            group = np.full(len(all_wells), "wells", object)
        else:
            all_wells = x
        code, names = pd.factorize(group)
        for name, n in zip(names, np.bincount(code[own], minlength=len(names)), strict=True):
            if n < _FEWEST:
                raise ModelError(
                    f"controls: group {name!r} has {n} control wells, and at least {_FEWEST} are "
                    "needed to correct it"
                )
        return fitted.extend(all_wells, group.tolist(), own).apply(x, group[: len(x)].tolist())

    def within(
        self,
        x: Float[np.ndarray, "n d"],
        group: np.ndarray,
        own: Bool[np.ndarray, " n"],
        pool: Int[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, "n d"], tuple[str, ...]]:
        """See `Model.correct_within`."""
        fitted = self._trained.correction
        if fitted.method == "none":
            return x.astype(np.float32), ()
        extended = fitted.extend(x, group.tolist(), own, pool=pool)
        return extended.apply(x, group.tolist()), extended.notes

    def column(self, wells: Any, given: Any, n: int, argument: str) -> np.ndarray:
        """A value for each row: a column of the table by its name, or as it is given.

        Raises:
            ModelError: There is no such column, or another number of values.
        """
        if isinstance(given, str):
            if not isinstance(wells, pd.DataFrame) or given not in wells.columns:
                raise ModelError(f"{argument}={given!r}: the wells have no such column")
            given = wells[given]
        values = np.asarray(given)
        if values.shape != (n,):
            raise ModelError(f"{argument}: {n} values are needed, one a row; found {values.shape}")
        return values

    def embed_images(self, images: np.ndarray) -> Float[np.ndarray, "n e"]:
        """See `Model.embed_images`."""
        side = self._trained.phenomic
        if not isinstance(side, ImageSide):
            raise ModelError("the model was trained on profiles: use embed_profiles")
        shape = tuple(self._trained.about["images"]["shape"])
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ModelError(
                f"images: uint8 [n, {', '.join(map(str, shape))}] are needed, found {images.dtype} "
                f"{images.shape}"
            )
        z = side.embed(self._trained.params, lambda k: images[k], len(images))
        members, n, d = z.shape
        return np.moveaxis(z, 0, 1).reshape(n, members * d) / np.sqrt(np.float32(members))

    def _width(self, corrected: bool) -> int:
        rotation = self._trained.correction.rotation
        return rotation.shape[1] if corrected and rotation.size else len(self._names)

    def _of_table(self, wells: pd.DataFrame) -> np.ndarray:
        missing = [name for name in self._names if name not in wells.columns]
        if not missing:
            return _numbers(wells[list(self._names)], "wells")
        if _LIST_COLUMN in wells.columns:
            try:
                return _numbers(np.stack(list(wells[_LIST_COLUMN])), "wells")
            except ValueError as error:
                raise ModelError(f"column {_LIST_COLUMN}: lists of one length ({error})") from error
        more = ", …" if len(missing) > _SHOWN else ""
        raise ModelError(
            f"the wells lack {len(missing)} of the model's {len(self._names)} features: "
            f"{', '.join(missing[:_SHOWN])}{more}; compute them as for the training screen"
        )

    def _mask(self, wells: Any, controls: Any, n: int) -> np.ndarray | None:
        """Which rows are controls; None where controls are wells of their own."""
        if isinstance(controls, pd.DataFrame) or (
            not isinstance(controls, str) and np.ndim(controls) == 2
        ):
            return None
        values = self.column(wells, controls, n, "controls")
        if values.dtype == object and all(isinstance(v, bool | np.bool_) for v in values):
            values = values.astype(bool)
        if values.dtype != np.bool_:
            raise ModelError(f"controls: truth values are needed, one a row; found {values.dtype}")
        return values

    def _by_trained_groups(self, x: np.ndarray, group: np.ndarray, *, given: bool) -> np.ndarray:
        fitted = self._trained.correction
        unknown = sorted(set(group) - set(fitted.groups))
        if not given or unknown:
            named = f"; {unknown[0]!r} is none of the training screen's groups" if given else ""
            raise ModelError(
                "wells are corrected by controls of their own plate: tell which rows are controls "
                f"with controls=, or give rows that are corrected with corrected=True{named}"
            )
        return fitted.apply(x, group.tolist())


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{what}: numbers are needed ({error})") from error
