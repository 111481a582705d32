"""Plates as the Cell Painting Gallery holds them: Phenix names, or a load_data.csv.

    <...>/images/<batch>/images/<plate>__<time>-Measurement1/Images/r01c01f01p01-ch1sk1fk1fl1.tiff

r row, c column, f field, p focal plane, ch channel, sk time point. A load_data.csv (what
CellProfiler is given) names the files of any other microscope: FileName_Orig<channel>,
PathName_Orig<channel> and Metadata_ columns.
"""

import collections
import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

from molphenix_jax.images.fields import (
    FieldTable,
    ImagesError,
    Place,
    Rejection,
    Take,
    check_channels,
    join_channels,
    listed_again,
    number_key,
)
from molphenix_jax.images.files import Source
from molphenix_jax.images.layouts.listing import Places, read_listing, taken_rows
from molphenix_jax.tables.names import row_column_name

_PHENIX = re.compile(
    r"r(\d+)c(\d+)f(\d+)p(\d+)-ch(\d+)(?:sk(\d+))?(?:fk\d+)?(?:fl\d+)?\.(?:tiff?|png|jp2|jxr)",
    re.IGNORECASE,
)
_FILE = re.compile(r"FileName_(?:Orig)?(.+)")
# What CellProfiler divides images by, made of all images of a plate.
_ILLUMINATION = re.compile(r"illum", re.IGNORECASE)
# What one measurement has of a field at one time: channel → its focal planes and their files.
_Take = dict[str, list[tuple[int, pathlib.Path]]]


def find_gallery(
    images: pathlib.Path, index: pathlib.Path | None, channels: Sequence[str], take: Take
) -> FieldTable:
    """Fields of all plates below a folder.

    Args:
        images: A plate's folder, or any folder above it.
        index: A load_data.csv (also .gz, or Parquet); none means names as the Phenix gives them.
        channels: Numbers (Phenix) or names (load_data) of the channels to take; none means all.
        take: Time point and plane to take: numbers (Phenix), or by columns of load_data.

    Raises:
        ImagesError: No image, or a table without the needed columns.
    """
    if index is not None:
        return _from_load_data(images, index, channels, take)
    passed: dict[Place, pathlib.Path] = {}
    there: set[tuple[int, int]] = set()
    takes: dict[Place, dict[tuple[str, int], _Take]] = collections.defaultdict(dict)
    for path in files_below(images):
        if not (match := _PHENIX.fullmatch(path.name)):
            continue
        row, column, field, plane, channel, time = (int(part or 1) for part in match.groups())
        batch, plate = _batch_and_plate(path)
        place = (batch, plate, row_column_name(row, column), str(field))
        there.add((time, plane))
        if not take.has(str(time), str(plane)):
            passed.setdefault(place, path)
            continue
        of_place = takes[place].setdefault((str(path.parent), time), {})
        of_place.setdefault(str(channel), []).append((plane, path))
    if passed and not takes:
        times, planes = (", ".join(map(str, sorted(set(of)))) for of in zip(*there, strict=True))
        raise ImagesError(
            f"{images}: no image has {take}; there are time points {times} and planes {planes}"
        )
    found, rejected, notes = _one_take(takes)
    rejected += [
        Rejection(str(path), *place, f"the field has no image of {take}")
        for place, path in passed.items()
        if place not in takes
    ]
    if passed:
        notes.append(f"of each field {take} is taken, as asked for")
    table = join_channels(found, channels, where=str(images), rejected=rejected)
    return dataclasses.replace(table, notes=(*table.notes, *notes))


