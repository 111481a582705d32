"""Graphs kept on disk as ArrayRecord, made shard by shard: what was made survives a kill.

    <cache>/graphs-<key>/header.json                        what they were computed from
    <cache>/graphs-<key>/graphs-00002-of-00029.arrayrecord  a record for each distinct SMILES

The key is a hash of all distinct SMILES, of the featuriser's version and of its options: other
molecules or another RDKit get a folder of their own, and never the graphs of this one. A shard
appears under its name once it is complete; a run that finds some of them makes the others.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from array_record.python import array_record_data_source
from array_record.python.array_record_module import (  # pyright: ignore[reportMissingImports]
    ArrayRecordWriter,
)
from jaxtyping import Int

from molphenix_jax.errors import InputError
from molphenix_jax.molecules.graphs.featurise import MAX_ATOMS, featurise_records
from molphenix_jax.molecules.graphs.record import MolecularGraph, decode
from molphenix_jax.molecules.graphs.vocabulary import graphs_version
from molphenix_jax.storage import digest_texts, new_file, waiting_lock, write_json

FORMAT_VERSION = 1
_HEADER = "header.json"
# A shard takes seconds: that much work a kill can cost.
SHARD_SIZE = 4096
# Written where the featuriser rejected a molecule, before the reason. As the start of a graph it
# would say 0 atoms, which no graph has.
_REJECTED = bytes(4)
_READ_AT_ONCE = 4096


class GraphCacheError(InputError):
    """Stored graphs that cannot be used; says which, why and what to do."""


@dataclasses.dataclass(frozen=True)
class GraphStore:
    """Graphs on disk, read when asked for. n rows, m of them distinct.

    A sequence: `store[i]` is the graph of row i (None if it was rejected), `len(store)` is n, and
    `store.__getitems__([...])` reads many at once, as Grain does. Small to pickle.

    Attributes:
        folder: Where the shards are.
        row_of: Record of each row.
        rejected: One row per rejected row: row, field, value, reason.
        convention: Of `featurise_graphs`.
    """

    folder: pathlib.Path
    row_of: Int[np.ndarray, " n"]
    rejected: pd.DataFrame = dataclasses.field(repr=False)
    convention: str = "mpnn++"

    def __len__(self) -> int:
        return len(self.row_of)

    def __getitem__(self, row: int) -> MolecularGraph | None:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[MolecularGraph | None]:
        """Graphs of some rows, in their order."""
        wanted = self.row_of[np.asarray(rows, np.int64)].tolist()
        records = self._source.__getitems__(wanted) if wanted else []
        return [_graph(self.folder, record) for record in records]

    def load(self) -> list[MolecularGraph | None]:
        """All graphs in memory, about 2 kB for each distinct molecule; equal rows share theirs."""
        graphs: list[MolecularGraph | None] = []
        for start in range(0, len(self._source), _READ_AT_ONCE):
            rows = range(start, min(start + _READ_AT_ONCE, len(self._source)))
            graphs += [_graph(self.folder, each) for each in self._source.__getitems__(list(rows))]
        return [graphs[row] for row in self.row_of.tolist()]

    @functools.cached_property
    def _source(self) -> Any:
        return _open(self.folder, self.convention)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_source"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def prepare_graphs(
    smiles: Sequence[str],
    *,
    cache: str | pathlib.Path,
    max_atoms: int = MAX_ATOMS,
    convention: str = "mpnn++",
    shard_size: int = SHARD_SIZE,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> GraphStore:
    """Graphs of molecules from the cache; those that are not there are made first.

    Args:
        smiles: n SMILES as for `featurise_graphs`.
        cache: Folder for all such caches; made where missing.
        max_atoms: As for `featurise_graphs`.
        convention: As for `featurise_graphs`.
        shard_size: Distinct molecules in a shard.
        progress: Called after each shard with the numbers of molecules done and in all.
        say: Is told once for whom this process waits, where another makes the same graphs.

    Raises:
        GraphCacheError: What lies in the cache is damaged, or of another featuriser.
        StorageError: The cache cannot be written.
        ValueError: As `featurise_graphs`.
    """
    texts = [text if isinstance(text, str) else "" for text in smiles]
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    distinct = list(rows)
    header = {
        "format": FORMAT_VERSION,
        "featuriser": graphs_version(convention),
        "max_atoms": max_atoms,
        "shard_size": shard_size,
        "n_molecules": len(distinct),
        "smiles_sha256": digest_texts(distinct),
    }
    key = digest_texts([json.dumps(header, sort_keys=True)])[:16]
    folder = pathlib.Path(cache) / f"graphs-{key}"
    shards = [
        (distinct[start : start + shard_size], folder / name)
        for start, name in zip(
            range(0, len(distinct), shard_size), _shard_names(header), strict=True
        )
    ]
    whole = (folder / _HEADER).exists() and all(path.exists() for _, path in shards)
    lock = waiting_lock(folder, doing="filled", say=say)
    with contextlib.nullcontext() if whole else lock:
        _start(folder, header)
        done = 0
        for part, path in shards:
            if not path.exists():
                _write_shard(path, part, max_atoms, convention)
            done += len(part)
            if progress:
                progress(done, len(distinct))
    row_of = np.array([rows[text] for text in texts], np.int64)
    rejected = _rejected(folder, smiles, row_of, convention)
    return GraphStore(folder, row_of, rejected, convention)


def _start(folder: pathlib.Path, header: dict[str, Any]) -> None:
    if (folder / _HEADER).exists():
        _check_header(folder, header["featuriser"])
    else:
        write_json(folder / _HEADER, header)


def _check_header(folder: pathlib.Path, featuriser: str) -> dict[str, Any]:
    try:
        header = json.loads((folder / _HEADER).read_text())
        found, kind = header["featuriser"], header["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    if found != featuriser or kind != FORMAT_VERSION:
        raise GraphCacheError(
            f"the graphs in {folder} are of featuriser {found}, format {kind}; this program makes "
            f"{featuriser}, format {FORMAT_VERSION}: delete that folder to make them again"
        )
    return header


def _shard_names(header: dict[str, Any]) -> list[str]:
    n_shards = -(-header["n_molecules"] // header["shard_size"])
    return [f"graphs-{i:05d}-of-{n_shards:05d}.arrayrecord" for i in range(n_shards)]


def _write_shard(
    path: pathlib.Path, smiles: Sequence[str], max_atoms: int, convention: str
) -> None:
    records, rejected = featurise_records(smiles, max_atoms=max_atoms, convention=convention)
    reasons = dict(zip(rejected["row"], rejected["reason"], strict=True))
    with new_file(path) as private:
        # One record a group: any one can be read without its neighbours.
        writer = ArrayRecordWriter(str(private), "group_size:1")
        try:
            for row, record in enumerate(records):
                writer.write(_REJECTED + reasons[row].encode() if record is None else record)
        finally:
            writer.close()


def _open(folder: pathlib.Path, convention: str) -> Any:
    header = _check_header(folder, graphs_version(convention))
    if not header["n_molecules"]:
        return ()
    try:
        source = array_record_data_source.ArrayRecordDataSource(
            [str(folder / name) for name in _shard_names(header)]
        )
        found = len(source)
    except (RuntimeError, ValueError, OSError, IndexError) as error:
        raise _damaged(folder, error) from error
    if found != header["n_molecules"]:
        raise _damaged(folder, f"{found} records for {header['n_molecules']} molecules")
    return source


def _graph(folder: pathlib.Path, record: bytes) -> MolecularGraph | None:
    if record.startswith(_REJECTED):
        return None
    try:
        return decode(record)
    except ValueError as error:
        raise _damaged(folder, error) from error


def _rejected(
    folder: pathlib.Path, smiles: Sequence[str], row_of: Int[np.ndarray, " n"], convention: str
) -> pd.DataFrame:
    source = _open(folder, convention)
    reasons: dict[int, str] = {}
    for start in range(0, len(source), _READ_AT_ONCE):
        rows = range(start, min(start + _READ_AT_ONCE, len(source)))
        for row, record in zip(rows, source.__getitems__(list(rows)), strict=True):
            if record.startswith(_REJECTED):
                reasons[row] = record[len(_REJECTED) :].decode()
    found = [
        (i, "smiles", smiles[i], reasons[record])
        for i, record in enumerate(row_of.tolist())
        if record in reasons
    ]
    return pd.DataFrame(found, columns=["row", "field", "value", "reason"])


def _damaged(folder: pathlib.Path, why: object) -> GraphCacheError:
    return GraphCacheError(
        f"the graphs in {folder} are damaged ({why}); delete that folder to make them again"
    )
