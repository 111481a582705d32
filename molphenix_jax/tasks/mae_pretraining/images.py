"""The images of a MAE run and what is known of each: NPZ and CSV to arrays, crops, held-back parts.

Training takes crops on the host, so the images may be larger than the device's memory.
"""

import pathlib
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from molphenix_jax.errors import InputError
from molphenix_jax.evaluation.neighbours import ImageLabels
from molphenix_jax.tables.columns import ALIASES, normal, short
from molphenix_jax.tables.formats.arrays import DAMAGE, Header, array_header, array_names
from molphenix_jax.tables.formats.unpacked import refuse_exploding
from molphenix_jax.tables.missing import MISSING
from molphenix_jax.tables.text import read_text
from molphenix_jax.wells.controls.words import truth_of

# Our column → names that it goes by.
_NAMES = {
    "plate": ALIASES["plate"],
    "well": ALIASES["well"],
    "treatment": ("treatment", "broadid", "compoundid", "compound", "smiles"),
    "is_control": ("iscontrol", "control"),
}
CONTROL = "control"
_DAMAGED = "damaged, or no NPZ file of one array: copy it again, or write it anew by np.savez"


class ImagesFileError(InputError):
    """Images that cannot be trained on; the message says where and the remedy."""


class Images(NamedTuple):
    """Images on their own scale, and their labels where a table tells them."""

    pixels: Shaped[np.ndarray, "n c h w"]
    labels: ImageLabels | None
    why_no_labels: str


def read_images(path: str, *, metadata: str, columns: Mapping[str, str], crop: int) -> Images:
    """Reads the images and, where there is one, the table beside them.

    Args:
        path: NPZ with one array [n, c, h, w], uint8 or uint16.
        metadata: CSV or Parquet with a row for each image; empty looks for `*_meta.csv` beside the
            images whose name begins like theirs.
        columns: Our column → the file's; an empty name is looked for.
        crop: Side of the crops that will be cut.

    Raises:
        ImagesFileError: The file is missing, damaged or of another form, or its table does not fit.
        WellsError: The table is missing or damaged.
    """
    if not path:
        raise ImagesFileError(
            "data.images is empty: name an NPZ file, e.g. --config=configs/mae.py:images=FILE.npz, "
            "or try --config=configs/mae.py:size=tiny"
        )
    pixels = _pixels(pathlib.Path(path), crop)
    table = pathlib.Path(metadata) if metadata else _table_beside(pathlib.Path(path))
    if table is None:
        return Images(pixels, None, "there is no table of the images (data.metadata)")
    frame = read_text(table)
    if len(frame) != len(pixels):
        raise ImagesFileError(f"{table} has {len(frame)} rows for {len(pixels)} images in {path}")
    labels, why = _labels(frame, table, columns)
    return Images(pixels, labels, why)


def _pixels(path: pathlib.Path, crop: int) -> np.ndarray:
    try:
        key, header = _header(path)
        refuse_exploding(path, header.n_bytes)
        shape, dtype = header.shape, header.dtype
        if len(shape) != 4 or dtype not in (np.uint8, np.uint16) or not min(shape):
            raise ImagesFileError(
                f"{path} holds {dtype} {shape}; wanted uint8 or uint16 images of shape [images, "
                "channels, height, width]"
            )
        if min(shape[2:]) < crop:
            raise ImagesFileError(
                f"{path}: images of {shape[2]} × {shape[3]} pixels are smaller than "
                f"data.crop={crop}"
            )
        with np.load(path, allow_pickle=False) as file:
            return file[key]
    except InputError:
        raise
    except OSError as error:
        if error.strerror is None:
            raise ImagesFileError(f"data.images={str(path)!r}: {_DAMAGED}") from error
        raise ImagesFileError(
            f"data.images={str(path)!r} cannot be read: {error.strerror}"
        ) from error
    except DAMAGE as error:
        raise ImagesFileError(f"data.images={str(path)!r}: {_DAMAGED}") from error


def _header(path: pathlib.Path) -> tuple[str, Header]:
    """Name and header of the only array."""
    if path.stat().st_size and not zipfile.is_zipfile(path):
        raise ImagesFileError(f"data.images={str(path)!r}: {_DAMAGED}")
    with zipfile.ZipFile(path) as archive:
        names = array_names(archive.namelist())
    if len(names) != 1:
        raise ImagesFileError(
            f"data.images={str(path)!r} does not hold exactly one array, but "
            f"{short(names, 5) or 'none'}"
        )
    return names[0], array_header(path, names[0])


def _table_beside(path: pathlib.Path) -> pathlib.Path | None:
    tables = sorted(path.parent.glob("*_meta.csv"))
    found = [table for table in tables if path.stem.startswith(table.stem.removesuffix("_meta"))]
    return found[-1] if found else None