def _one_take(
    takes: Mapping[Place, Mapping[tuple[str, int], _Take]],
) -> tuple[dict[Place, dict[str, Source]], list[Rejection], list[str]]:
    """Of several measurements and time points of a field the first of those with most channels.

    Channels of several are never mixed. Of several focal planes each channel has its first.

    Returns:
        The file of each channel, a rejection for every other take of a field, and notes.
    """
    found: dict[Place, dict[str, Source]] = {}
    rejected: list[Rejection] = []
    left_out = collections.Counter[str]()
    n_planes = n_apart = 0
    for place, of_place in takes.items():
        order = sorted(of_place, key=lambda t: (-len(of_place[t]), number_key(t[0]), t[1]))
        (folder, time), *others = order
        for other, other_time in others:
            files = of_place[other, other_time]
            first = min(path for of_channel in files.values() for _, path in of_channel)
            what = f"time point {other_time}" if other == folder else other
            left_out[what] += 1
            reason = f"the field is imaged again: taken is time point {time} of {folder}"
            rejected.append(Rejection(str(first), *place, reason))
        chosen = {}
        for channel, files in of_place[folder, time].items():
            (plane, path), *further = sorted(files)
            chosen[channel] = (plane, path)
            n_planes += sum(p != plane for p, _ in further)
            reason = f"channel {channel} of this field is there twice: taken is {path.name}"
            rejected += [Rejection(str(f), *place, reason) for p, f in further if p == plane]
        n_apart += len({plane for plane, _ in chosen.values()}) > 1
        found[place] = {channel: Source(path) for channel, (_, path) in chosen.items()}
    notes = []
    if left_out:
        told = ", ".join(f"{what} ({n:,})" for what, n in left_out.items())
        notes.append(
            f"fields that are imaged several times count once, by the first measurement and time "
            f"point with most channels; left out, with fields: {told}; --time-point=N, or "
            "--images=FOLDER of one measurement, takes another"
        )
    if n_planes:
        notes.append(
            f"several focal planes: the first of each channel is taken, {n_planes:,} files of "
            "other planes are left out; --plane=N takes another"
        )
    if n_apart:
        notes.append(f"in {n_apart:,} fields the channels lie on different focal planes")
    return found, rejected, notes


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
    images: pathlib.Path, index: pathlib.Path, channels: Sequence[str], take: Take
) -> FieldTable:
    frame = taken_rows(read_listing(index), index, take)
    named = {match[1]: name for name in frame if (match := _FILE.fullmatch(name))}
    files = {c: name for c, name in named.items() if not _ILLUMINATION.match(c)}
    if not files:
        raise ImagesError(f"{index}: no FileName_ column of images; give a load_data.csv")
    notes = [
        f"{named[c]} names illumination functions, which are not applied: no channel"
        for c in named
        if c not in files
    ]
    check_channels(channels, list(files), where=str(index))
    taken = channels or list(files)
    # Paths are those of the machine that ran CellProfiler, so files are also looked for by plate
    # folder and name.
    places = Places.of(frame, index)
    here = _ByName(images)
    listed: list[dict[str, pathlib.Path]] = []
    reasons: list[tuple[str, str]] = []  # against each row, and the file to blame
    for i in range(len(frame)):
        row: dict[str, pathlib.Path] = {}
        against = ("", "")
        for channel in taken:
            if not (name := frame[files[channel]].iat[i]):
                continue
            folder_column = files[channel].replace("FileName", "PathName")
            folder = frame[folder_column].iat[i] if folder_column in frame else ""
            row[channel], doubt = here.find(folder, name, places.plate[i])
            if doubt and not against[0]:
                against = (doubt, str(row[channel]))
        listed.append(row)
        reasons.append(against)
    uses = [
        (i, (Source(path), places.row(i), channel))
        for i, row in enumerate(listed)
        if not reasons[i][0]
        for channel, path in row.items()
    ]
    doubts = listed_again([use for _, use in uses])
    for (i, (source, _, _)), reason in zip(uses, doubts, strict=True):
        if reason and not reasons[i][0]:
            reasons[i] = (reason, str(source))
    found: dict[Place, dict[str, Source]] = {}
    rejected: list[Rejection] = []
    for i, row in enumerate(listed):
        of_place = found.get(places.row(i), {})
        if not reasons[i][0] and (twice := sorted(row.keys() & of_place.keys())):
            number = frame.index[i] + 1
            again = f"data row {number}: this field is listed twice, the first row is taken"
            reasons[i] = (again, str(row[twice[0]]))
        reason, blamed = reasons[i]
        if reason:
            rejected.append(Rejection(blamed, *places.row(i), reason))
        else:
            of_row = {channel: Source(path) for channel, path in row.items()}
            found.setdefault(places.row(i), {}).update(of_row)
    table = join_channels(found, channels, where=str(index), rejected=rejected)
    skip = {*named.values(), *(c.replace("FileName", "PathName") for c in named.values())}
    metadata, more = places.metadata(
        frame.drop(columns=[c for c in skip if c in frame]), index, [not r for r, _ in reasons]
    )
    return dataclasses.replace(table, metadata=metadata, notes=(*notes, *more))


class _ByName:
    """Finds files by their path, or else by name below a folder, where they may be the plate's."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._index: dict[str, list[pathlib.Path]] | None = None

    def find(self, folder: str, name: str, plate: str) -> tuple[pathlib.Path, str]:
        """The file, and why it cannot be taken; "" where it can, or is nowhere."""
        given = pathlib.Path(folder, name)
        if folder and given.exists():
            return given, ""
        if self._index is None:
            self._index = collections.defaultdict(list)
            for path in files_below(self._root):
                self._index[path.name].append(path)
        wanted = pathlib.PureWindowsPath(folder).parts[::-1]  # which parts at / and \\
        named = self._index.get(name, [])
        candidates = [path for path in named if self._may_be(path, wanted, plate)]
        if named and not candidates:
            return named[0], (
                f"{given} is not there, and {name} lies only in {named[0].parent}, which is called "
                f"neither as the plate ({plate}) nor as its folder: name the plate's with --images"
            )
        # By as much of the folder's end as is the same, then by the plate's folder.
        scores = [(_common(wanted, p.parts[-2::-1]), _of_plate(p, plate)) for p in candidates]
        best = [p for p, s in zip(candidates, scores, strict=True) if s == max(scores)]
        if len(best) > 1:
            return best[0], (
                f"{name} lies in several folders ({best[0].parent}, {best[1].parent}): name the "
                "plate's with --images"
            )
        # A file that is nowhere stays in the table, and is rejected when it is read.
        return (best[0] if best else given), ""

    def _may_be(self, path: pathlib.Path, wanted: Sequence[str], plate: str) -> bool:
        """Whether a file of the right name is no other plate's, whose files bear the same names.

        It lies in a folder of the plate, in one that is called as the listing's, or in none of its
        own.
        """
        own = [p for p in path.relative_to(self._root).parts[:-1] if p.lower() != "images"]
        return not own or own[-1] in wanted or _of_plate(path, plate) > 0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many first parts are the same."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return sum(1 for _ in same)


def _of_plate(path: pathlib.Path, plate: str) -> int:
    """2 where a folder is the plate's, 1 where its name begins so, 0 otherwise."""
    names = [part.split("__")[0] for part in path.parts[:-1]]
    if plate in names:
        return 2
    begins = re.compile(re.escape(plate) + r"(?![A-Za-z0-9])")
    return int(bool(plate) and any(map(begins.match, names)))
