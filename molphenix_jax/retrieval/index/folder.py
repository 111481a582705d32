"""The folder of an index: parts, each self-contained and whole or not there.

    INDEX/part-000-4f1c09d2a7b3-003-of-016-00007/
        embeddings.npy      float32 [n molecules, k doses, d], unit vectors
        molecules.parquet   n rows: id, smiles (standard), inchikey, scaffold, input_smiles, row
        rejected.csv        rows of the library that are not in it: row, field, value, reason
        manifest.json       what it was made of and by; signed

The name says which library of the index (0, then what was added), the digest of that library's
file, the shard and its chunk: parts of one index have different names wherever they were made, so
indexes of shards are joined by putting their parts into one folder.
"""

import dataclasses
import json
import pathlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from molphenix_jax import storage
from molphenix_jax.errors import InputError

# Bump it when a part of before cannot be read as those of today.
INDEX_FORMAT = 1
MANIFEST_FILE, EMBEDDINGS_FILE = "manifest.json", "embeddings.npy"
MOLECULES_FILE, REJECTED_FILE = "molecules.parquet", "rejected.csv"
COLUMNS = ("id", "smiles", "inchikey", "scaffold", "input_smiles", "row")
REJECTED_COLUMNS = ("row", "field", "value", "reason")
_SCHEMA = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in COLUMNS])
# What all parts of one index agree on.
SHARED = ("model", "featuriser", "doses_um", "conditions", "width")
_NAME = re.compile(r"part-\d{3,}-[0-9a-f]{12}-\d{3,}-of-\d{3,}-\d{5,}")


