"""A field of view: where its channels lie, and how they become one array."""

import collections
import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Num

from molphenix_jax.errors import InputError
from molphenix_jax.images.files import MAX_IMAGE_MIB, ImageError, Source, SourceReader
from molphenix_jax.storage import write_csv

# Fields whose sizes decide which size is the usual one.
PROBES = 9


Place = tuple[str, str, str, str]  # batch, plate, well, field


class ImagesError(InputError):
    """Images that cannot be used at all; the message names folder or file, and the remedy."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of view of one well.

    Attributes:
        batch: Experiment; may be empty.
        plate: Plate.
        well: Well as A01.
        field: Field within the well.
        sources: One for each channel, or a single one with all channels if `stacked`.
        stacked: Whether the single source holds [channels, h, w] or [h, w, channels].
    """

    batch: str
    plate: str
    well: str
    field: str
    sources: tuple[Source, ...]
    stacked: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """The well: batch, plate, well."""
        return self.batch, self.plate, self.well


class Take(NamedTuple):
    """Which of several images of a field are taken; "" leaves it to the layout: the first.

    Attributes:
        time_point: Number (or text, in a listing) of the time point.
        plane: Of the focal plane.
    """

    time_point: str = ""
    plane: str = ""

    def __str__(self) -> str:
        told = {"time point": self.time_point, "plane": self.plane}
        return ", ".join(f"{what} {number}" for what, number in told.items() if number)

    def has(self, time_point: str, plane: str) -> bool:
        """Whether an image of this time point and plane is one of them."""
        same = lambda wanted, given: wanted in ("", given) or _number(wanted) == _number(given)  # noqa: E731
        return same(self.time_point, time_point) and same(self.plane, plane)


def _number(text: str) -> str:
    return re.sub(r"^0+(?=\d)", "", text.strip())


class Flaw(NamedTuple):
    """What makes a channel none.

    Attributes:
        channel: Its position.
        same_as: Position of the channel that it repeats; -1 where all of its pixels are one number.
    """

    channel: int
    same_as: int


def find_flaws(image: Num[np.ndarray, "c h w"]) -> frozenset[Flaw]:
    """Channels of one number (a closed shutter, a lost file), and those that repeat another."""
    blank = [bool((channel == channel.flat[0]).all()) for channel in image]
    told = [i for i, is_blank in enumerate(blank) if not is_blank]
    again = [Flaw(b, a) for a, b in itertools.combinations(told, 2) if _same(image[a], image[b])]
    return frozenset((*(Flaw(i, -1) for i, is_blank in enumerate(blank) if is_blank), *again))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[0] == b[0]).all() and (a == b).all())


def describe_flaws(flaws: Collection[Flaw]) -> str:
    """In words, channels counted from 1."""
    blank = [str(flaw.channel + 1) for flaw in sorted(flaws) if flaw.same_as < 0]
    told = [f"channel {', '.join(blank)} shows nothing: all pixels are one number"] if blank else []
    told += [
        f"channel {flaw.channel + 1} is the image of channel {flaw.same_as + 1} again"
        for flaw in sorted(flaws)
        if flaw.same_as >= 0
    ]
    return "; ".join(told)


class Rejection(NamedTuple):
    """A row of `rejected.csv`."""

    file: str
    batch: str
    plate: str
    well: str
    field: str
    reason: str


def reject(field: Field, reason: str, source: Source | None = None) -> Rejection:
    """The rejection of a field, blamed on a source or on its first one."""
    source = source or (field.sources[0] if field.sources else None)
    return Rejection(str(source or ""), *field.place, field.field, reason)


def write_rejected(path: pathlib.Path, rejected: Sequence[Rejection]) -> None:
    """Writes rejections as CSV, one row each."""
    write_csv(path, pd.DataFrame(rejected, columns=list(Rejection._fields)))


