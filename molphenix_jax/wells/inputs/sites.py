"""JUMP-Lite's per-site features in long form, pooled to one row per well.

JUMP-Lite v1.0 (Cell Painting Gallery, cpg0016-jump/source_all) holds a Parquet file for each image
site, `tile, label, branch, metric, value, object, tp`: one row for each tile and feature, where the
name of a feature is branch and metric together. A model has 855,519 such files, so they are read a
well at a time, and each plate is kept once it is pooled: what was interrupted goes on.
"""

import functools
import itertools
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from molphenix_jax.storage import digest_texts, make_file_once, make_folder_once
from molphenix_jax.tables.columns import WellsError, is_list, short

# How the numbers of all tiles and sites become those of their well. JUMP-Lite's own pipeline takes
# the median, over tiles and sites at once.
POOLS = {"median": np.nanmedian, "mean": np.nanmean}

_FORMS = (
    "<source>__<batch>__<plate>__<well>__<site>.parquet or "
    "<source>/<batch>/<plate>/<well>-<site>/embedding.parquet"
)
_GALLERY = "embedding.parquet"
_NEEDED = ("branch", "metric", "value")
_TILE = ("tile", "label", "tp")  # what tells the tiles or cells of a site apart
_SAY_EVERY = 20  # plates
_VERSION = 1  # of what a pooled plate holds


class Site(NamedTuple):
    """Where a file's site is, and the file."""

    source: str
    batch: str
    plate: str
    well: str
    site: str
    path: str

    @property
    def of_plate(self) -> tuple[str, ...]:
        """What the plate is called."""
        return self[:3]

    @property
    def of_well(self) -> tuple[str, ...]:
        """What the well is called."""
        return self[:4]

    @property
    def key(self) -> tuple[str, ...]:
        """What the site is called."""
        return self[:5]


def pool_sites(
    paths: Sequence[pathlib.Path],
    cache: pathlib.Path,
    *,
    pool: str,
    say: Callable[[str], None] = lambda _: None,
) -> pathlib.Path:
    """The wells table of some sites: one row per well, a row group per plate.

    Args:
        paths: Parquet files, and folders in which all Parquet files are taken.
        cache: Where it is kept, under a digest of the files' names, sizes and times.
        pool: median or mean, over all tiles of all sites of a well.
        say: Is told how far it is.

    Raises:
        WellsError: A file is no site, is there twice, or holds something else.
    """
    sites = find_sites(paths)
    plates = [list(of) for _, of in itertools.groupby(sites, key=lambda site: site.of_plate)]
    keys = [_digest(plate, pool) for plate in plates]
    folder = cache / f"jump_lite-{digest_texts(keys)[:16]}"
    table = folder / "jump_lite.parquet"
    if table.exists():
        say(f"pooled wells found in {table}")
        return table
    say(f"pooling {len(sites):,} sites of {len(plates):,} plates to wells, by their {pool}")
    pooled = [cache / f"jump_lite-plate-{key[:16]}.parquet" for key in keys]
    features: tuple[str, ...] = ()
    first = sites[0].path
    for n, (plate, path) in enumerate(zip(plates, pooled, strict=True), 1):
        make_file_once(path, lambda private: _write_plate(private, plate, pool), say=say)  # noqa: B023
        names = tuple(pq.read_schema(path).names[4:])
        features = features or names
        if names != features:
            _refuse_other(first, features, plate[0].path, names)
        if not n % _SAY_EVERY:
            say(f"- {n:,} of {len(plates):,} plates")

    def join(private: pathlib.Path) -> None:
        with pq.ParquetWriter(private / table.name, pq.read_schema(pooled[0])) as writer:
            for path in pooled:
                writer.write_table(pq.ParquetFile(path).read())

    make_folder_once(folder, join, say=say)
    for path in pooled:
        path.unlink(missing_ok=True)
    return table


def find_sites(paths: Sequence[pathlib.Path]) -> list[Site]:
    """The sites of some files and folders, in order of their plates and wells.

    Raises:
        WellsError: There is none, one has a name that tells no site, or two are the same site.
    """
    found = [_site(path) for given in paths for path in _files(given)]
    if not found:
        raise WellsError(
            f"{short([str(path) for path in paths], 3)}: no Parquet file in it; give the folder of "
            "one model, as …/openphenom-jpegxl_lossy_mq, or a pattern in quotation marks"
        )
    found.sort()
    for one, other in itertools.pairwise(found):
        if one.key == other.key:
            raise WellsError(
                f"{one.path} and {other.path} are both site {'__'.join(one.key)}: give the files "
                "of one model and one image codec"
            )
    return found


def _files(given: pathlib.Path) -> list[str]:
    if not given.is_dir():
        return [str(given)]
    return [
        os.path.join(folder, name)
        for folder, _, names in os.walk(given, followlinks=True)
        for name in names
        if name.endswith(".parquet") and not name.startswith(".")
    ]


def _site(path: str) -> Site:
    folder, name = os.path.split(path)
    stem = name.removesuffix(".parquet")
    parts = stem.split("__")
    if name == _GALLERY:
        *above, last = pathlib.PurePath(folder).parts
        well, dash, site = last.rpartition("-")
        parts = [*above[-3:], well, site] if dash and len(above) >= 3 else []
    if len(parts) != 5 or not all(parts) or name == stem:
        raise WellsError(f"{path}: its name tells no site: files are called {_FORMS}")
    source, batch, plate, well, site = parts
    return Site(source, batch, plate, well, site, path)


