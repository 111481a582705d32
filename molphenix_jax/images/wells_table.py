"""Images to a wells table: list, join with treatments, embed in parts, average, write.

While it works, `<out>.parts/` holds finished parts and what they were made from. The same command
continues them; other images or options than theirs are refused.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from molphenix_jax.errors import InputError
from molphenix_jax.images.depth import crop_for, is_mixed
from molphenix_jax.images.embedding import EmbedConfig, Encode, FieldEmbeddings, embed_fields
from molphenix_jax.images.fields import Field, ImagesError, write_rejected
from molphenix_jax.images.files import MAX_IMAGE_MIB
from molphenix_jax.images.found import FoundFields, ImageSource, find_fields
from molphenix_jax.phenomics import CropError, aggregate, crops_shape
from molphenix_jax.storage import digest, new_file, waiting_lock, write_json

# Raised when the same inputs would give other numbers.
VERSION = 2
_MANIFEST = "manifest.json"
# Columns beside the metadata's, by level.
_WRITTEN = {"field": ("field", "embedding"), "well": ("n_fields", "embedding")}
_KEY = b"molphenix.embed_images"


@dataclasses.dataclass(frozen=True)
class CropEncoder:
    """An encoder as a job needs it.

    Attributes:
        name: For people.
        sha256: Of its weights: other weights are another job.
        load: Makes the function for batches of crops with so many channels.
    """

    name: str
    sha256: str
    load: Callable[[int], Encode]


@dataclasses.dataclass(frozen=True)
class EmbedJob:
    """What `embed_images` is asked for.

    Attributes:
        source: The images.
        encoder: The encoder.
        config: Crops, batches, threads.
        out: Wells table to write, Parquet.
        level: A row for each "well" or "field".
    """

    source: ImageSource
    encoder: CropEncoder
    config: EmbedConfig
    out: pathlib.Path
    level: str


def embed_images(job: EmbedJob, *, say: Callable[[str], None] = lambda _: None) -> None:
    """Writes the wells table, and beside it `<out>.rejected.csv` where images are of no use.

    Raises:
        ImagesError: No usable image, or `out` was made from other images or options.
    """
    found = find_fields(job.source)
    for note in found.notes:
        say(f"- {note}")
    try:
        crops_shape(found.shape, job.config.crop)
    except CropError as error:
        raise ImagesError(f"{job.source.images}: {error}; see --crop and --core") from error
    crop, note = crop_for(found.read, job.config.crop)
    say(f"- {note}")
    manifest = _manifest(job, found)
    job = dataclasses.replace(job, config=dataclasses.replace(job.config, crop=crop))
    if _is_finished(job, manifest, say):
        return
    with waiting_lock(job.out, doing="made", say=say):
        if not _is_finished(job, manifest, say):
            _embed(job, found, manifest, say)


def _is_finished(job: EmbedJob, manifest: dict[str, Any], say: Callable[[str], None]) -> bool:
    if not job.out.exists():
        return False
    _refuse_another(job.out, _made_from(job.out), manifest)
    say(f"{job.out} is finished; delete it to make it again")
    return True


def _embed(
    job: EmbedJob, found: FoundFields, manifest: dict[str, Any], say: Callable[[str], None]
) -> None:
    parts = job.out.with_name(job.out.name + ".parts")
    _claim(parts, manifest)
    encode = job.encoder.load(found.shape[0])
    result = embed_fields(found.fields, found.read, encode, job.config, parts, say=say)
    for name in {*_WRITTEN[job.level]} & {*found.metadata.table.columns}:
        say(f"- the metadata's column {name!r} is left out: the table has its own of that name")
    table = _table(found, result, job.level)
    rejected = (*found.rejected, *result.rejected)
    if rejected:
        path = job.out.with_suffix(".rejected.csv")
        write_rejected(path, rejected)
        say(f"{len(rejected):,} rows were rejected: {path} has each with its reason")
    _write(table, job.out, manifest)
    shutil.rmtree(parts)
    say(
        f"{job.out}: {table.num_rows:,} {job.level}s, {result.embedding.shape[1]} features, "
        f"from {len(result.at):,} fields"
    )


def _manifest(job: EmbedJob, found: FoundFields) -> dict[str, Any]:
    """Everything that the numbers depend on; batch and part sizes among them."""
    manifest = {
        "version": VERSION,
        "images": hash_fields(found.fields),
        "metadata": digest([found.metadata.table.to_csv(index=False)]),
        "channels": list(job.source.channels),
        "shape": list(found.shape),
        "encoder": job.encoder.sha256,
        "crop": dataclasses.asdict(job.config.crop),
        "batch_size": job.config.batch_size,
        "part_fields": job.config.part_fields,
        "level": job.level,
    }
    if job.source.max_image_mib != MAX_IMAGE_MIB:  # jobs of earlier versions do not name it
        manifest["max_image_mib"] = job.source.max_image_mib
    if is_mixed(found.read):
        manifest["pixels"] = sorted(found.read.pixels)
    return manifest


def hash_fields(fields: tuple[Field, ...]) -> str:
    """Hash of the places, and of the names, sizes and times of the files."""
    return digest(_identity(fields))


def _identity(fields: tuple[Field, ...]) -> Iterator[str]:
    stats: dict[pathlib.Path, str] = {}
    for field in fields:
        yield "\0".join((*field.place, field.field))
        for source in field.sources:
            if source.path not in stats:
                stats[source.path] = _size_and_time(source.path)
            part = (source.path.name, stats[source.path], source.key, source.index, source.row)
            yield repr(part)


def _size_and_time(path: pathlib.Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _claim(parts: pathlib.Path, manifest: dict[str, Any]) -> None:
    path = parts / _MANIFEST
    try:
        if parts.is_symlink():
            raise ImagesError(f"{parts} is a link, which is not followed; delete it, or see --out")
        if path.exists():
            _refuse_another(parts, json.loads(path.read_text()), manifest)
        else:
            write_json(path, manifest)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise ImagesError(f"{path} is damaged; delete {parts}, and it is made again") from error


def _made_from(out: pathlib.Path) -> dict[str, Any]:
    try:
        metadata = pq.read_schema(out).metadata or {}
        return json.loads(metadata.get(_KEY, b"{}"))
    except (OSError, ValueError, pa.ArrowException):
        return {}


def _refuse_another(path: pathlib.Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    if not isinstance(theirs, dict):
        theirs = {}
    changed = [key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key)]
    if changed:
        raise ImagesError(
            f"{path} exists and was made with other {', '.join(changed)}; "
            "delete it, or choose another --out"
        )


def _table(found: FoundFields, result: FieldEmbeddings, level: str) -> pa.Table:
    """One row per well (the mean over its fields) or per field, with its treatment."""
    row_of_place = {
        tuple(place): row
        for row, place in enumerate(found.metadata.table.iloc[:, :3].to_numpy().tolist())
    }
    told = found.metadata.table.drop(columns=[*_WRITTEN[level]], errors="ignore")
    fields = [found.fields[i] for i in result.at]
    row = np.array([row_of_place[field.place] for field in fields])
    if level == "field":
        frame = told.iloc[row].reset_index(drop=True)
        frame.insert(3, "field", [field.field for field in fields])
        embedding = result.embedding
    else:
        wells, of_field, n_fields = np.unique(row, return_inverse=True, return_counts=True)
        frame = told.iloc[wells].reset_index(drop=True)
        frame.insert(3, "n_fields", n_fields)
        embedding = aggregate(result.embedding, of_field, len(wells))
    if not (frame["batch"] != "").any():
        frame = frame.drop(columns="batch")
    if not (frame["plate"] != "").any():
        frame = frame.drop(columns="plate")
    return _with_embedding(frame, embedding)


def _with_embedding(frame: pd.DataFrame, embedding: np.ndarray) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    values = pa.array(np.ascontiguousarray(embedding, np.float32).ravel())
    lists = pa.FixedSizeListArray.from_arrays(values, embedding.shape[1])
    return table.append_column("embedding", lists)


def _write(table: pa.Table, out: pathlib.Path, manifest: dict[str, Any]) -> None:
    with new_file(out) as private:
        pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(manifest)}), private)