@dataclasses.dataclass(frozen=True)
class FieldTable:
    """What a layout found.

    Attributes:
        fields: Sorted by batch, plate, well and field, none twice.
        channels: Names, in the order of `Field.sources`; empty for stacked fields.
        rejected: Files that make no field.
        metadata: What the listing says of its fields beside the place: a row for each field, with
            the columns batch, plate, well and those of the file.
        notes: What was decided, one sentence each.
    """

    fields: tuple[Field, ...]
    channels: tuple[str, ...]
    rejected: tuple[Rejection, ...] = ()
    metadata: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()


def number_key(text: str) -> tuple:
    """Sorts 2 before 10, in names too."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text))


def listed_again(uses: Sequence[tuple[Source, Place, str]]) -> list[str]:
    """For each listed (file, place, channel) why it cannot be believed; "" where it can.

    A file that is listed for two fields, or as two channels of one, shows one of them at most.
    """
    file = [(os.path.normpath(s.path), s.key, s.index, s.row) for s, _, _ in uses]
    of_file: dict[tuple, list[tuple[Place, str]]] = collections.defaultdict(list)
    for key, (_, place, channel) in zip(file, uses, strict=True):
        known = of_file[key]
        # Three tell each of many that there is another.
        if len(known) < 3 and (place, channel) not in known:
            known.append((place, channel))
    reasons = []
    for key, (_, place, channel) in zip(file, uses, strict=True):
        others = [other for other in of_file[key] if other != (place, channel)]
        far = next((other for other, _ in others if other != place), None)
        what = " ".join(filter(None, far)) if far else f"channel {others[0][1]}" if others else ""
        reasons.append(
            f"the file is listed for {what} too, and which of them it shows cannot be told"
            if what
            else ""
        )
    return reasons


def join_channels(
    found: Mapping[Place, Mapping[str, Source]],
    wanted: Sequence[str],
    *,
    where: str,
    rejected: Sequence[Rejection] = (),
) -> FieldTable:
    """Joins files of single channels to fields.

    Args:
        found: (batch, plate, well, field) → channel → file.
        wanted: Channels to take, in this order; none means all that there are.
        where: Named in errors.
        rejected: What cannot be used for other reasons.

    Raises:
        ImagesError: No file, or an unknown channel.
    """
    known = sorted({c for channels in found.values() for c in channels}, key=number_key)
    if not known and rejected:
        return FieldTable((), tuple(wanted), tuple(rejected))
    if not known:
        raise ImagesError(f"{where}: no image of this layout; see --layout")
    check_channels(wanted, known, where=where)
    names = tuple(wanted or known)
    fields, incomplete = [], []
    for place in sorted(found, key=lambda p: tuple(map(number_key, p))):
        channels = found[place]
        missing = [name for name in names if name not in channels]
        sources = tuple(channels[name] for name in names if name in channels)
        field = Field(*place, sources)
        if missing:
            incomplete.append(reject(field, f"no file for channel {', '.join(missing)}"))
        else:
            fields.append(field)
    return FieldTable(tuple(fields), names, (*incomplete, *rejected))


def check_channels(wanted: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Fails on a channel that is not there."""
    for name in wanted:
        if name not in known:
            raise ImagesError(f"{where}: no channel {name!r}; there are {', '.join(known)}")


