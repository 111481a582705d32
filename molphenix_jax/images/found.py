"""The usable fields of a layout, with a reader and what was done to their wells."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from molphenix_jax.images.fields import (
    Field,
    FieldReader,
    FieldTable,
    ImagesError,
    Rejection,
    Take,
    describe_flaws,
    reject,
)
from molphenix_jax.images.files import MAX_IMAGE_MIB
from molphenix_jax.images.layouts import LAYOUTS
from molphenix_jax.images.metadata import Metadata, find_metadata


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Where the images are.

    Attributes:
        layout: A key of `LAYOUTS`.
        images: Folder or file.
        index: Table that lists them, where the layout has one.
        metadata: Table of treatments by plate and well; None where the listing has them.
        channels: Names of the channels, in order; for files with several channels 1, 2, … None
            means all.
        columns: Our name of a metadata column → the table's.
        concentration_unit: Of concentrations whose cell names none; "" asks the column.
        max_image_mib: MiB that one image may have once it is decoded; larger ones are rejected.
        take: Time point and plane, where fields have several.
    """

    layout: str
    images: pathlib.Path
    index: pathlib.Path | None = None
    metadata: pathlib.Path | None = None
    channels: tuple[str, ...] = ()
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    concentration_unit: str = ""
    max_image_mib: int = MAX_IMAGE_MIB
    take: Take = Take()


@dataclasses.dataclass(frozen=True)
class FoundFields:
    """Fields of one shape whose treatment is known; f fields of w wells.

    Attributes:
        fields: In the order in which they are read best.
        rejected: Files and fields that are of no use, with the reason.
        metadata: Treatment of each well.
        read: Reads a field as [c, h, w] and refuses other shapes.
        shape: That shape.
        notes: What was decided, one sentence each.
    """

    fields: tuple[Field, ...]
    rejected: tuple[Rejection, ...]
    metadata: Metadata
    read: FieldReader
    shape: tuple[int, ...]
    notes: tuple[str, ...]


def find_fields(source: ImageSource) -> FoundFields:
    """Lists the images, finds their wells' treatments, and looks at some for the usual shape.

    Raises:
        ImagesError: No usable field; the message says why.
    """
    table = LAYOUTS[source.layout](source.images, source.index, source.channels, source.take)
    if not isinstance(table, FieldTable):
        raise ImagesError(f"layout {source.layout!r} gives {table!r:.80}, not a FieldTable")
    if not (table.fields or table.rejected):
        raise ImagesError(f"{source.images}: layout {source.layout!r} finds no file there")
    if not table.fields:
        first = table.rejected[0]
        raise ImagesError(f"{source.images}: no complete field; {first.file}: {first.reason}")
    metadata = find_metadata(
        table.fields, table.metadata, source.metadata, source.columns, source.concentration_unit
    )
    known = {tuple(place) for place in metadata.table[metadata.known].iloc[:, :3].to_numpy()}
    unknown = [
        reject(field, f"the well is not in {source.metadata}")
        for field in table.fields
        if field.place not in known
    ]
    fields = tuple(field for field in table.fields if field.place in known)
    read = FieldReader(() if table.channels else _positions(source.channels), source.max_image_mib)
    shape = read.expect_usual_shape(fields)
    channels = table.channels or source.channels or tuple(str(i + 1) for i in range(shape[0]))
    notes = (
        f"{len(fields):,} fields of {len(known):,} wells, {shape[0]} channels "
        f"({', '.join(channels)}) of {shape[1]} x {shape[2]} pixels",
        *([f"in all fields looked at {describe_flaws(read.flaws)}"] if read.flaws else []),
        *table.notes,
        *metadata.notes,
    )
    return FoundFields(fields, (*table.rejected, *unknown), metadata, read, shape, notes)


def _positions(channels: Sequence[str]) -> tuple[int, ...]:
    """Channels of an array, counted from 1, as positions."""
    for channel in channels:
        if not channel.isdigit() or int(channel) < 1:
            raise ImagesError(f"channel {channel!r}: the channels of an array are 1, 2, ...")
    return tuple(int(channel) - 1 for channel in channels)
