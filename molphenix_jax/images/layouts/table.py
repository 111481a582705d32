"""Any other screen: a table with a row for each image, or for each image of one array.

Files: a CSV with columns path, plate, well, field and, where a file holds one channel, channel.
Array: an .npz with images [n, channels, h, w], and a CSV whose row i tells of image i. Any further
columns (smiles, concentration, controls) go into the wells table.
"""

import collections
import dataclasses
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
import pandas as pd

from molphenix_jax.images.fields import (
    Field,
    FieldTable,
    ImagesError,
    Place,
    Rejection,
    Take,
    join_channels,
    listed_again,
    number_key,
    reject,
)
from molphenix_jax.images.files import ImageError, Source
from molphenix_jax.images.layouts.listing import Places, find_column, read_listing, taken_rows
from molphenix_jax.tables.formats.arrays import array_header, array_names

_PATH = ("path", "file", "filename", "filepath", "image", "imagepath", "url")
_CHANNEL = ("channel", "channelname", "stain", "wavelength")


def find_table(
    images: pathlib.Path, index: pathlib.Path | None, channels: Sequence[str], take: Take
) -> FieldTable:
    """Fields of a table.

    Args:
        images: Folder that the table's paths are relative to, or an .npz with one array.
        index: The table.
        channels: Names of the channels to take, where a file holds one; none means all.
        take: Rows to take, by the table's columns of time points and planes.

    Raises:
        ImagesError: No table, missing columns, or another number of rows than images.
    """
    if index is None:
        raise ImagesError("--layout=table needs --index=TABLE with a row for each image")
    listed = read_listing(index)
    frame = taken_rows(listed, index, take)
    places = Places.of(frame, index)
    if images.suffix.lower() in (".npz", ".npy"):
        return _from_array(images, frame, places, index, n_rows=len(listed))
    path_column = find_column(frame, _PATH)
    if path_column is None:
        raise ImagesError(
            f"{index}: no column path; its columns are {', '.join(frame.columns)} "
            "(give --images=FILE.npz where all images lie in one array)"
        )
    channel_column = find_column(frame, _CHANNEL)
    mine = [c for c in (path_column, channel_column) if c]
    empty = np.flatnonzero((frame[path_column] == "").to_numpy())
    if len(empty):
        raise ImagesError(
            f"{index}: data row {frame.index[empty[0]] + 1} has no {path_column!r} ({len(empty):,} "
            "such rows): write it, or leave the row out"
        )
    paths = [Source(_file(images, str(path))) for path in frame[path_column]]
    told = frame.drop(columns=mine)
    if channel_column is None:
        return _stacked(paths, places, told, index)
    names = frame[channel_column].tolist()
    at = [places.row(i) for i in range(len(frame))]
    doubts = listed_again(list(zip(paths, at, names, strict=True)))
    found: dict[Place, dict[str, Source]] = collections.defaultdict(dict)
    rejected = []
    for source, place, channel, reason in zip(paths, at, names, doubts, strict=True):
        if not reason and channel in found[place]:
            reason = f"channel {channel} of this field is listed twice"
        if reason:
            rejected.append(Rejection(str(source), *place, reason))
        else:
            found[place][channel] = source
    # Fields of which a file is in doubt are named with it.
    for place in {place for place, reason in zip(at, doubts, strict=True) if reason}:
        found.pop(place, None)
    table = join_channels(found, channels, where=str(index), rejected=rejected)
    metadata, notes = places.metadata(told, index, [place in found for place in at])
    return dataclasses.replace(table, metadata=metadata, notes=notes)


def _file(images: pathlib.Path, path: str) -> pathlib.Path:
    """A listed file; where there is none of that name, as Windows writes its path."""
    found = images / path
    return found if found.exists() else images / pathlib.PureWindowsPath(path).as_posix()


def _from_array(
    images: pathlib.Path,
    frame: pd.DataFrame,
    places: Places,
    index: pathlib.Path,
    *,
    n_rows: int,
) -> FieldTable:
    """Fields of an array whose image i is row i of the table, of which `frame` has some."""
    try:
        key, n = _largest_array(images)
    except (OSError, ImageError) as error:
        raise ImagesError(f"{images}: {error}") from error
    if n != n_rows:
        raise ImagesError(f"{images} holds {n} images, {index} {n_rows} rows; they must agree")
    sources = [Source(images, key=key, index=int(i)) for i in frame.index]
    return _stacked(sources, places, frame, index)


def _largest_array(path: pathlib.Path) -> tuple[str, int]:
    """Name and length of the only array, or of the one called images."""
    try:
        key = ""
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = array_names(archive.namelist())
            key = "images" if "images" in names else names[0] if len(names) == 1 else ""
            if not key:
                raise ImageError(f"several arrays ({', '.join(names)}) and none called images")
        shape = array_header(path, key).shape
    except (ValueError, LookupError, zipfile.BadZipFile) as error:
        raise ImageError(f"unreadable: {error}") from error
    if not shape:
        raise ImageError("the array is a single number")
    return key, shape[0]


def _stacked(
    sources: Sequence[Source], places: Places, frame: pd.DataFrame, index: pathlib.Path
) -> FieldTable:
    at = [places.row(i) for i in range(len(sources))]
    doubts = listed_again([(s, place, "") for s, place in zip(sources, at, strict=True)])
    fields: dict[Place, Field] = {}
    rejected, used = [], []
    for source, place, reason in zip(sources, at, doubts, strict=True):
        field = Field(*place, (source,), stacked=True)
        if not reason and place in fields:
            reason = "this field of the well is listed twice"
        used.append(not reason)
        if reason:
            rejected.append(reject(field, reason))
        else:
            fields[place] = field
    metadata, notes = places.metadata(frame, index, used)
    ordered = sorted(fields.values(), key=lambda f: tuple(map(number_key, (*f.place, f.field))))
    return FieldTable(tuple(ordered), (), tuple(rejected), metadata, notes)
