"""Plates as the Cell Painting Gallery holds them: Phenix names, or a load_data.csv.

    <...>/images/<batch>/images/<plate>__<time>-Measurement1/Images/r01c01f01p01-ch1sk1fk1fl1.tiff

r row, c column, f field, p focal plane, ch channel. A load_data.csv (what CellProfiler is given)
names the files of any other microscope: FileName_Orig<channel>, PathName_Orig<channel> and
Metadata_ columns.
"""

import collections
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from molphenix_jax.images.fields import FieldTable, ImagesError, join_channels
from molphenix_jax.images.files import Source
from molphenix_jax.images.layouts.listing import Places, read_listing
from molphenix_jax.tables.names import row_column_name

_PHENIX = re.compile(
    r"r(\d+)c(\d+)f(\d+)p(\d+)-ch(\d+)(?:sk\d+)?(?:fk\d+)?(?:fl\d+)?\.(?:tiff?|png|jp2|jxr)",
    re.IGNORECASE,
)
_FILE = re.compile(r"FileName_(?:Orig)?(.+)")


def find_gallery(
    images: pathlib.Path, index: pathlib.Path | None, channels: Sequence[str]
) -> FieldTable:
    """Fields of all plates below a folder.

    Args:
        images: A plate's folder, or any folder above it.
        index: A load_data.csv (also .gz, or Parquet); none means names as the Phenix gives them.
        channels: Numbers (Phenix) or names (load_data) of the channels to take; none means all.

    Raises:
        ImagesError: No image, or a table without the needed columns.
    """
    if index is not None:
        return _from_load_data(images, index, channels)
    found: dict[tuple[str, str, str, str], dict[str, Source]] = collections.defaultdict(dict)
    planes: dict[tuple[tuple[str, str, str, str], str], int] = {}
    n_planes: set[int] = set()
    for path in files_below(images):
        if not (match := _PHENIX.fullmatch(path.name)):
            continue
        row, column, field, plane, channel = map(int, match.groups())
        batch, plate = _batch_and_plate(path)
        place = (batch, plate, row_column_name(row, column), str(field))
        # Of several focal planes the first counts.
        n_planes.add(plane)
        if plane <= planes.get((place, str(channel)), plane):
            planes[place, str(channel)] = plane
            found[place][str(channel)] = Source(path)
    table = join_channels(found, channels, where=str(images))
    if len(n_planes) < 2:
        return table
    note = f"files of {len(n_planes)} focal planes: the first plane of each field is taken"
    return FieldTable(table.fields, table.channels, table.rejected, notes=(note,))


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files below a folder, sorted within each folder.

    Raises:
        ImagesError: There is no such folder.
    """
    if not folder.is_dir():
        raise ImagesError(f"{folder}: no such folder; --images names the folder of the images")
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield pathlib.Path(root, name)


def _batch_and_plate(path: pathlib.Path) -> tuple[str, str]:
    """From .../images/<batch>/images/<plate>/Images/<file>, as far as the folders are there."""
    folders = list(path.parts[:-1])
    if folders and folders[-1].lower() == "images":
        folders.pop()
    plate = folders.pop().split("__")[0] if folders else ""
    if folders and folders[-1].lower() == "images":
        folders.pop()
        return (folders[-1] if folders else ""), plate
    return "", plate


def _from_load_data(
    images: pathlib.Path, index: pathlib.Path, channels: Sequence[str]
) -> FieldTable:
    frame = read_listing(index)
    files = {match[1]: name for name in frame if (match := _FILE.fullmatch(name))}
    if not files:
        raise ImagesError(f"{index}: no FileName_ column; give a load_data.csv")
    # Paths are those of the machine that ran CellProfiler, so files are also looked for by plate
    # folder and name.
    places = Places.of(frame, index)
    here = _ByName(images)
    found: dict[tuple[str, str, str, str], dict[str, Source]] = {}
    for i in range(len(frame)):
        place = places.row(i)
        found[place] = {}
        for channel, column in files.items():
            name = frame[column].iat[i]
            if not name:
                continue
            folder_column = column.replace("FileName", "PathName")
            folder = frame[folder_column].iat[i] if folder_column in frame else ""
            found[place][channel] = Source(here.find(folder, name, place[1]))
    table = join_channels(found, channels, where=str(index))
    skip = {*files.values(), *(c.replace("FileName", "PathName") for c in files.values())}
    metadata = places.metadata(frame.drop(columns=[c for c in skip if c in frame]))
    return FieldTable(table.fields, table.channels, table.rejected, metadata)


class _ByName:
    """Finds files by their path, or else by name below a folder, the plate's own preferred."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._index: dict[str, list[pathlib.Path]] | None = None

    def find(self, folder: str, name: str, plate: str) -> pathlib.Path:
        given = pathlib.Path(folder, name)
        if folder and given.exists():
            return given
        if self._index is None:
            self._index = collections.defaultdict(list)
            for path in files_below(self._root):
                self._index[path.name].append(path)
        candidates = self._index.get(name, [])
        of_plate = [p for p in candidates if any(part.startswith(plate) for part in p.parts)]
        # A file that is nowhere stays in the table, and is rejected when it is read.
        return (of_plate or candidates or [given])[0]