class FieldReader:
    """Reads fields as [c, h, w]; all have to be of one shape. Shared among threads."""

    def __init__(self, channels: Sequence[int] = (), max_mib: float = MAX_IMAGE_MIB):
        """Makes a reader of fields of any shape.

        Args:
            channels: Positions of the channels to take from stacked fields; none means all.
            max_mib: MiB that one image may have once it is decoded.
        """
        self.max_mib = max_mib
        self._read, self.channels = SourceReader(max_mib), tuple(channels)
        self.shape: tuple[int, ...] = ()
        # Of the fields that `expect_usual_shape` looks at: how many have which pixels.
        self.pixels: dict[str, int] = {}
        self.highest = 0.0
        self.only_8_bits = False  # other fields are errors
        self.flaws: frozenset[Flaw] | None = None  # of all fields looked at; others are errors

    def expect_usual_shape(self, fields: Sequence[Field]) -> tuple[int, ...]:
        """Looks at some fields; from now on another shape than most of them have is an error.

        Raises:
            ImagesError: None of the fields can be read.
        """
        at = np.unique(np.linspace(0, len(fields) - 1, PROBES).astype(int)).tolist()
        shapes: list[tuple[int, ...]] = []
        flaws: list[frozenset[Flaw]] = []
        first = ""
        # All others come last, for the case that none of the probes is readable.
        for i in [*at, *(i for i in range(len(fields)) if i not in set(at))]:
            if len(shapes) and i not in at:
                break
            try:
                image = self(fields[i])
                shapes.append(image.shape)
                flaws.append(find_flaws(image))
                kind = str(image.dtype)
                self.pixels[kind] = self.pixels.get(kind, 0) + 1
                self.highest = max(self.highest, float(image.max()))
            except ImageError as error:
                first = first or f"{error.source or fields[i].sources[0]}: {error}"
        if not shapes:
            raise ImagesError(f"none of {len(fields)} fields can be read; the first is {first}")
        self.shape = collections.Counter(shapes).most_common(1)[0][0]
        alike = (of for of, shape in zip(flaws, shapes, strict=True) if shape == self.shape)
        self.flaws = frozenset.intersection(*alike)
        return self.shape

    def __call__(self, field: Field) -> Num[np.ndarray, "c h w"]:
        """The field with its channels.

        Raises:
            ImageError: A channel cannot be read, or has an unexpected size.
        """
        if field.stacked:
            image = self._stacked(field)
        else:
            parts = [self._plane(source) for source in field.sources]
            sizes = {part.shape for part in parts}
            if len(sizes) > 1:
                raise ImageError(f"channels differ in size: {_words(sizes)}")
            image = np.stack(parts)
        if image.dtype.kind not in "uif":
            raise ImageError(f"pixels are {image.dtype}, not numbers")
        if self.only_8_bits and image.dtype != np.uint8:
            raise ImageError(
                f"pixels are {image.dtype} where the fields looked at first have 8 bits; "
                "--standardise=image treats both alike"
            )
        if self.shape and image.shape != self.shape:
            raise ImageError(
                f"{_words([image.shape])} where most fields are {_words([self.shape])}"
            )
        if self.flaws is not None and (new := find_flaws(image) - self.flaws):
            error = ImageError(describe_flaws(new))
            error.source = None if field.stacked else field.sources[min(new).channel]
            raise error
        return image

    def _plane(self, source: Source) -> np.ndarray:
        try:
            return _plane(self._read(source))
        except ImageError as error:
            error.source = source
            raise

    def _stacked(self, field: Field) -> np.ndarray:
        image = self._read(field.sources[0])
        if image.ndim == 2:
            image = image[None]
        if image.ndim != 3 or not image.size:
            raise ImageError(f"an array of {_words([image.shape])} is no image with channels")
        if image.shape[0] > image.shape[2]:  # the short axis is that of the channels
            image = np.moveaxis(image, 2, 0)
        if self.channels:
            if max(self.channels) >= len(image):
                raise ImageError(f"{len(image)} channels, fewer than --channels asks for")
            image = image[list(self.channels)]
        return image


def _plane(image: np.ndarray) -> np.ndarray:
    plane = image.squeeze()
    if plane.ndim == 3 and plane.shape[2] in (3, 4) and (plane[..., :1] == plane[..., 1:3]).all():
        plane = plane[..., 0]  # grey, saved as colour
    if plane.ndim != 2 or not plane.size:
        raise ImageError(f"an array of {_words([image.shape])} is no image of one channel")
    return plane


def _words(shapes: Sequence[tuple[int, ...]] | set[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