class LibraryError(InputError):
    """An index that is not there, not whole, or not what is asked for; says the remedy."""


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """Where a part belongs; in order.

    Attributes:
        library: 0 for what the index was made of, then what was added, in turn.
        source: SHA-256 of that library's file.
        shard: From 1.
        shards: Of how many.
        chunk: From 0, within the shard.
        chunks: Of how many.
    """

    library: int
    source: str
    shard: int
    shards: int
    chunk: int
    chunks: int

    @property
    def name(self) -> str:
        """Of the part's folder."""
        return (
            f"part-{self.library:03}-{self.source[:12]}-{self.shard:03}-of-{self.shards:03}"
            f"-{self.chunk:05}"
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """A part as its manifest tells of it.

    Attributes:
        path: Its folder.
        place: Where it belongs.
        n_molecules: Rows of its embeddings and its table.
        about: All of the manifest.
    """

    path: pathlib.Path
    place: Place
    n_molecules: int
    about: Mapping[str, Any]

    def embeddings(self) -> Float32[np.ndarray, "n k d"]:
        """Its embeddings, mapped into memory: what is not asked for is not read."""
        return np.load(self.path / EMBEDDINGS_FILE, mmap_mode="r", allow_pickle=False)

    def molecules(self, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
        """Columns of its molecules."""
        return pq.read_table(self.path / MOLECULES_FILE, columns=list(columns)).to_pandas()

    def rejected(self) -> pd.DataFrame:
        """What its rows of the library do not have in it."""
        types = {"field": str, "value": str, "reason": str}
        return storage.read_csv(self.path / REJECTED_FILE, dtype=types, keep_default_na=False)


def rejected_of(part: Part) -> pd.DataFrame:
    """What is not in a part, as the list of a whole index has it: file, `REJECTED_COLUMNS`."""
    table = part.rejected()
    table.insert(0, "file", part.about["library"]["name"])
    return table


def write_part(
    index: pathlib.Path,
    place: Place,
    *,
    embeddings: Float32[np.ndarray, "n k d"],
    molecules: pd.DataFrame,
    rejected: pd.DataFrame,
    about: Mapping[str, Any],
) -> None:
    """Publishes a part; one that is there already stays.

    Args:
        index: The folder of the index; made where it is missing.
        place: Where the part belongs.
        embeddings: Unit vectors.
        molecules: n rows with the columns of `COLUMNS`.
        rejected: With the columns of `REJECTED_COLUMNS`.
        about: The rest of the manifest: `SHARED` and what else there is to tell, JSON types.

    Raises:
        StorageError: It cannot be written.
    """
    with storage.new_folder(index / place.name) as private:
        _save(private / EMBEDDINGS_FILE, np.ascontiguousarray(embeddings, np.float32))
        table = pa.Table.from_pandas(molecules, schema=_SCHEMA, preserve_index=False)
        pq.write_table(table, private / MOLECULES_FILE)
        storage.write_csv(private / REJECTED_FILE, rejected.filter(list(REJECTED_COLUMNS)))
        head = {
            "format": INDEX_FORMAT,
            "place": dataclasses.asdict(place),
            "molecules": len(molecules),
            "bytes": {
                name: (private / name).stat().st_size for name in (EMBEDDINGS_FILE, MOLECULES_FILE)
            },
        }
        storage.write_json(private / MANIFEST_FILE, storage.signed({**head, **about}))


def _save(path: pathlib.Path, array: np.ndarray) -> None:
    """As `numpy.save`, which does not say why the disk refuses."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.reshape(-1).view(np.uint8).data)


def read_parts(index: pathlib.Path) -> list[Part]:
    """The parts of an index that may still be in the making, in order; none where it is empty.

    Raises:
        LibraryError: A part is damaged, of a newer format, doubled, or of another index.
    """
    if not index.is_dir():
        return []
    # By its manifest: a part that is copied under another name is found, and said to be doubled.
    # Private names, of parts that are being written, begin with a dot.
    all_names = [path for path in sorted(index.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in all_names if (path / MANIFEST_FILE).exists()]
    lost = [path for path in all_names if _NAME.fullmatch(path.name) and path not in folders]
    if lost:
        raise LibraryError(
            f"{lost[0]} has no {MANIFEST_FILE}: copy the part again from where it was made, or "
            "delete it and give the command that made it again"
        )
    parts = sorted((_read_part(path) for path in folders), key=lambda part: part.place)
    for one, other in zip(parts, parts[1:], strict=False):
        if one.place == other.place:
            raise LibraryError(
                f"{one.path} and {other.path} are the same part, {_called(one)}: delete one"
            )
    for part in parts[1:]:
        for name in SHARED:
            if _identity(part.about[name]) != _identity(parts[0].about[name]):
                raise LibraryError(
                    f"{parts[0].path} and {part.path} are of different indexes: {name} is "
                    f"{_short(parts[0].about[name])} in one and {_short(part.about[name])} in the "
                    "other. Put parts of one index alone into a folder"
                )
    return parts


def need_whole(index: pathlib.Path, parts: Sequence[Part]) -> None:
    """Stops where something is missing of an index.

    Raises:
        LibraryError: It names the first shard that is missing or there twice.
    """
    for source in dict.fromkeys(part.place.source for part in parts):
        of = [part for part in parts if part.place.source == source]
        library = of[0].about["library"]["name"]
        splits = Counter(part.place.shards for part in of)
        if len(splits) > 1:
            most = splits.most_common(1)[0][0]
            odd = next(part for part in of if part.place.shards != most)
            raise LibraryError(
                f"{index} has {library} twice: shard {odd.place.shard}/{odd.place.shards} lies "
                f"beside shards of {most}. Delete the parts of one of the two"
            )
        n, there = of[0].place.shards, {part.place.shard for part in of}
        wanted = [shard for shard in range(1, n + 1) if _rows_of(of[0], shard)]
        for shard in wanted:
            chunks = {p.place.chunk for p in of if p.place.shard == shard}
            total = next((p.place.chunks for p in of if p.place.shard == shard), 0)
            if shard in there and len(chunks) == total:
                continue
            lacking = f"{total - len(chunks)} of its {total} parts" if shard in there else "all"
            if n > 1:
                missing = len([s for s in wanted if s not in there])
                more = f" ({missing} of {n} shards are missing)" if missing > 1 else ""
                raise LibraryError(
                    f"{index} is not whole: of {library} shard {shard}/{n} is missing, "
                    f"{lacking}{more}. Put its parts there, or run molphenix index with "
                    f"--shard={shard}/{n} again, which continues"
                )
            raise LibraryError(
                f"{index} is not whole: of {library} {lacking} are missing. The same command "
                "continues it"
            )


def need_same(index: pathlib.Path, parts: Sequence[Part], about: Mapping[str, Any]) -> None:
    """Stops where what is to be made does not fit to the parts that are there.

    Raises:
        LibraryError: It names what differs.
    """
    for name in SHARED:
        if parts and _identity(parts[0].about[name]) != _identity(about[name]):
            raise LibraryError(
                f"{index} is another index: {name} is {_short(parts[0].about[name])} there, not "
                f"{_short(about[name])}. Choose another --out, or delete it"
            )


def _identity(value: Any) -> Any:
    """Of models their digest: where they lie makes no difference."""
    return value["digest"] if isinstance(value, Mapping) and "digest" in value else value


def _rows_of(part: Part, shard: int) -> int:
    start, stop = shard_rows(int(part.about["library"]["rows"]), shard, part.place.shards)
    return stop - start


def shard_rows(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First and last but one of a library's rows, from 0, in a shard."""
    return rows * (shard - 1) // shards, rows * shard // shards


def _read_part(folder: pathlib.Path) -> Part:
    try:
        about = json.loads((folder / MANIFEST_FILE).read_text())
        if about["format"] > INDEX_FORMAT:
            raise LibraryError(
                f"{folder} is of index format {about['format']}, this program reads up to "
                f"{INDEX_FORMAT}: use the version that made it, or a newer one"
            )
        part = Part(folder, Place(**about["place"]), int(about["molecules"]), about)
        sizes = {name: (folder / name).stat().st_size for name in about["bytes"]}
        changed = [name for name, size in about["bytes"].items() if sizes[name] != size]
        whole = storage.is_intact(about) and not changed
        if whole and part.n_molecules:
            shape = (part.n_molecules, len(about["doses_um"]), about["width"])
            whole = part.embeddings().shape == shape
    except LibraryError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(folder, MANIFEST_FILE) from error
    if not whole:
        raise _damaged(folder, changed[0] if changed else MANIFEST_FILE)
    return part


def _damaged(folder: pathlib.Path, name: str) -> LibraryError:
    return LibraryError(
        f"{folder} is damaged: {name} is not the file that was written. Copy it again from where "
        "it was made, or delete the folder and give the command that made it again"
    )


def _called(part: Part) -> str:
    place = part.place
    return (
        f"chunk {place.chunk} of shard {place.shard}/{place.shards} of "
        f"{part.about['library']['name']}"
    )


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "digest" in value:
        return f"{value.get('name', '')} ({value['digest'][:12]})"
    return json.dumps(value)
