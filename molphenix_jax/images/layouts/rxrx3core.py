"""RxRx3-core's images: Parquet shards with one JPEG-2000 per channel (docs/method.md §7.1).

`__key__` is <experiment>/Plate<n>/<well>_s<site>_<channel>, `jp2` the 512x512 image of a channel.
"""

import collections
import pathlib
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax.images.fields import (
    Field,
    FieldTable,
    ImagesError,
    Place,
    Rejection,
    Take,
    join_channels,
    number_key,
)
from molphenix_jax.images.files import Source
from molphenix_jax.images.layouts.listing import refuse_take
from molphenix_jax.tables.names import well_name

_KEY = re.compile(
    r"(?P<batch>[^/]+)/(?:Plate)?(?P<plate>[^/]+)/"
    r"(?P<well>[A-Za-z]+\d+)_s(?P<site>\d+)_(?P<channel>\d+)"
)
_IMAGE_COLUMNS = ("jp2", "image", "png", "tiff")


def find_rxrx3core(
    images: pathlib.Path, index: pathlib.Path | None, channels: Sequence[str], take: Take
) -> FieldTable:
    """Fields of one shard or of all shards in a folder, in the order of the shards.

    Plates are called as in metadata_rxrx3_core.csv, 1 and not Plate1.

    Raises:
        ImagesError: No shard, a shard without the columns, or no key of that form.
    """
    if index is not None:
        raise ImagesError("--index has no meaning for rxrx3-core: the shards name their images")
    refuse_take(take, "rxrx3-core")
    shards = sorted(images.rglob("*.parquet")) if images.is_dir() else [images]
    found: dict[Place, dict[str, Source]] = collections.defaultdict(dict)
    rejected = []
    for shard in shards:
        try:
            names = pq.read_schema(shard).names
            if "__key__" not in names:
                continue  # an embeddings file beside the shards
            column = next((name for name in _IMAGE_COLUMNS if name in names), None)
            if column is None:
                raise ImagesError(f"{shard}: no column jp2; there are {', '.join(names)}")
            keys = pq.read_table(shard, columns=["__key__"]).column(0).to_pylist()
        except (OSError, pa.ArrowException) as error:
            rejected.append(Rejection(str(shard), "", "", "", "", f"unreadable: {error}"))
            continue
        for row, key in enumerate(keys):
            source = Source(shard, key=column, row=row)
            if not (match := _KEY.fullmatch(key or "")):
                reason = f"key {key!r} is not <experiment>/Plate<n>/<well>_s<site>_<channel>"
                rejected.append(Rejection(str(source), "", "", "", "", reason))
                continue
            place = (match["batch"], match["plate"], well_name(match["well"]), match["site"])
            if (channel := match["channel"]) in found[place]:
                reason = f"channel {channel} is in {found[place][channel]} already, which is taken"
                rejected.append(Rejection(str(source), *place, reason))
                continue
            found[place][channel] = source
    if not found:
        first = f"; the first problem: {rejected[0].file}: {rejected[0].reason}" if rejected else ""
        raise ImagesError(f"{images}: no Parquet shard with keys of RxRx3-core's images{first}")
    table = join_channels(found, channels, where=str(images), rejected=rejected)
    # In the order of the shards, so that a row group is read once.
    fields = sorted(table.fields, key=_position)
    return FieldTable(tuple(fields), table.channels, table.rejected)


def _position(field: Field) -> tuple:
    first = field.sources[0]
    return number_key(str(first.path)), first.row