def _labels(
    frame: pd.DataFrame, table: pathlib.Path, columns: Mapping[str, str]
) -> tuple[ImageLabels | None, str]:
    found: dict[str, pd.Series] = {}
    plain = {normal(c): c for c in reversed(list(frame.columns))}
    for ours, given in columns.items():
        if given and given not in frame.columns:
            raise ImagesFileError(
                f"data.columns.{ours}={given!r} is no column of {table}; there are "
                f"{', '.join(map(str, frame.columns))}"
            )
        name = given or next((plain[n] for n in _NAMES[ours] if n in plain), None)
        if name is not None:
            found[ours] = pd.Series(frame[name])
    missing = [ours for ours in ("plate", "well", "treatment") if ours not in found]
    if missing:
        return None, f"{table.name} has no column for {', '.join(missing)} (data.columns)"
    treatment = found["treatment"]
    none = np.array([text.casefold() in MISSING for text in treatment], bool)
    if "is_control" in found:
        control = np.array([bool(truth_of(text)) for text in found["is_control"]], bool)
    else:
        control = none | treatment.str.upper().isin(("DMSO", "CONTROL")).to_numpy()
    if (none & ~control).any():
        row = int(np.flatnonzero(none & ~control)[0])
        raise ImagesFileError(
            f"{table}, data row {row + 1}: no treatment, and not a control; name the column by "
            "data.columns.treatment or data.columns.is_control"
        )
    treatment = treatment.where(~control, CONTROL)
    text = lambda s: np.asarray(s.astype(str), dtype=str)  # noqa: E731
    labels = ImageLabels(text(found["plate"]), text(found["well"]), text(treatment), control)
    return labels, ""


def held_back(
    images: Images, *, fold: int, n_folds: int, fraction: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Images that a fold does not train on: whole plates, or with one fold whole wells.

    Raises:
        ImagesFileError: There are too few plates or wells to hold one back and train on another.
    """
    n = len(images.pixels)
    labels = images.labels
    if n_folds > 1:
        if labels is None:
            raise ImagesFileError(
                f"data.folds={n_folds} holds back plates, but {images.why_no_labels}"
            )
        group, what = labels.plate, "plates"
    elif labels is not None:
        group, what = np.char.add(np.char.add(labels.plate, "/"), labels.well), "wells"
    else:
        group, what = np.arange(n), "images"
    names = np.unique(group)
    if len(names) < max(n_folds, 2):
        raise ImagesFileError(
            f"{len(names)} {what} are too few for data.folds={n_folds} with one part held back"
        )
    if n_folds > 1:
        return np.isin(group, names[fold::n_folds])
    rng = np.random.default_rng([seed, 0])
    count = min(max(round(fraction * len(names)), 1), len(names) - 1)
    return np.isin(group, rng.permutation(names)[:count])


def to_8bit(pixels: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Intensities on the 8-bit scale: uint8 as they are, uint16 as floats over 257."""
    return pixels if pixels.dtype == np.uint8 else (pixels / np.float32(257)).astype(np.float32)


def random_crops(
    pixels: Shaped[np.ndarray, "n c h w"],
    rows: Shaped[np.ndarray, " k"],
    *,
    count: int,
    crop: int,
    augment: bool,
    seed: tuple[int, ...],
) -> Shaped[np.ndarray, "count c crop crop"]:
    """Crops of random images at random places; a function of the seed alone.

    Args:
        pixels: All images.
        rows: Those that may be cut.
        count: Crops.
        crop: Side in pixels.
        augment: Turn and mirror each at random.
        seed: Of all choices.
    """
    rng = np.random.default_rng(seed)
    height, width = pixels.shape[2:]
    parts = []
    for row in rows[rng.integers(len(rows), size=count)]:
        top, left = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        part = to_8bit(pixels[row, :, top : top + crop, left : left + crop])
        if augment:
            part = np.rot90(part, turns, axes=(1, 2))
            part = part[..., ::-1] if mirror else part
        parts.append(part)
    return np.stack(parts)


def grid_crops(
    image: Shaped[np.ndarray, "c h w"], *, crop: int, per_side: int
) -> Shaped[np.ndarray, "k c crop crop"]:
    """Crops at evenly spread places from edge to edge, per_side in each direction.

    One per side is the centre; 0 takes as many as it needs to leave no pixel out.
    """
    starts = []
    for size in image.shape[1:]:
        count = per_side or -(-size // crop)
        starts.append(np.linspace(0, size - crop, count) if count > 1 else [(size - crop) / 2])
    tops, lefts = (np.round(s).astype(int) for s in starts)
    return to_8bit(np.stack([image[:, t : t + crop, v : v + crop] for t in tops for v in lefts]))
