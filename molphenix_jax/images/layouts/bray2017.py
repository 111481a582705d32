"""Bray2017 as CLOOME curated it: one .npz for each field, index files keyed by SAMPLE_KEY (§7.3).

SAMPLE_KEY is PLATE-WELL-SITE; <SAMPLE_KEY>.npz holds `sample`, 520x696x5 uint8, with the channels
Mito, ERSyto, ERSytoBleed, Ph_golgi, Hoechst.
"""

import pathlib
from collections.abc import Sequence

from molphenix_jax.images.fields import (
    Field,
    FieldTable,
    ImagesError,
    Rejection,
    Take,
    number_key,
    reject,
)
from molphenix_jax.images.files import Source
from molphenix_jax.images.layouts.gallery import files_below
from molphenix_jax.images.layouts.listing import Places, find_column, read_listing, refuse_take
from molphenix_jax.tables.names import well_name


def find_bray2017(
    images: pathlib.Path, index: pathlib.Path | None, channels: Sequence[str], take: Take
) -> FieldTable:
    """Fields named by an index file, or all .npz below a folder.

    Raises:
        ImagesError: No image, or an index without SAMPLE_KEY.
    """
    del channels  # positions in the array: whoever reads picks them
    refuse_take(take, "bray2017")
    files: dict[str, pathlib.Path] = {}
    rejected = []
    for path in files_below(images):
        if path.suffix.lower() == ".npz" and files.setdefault(path.stem, path) != path:
            reason = f"{path.name} lies in {files[path.stem].parent} too, which is taken"
            plate, well, site = split_key(path.stem)
            rejected.append(Rejection(str(path), "", plate, well, site, reason))
    metadata, notes = None, ()
    keys = sorted(files, key=number_key)
    if index is not None:
        frame = read_listing(index)
        column = find_column(frame, ("samplekey",))
        if column is None:
            raise ImagesError(f"{index}: no column SAMPLE_KEY; give one of CLOOME's index files")
        keys = list(dict.fromkeys(frame[column]))
        split = [split_key(key) for key in frame[column]]
        places = Places(
            [""] * len(frame), [s[0] for s in split], [s[1] for s in split], [s[2] for s in split],
            tuple(c for c in frame if _repeats_the_key(c)),
        )  # fmt: skip
        metadata, notes = places.metadata(frame, index)
    if not keys:
        raise ImagesError(f"{images}: no .npz file; --images names the folder of Bray2017's images")
    fields: dict[tuple[str, ...], Field] = {}
    for key in keys:
        # A listed file that is nowhere is rejected when it is read.
        path = files.get(key, images / f"{key}.npz")
        plate, well, site = split_key(key)
        source = Source(path, key="sample")
        field = Field("", plate, well, site, (source,), stacked=True)
        taken = fields.setdefault((plate, well, site), field)
        if taken is not field:
            reason = f"{taken.sources[0].path.name} is the same field, and is taken"
            rejected.append(reject(field, reason))
    ordered = sorted(fields.values(), key=lambda f: tuple(map(number_key, (*f.place, f.field))))
    return FieldTable(tuple(ordered), (), tuple(rejected), metadata, notes)


def split_key(key: str) -> tuple[str, str, str]:
    """Plate, well and site of a SAMPLE_KEY."""
    plate, _, rest = key.partition("-")
    well, _, site = rest.partition("-")
    return plate, well_name(well), site


def _repeats_the_key(column: str) -> bool:
    names = ("plate", "plateid", "well", "wellposition", "site", "field", "samplekey", "imageid")
    return column.lower().replace("_", "") in names