def _digest(plate: Sequence[Site], pool: str) -> str:
    """What a plate's pooled wells depend on, as far as one can tell without reading the files."""
    parts = [str(_VERSION), pool]
    for site in plate:
        try:
            told = os.stat(site.path)
        except OSError as error:
            raise WellsError(f"{site.path}: cannot be read ({error.strerror})") from error
        parts += [*site.key, str(told.st_size), str(told.st_mtime_ns)]
    return digest_texts(parts)


def _write_plate(path: pathlib.Path, plate: Sequence[Site], pool: str) -> None:
    wells, rows = [], []
    features: tuple[str, ...] = ()
    for of, sites in itertools.groupby(plate, key=lambda site: site.of_well):
        values = []
        for site in sites:
            names, matrix = read_site(site.path)
            features = features or names
            if names != features:
                _refuse_other(plate[0].path, features, site.path, names)
            values.append(matrix)
        wells.append(of)
        rows.append(_pooled(np.concatenate(values), pool))
    told = zip(("Source", "Batch", "Plate", "Well"), zip(*wells, strict=True), strict=True)
    columns = {f"Metadata_{name}": pa.array(texts, pa.string()) for name, texts in told}
    profile = np.stack(rows).astype(np.float32)
    columns |= {name: pa.array(profile[:, j]) for j, name in enumerate(features)}
    pq.write_table(pa.table(columns), path)


def _pooled(values: Float[np.ndarray, "t d"], pool: str) -> Float[np.ndarray, " d"]:
    """One number per feature of a well's tiles; NaN where all tiles lack it."""
    if not np.isnan(values).any():
        return (np.median if pool == "median" else np.mean)(values, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a feature that all tiles lack
        return POOLS[pool](values, axis=0)


def read_site(path: str) -> tuple[tuple[str, ...], Float[np.ndarray, "t d"]]:
    """The features of a file, in order of their names and numbers, and their values by tile.

    Raises:
        WellsError: The file is damaged, or is not in the long form.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _need_long(path, schema)
            wanted = [n for n in (*_NEEDED, *_TILE, "object") if n in schema.names]
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise WellsError(f"{path}: cannot be read as Parquet: copy it again") from error
    if not table.num_rows:
        raise WellsError(f"{path}: no row: copy it again, or leave the file out")
    names, code = _features(table)
    if "" in names:
        raise WellsError(f"{path}: branch and metric are empty in some rows: copy it again")
    counts = np.bincount(code, minlength=len(names))
    tiles = [name for name in _TILE if name in table.column_names]
    n_tiles = table.group_by(tiles).aggregate([]).num_rows if tiles else int(counts.max())
    if (counts != n_tiles).any():
        at = int(np.flatnonzero(counts != n_tiles)[0])
        raise WellsError(
            f"{path}: feature {names[at]!r} has {counts[at]} values, where the file has {n_tiles} "
            f"different {', '.join(tiles)}: rows are missing or there twice; copy it again"
        )
    try:
        value = np.asarray(table.column("value").cast(pa.float64()))
    except pa.ArrowException as error:
        raise WellsError(f"{path}: value is not all numbers: copy it again") from error
    order = sorted(range(len(names)), key=lambda j: _natural(names[j]))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    by_name = np.argsort(place[code], kind="stable")
    return tuple(names[j] for j in order), value[by_name].reshape(len(names), n_tiles).T


def _need_long(path: str, schema: pa.Schema) -> None:
    lists = [f.name for f in schema if f.name in ("value", "values") and is_list(f.type)]
    if lists:
        raise WellsError(
            f"{path}: {lists[0]!r} holds lists, as files before v1.0 of JUMP-Lite do: take those "
            "of v1.0, which have one number in each row"
        )
    lacking = [name for name in _NEEDED if name not in schema.names]
    if lacking and not {"branch", "metric"} & set(schema.names):
        raise WellsError(
            f"{path}: no column {short(lacking)}: this is a wide file, with a column for each "
            "feature; put the wells into one table and prepare it without --layout"
        )
    if lacking:
        raise WellsError(
            f"{path}: no column {short(lacking)}; a site has tile, label, branch, metric, value, "
            "object, tp: copy it again"
        )


def _features(table: pa.Table) -> tuple[list[str], Int[np.ndarray, " r"]]:
    """The features that a site has, and which of them each row is of.

    Where there are cells and their parts, each object has its own features.
    """
    code, parts = np.zeros(table.num_rows, np.int64), []
    for name in ("object", "branch", "metric"):
        if name not in table.column_names:
            parts.append([""])
            continue
        column = table.column(name).combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        texts = [str(value) for value in column.dictionary.to_pylist()]
        indices = pc.fill_null(column.indices, len(texts)).to_numpy()
        parts.append([*texts, ""])  # the last stands for what is missing
        code = code * len(parts[-1]) + indices
    kinds, code = np.unique(code, return_inverse=True)
    places = np.unravel_index(kinds, [len(part) for part in parts])
    told = [[part[i] for i in at] for part, at in zip(parts, places, strict=True)]
    several = len(set(told[0])) > 1
    return [(f"{o}_" if several else "") + b + m for o, b, m in zip(*told, strict=True)], code


@functools.lru_cache(1 << 16)
def _natural(name: str) -> tuple[str, int, str]:
    """What sorts dinov2_10 behind dinov2_9."""
    stem = re.sub(r"\d+$", "", name)
    return stem, int(name[len(stem) :] or -1), name


def _refuse_other(first: str, features: tuple[str, ...], path: str, names: tuple[str, ...]) -> None:
    lacking = [name for name in features if name not in names]
    more = [name for name in names if name not in features]
    what = f"lacks {short(lacking, 3)}" if lacking else f"has {short(more, 3)} besides"
    raise WellsError(
        f"{path}: {len(names)} features, where {first} has {len(features)}: it {what}; all sites "
        "come from one model, so copy it again, or leave the file out"
    )
