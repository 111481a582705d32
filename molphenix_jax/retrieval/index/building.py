"""Makes an index: a library in chunks of bounded memory, each embedded and published as a part.

What is there of a job that was stopped is not made again. A molecule, by its InChIKey, is embedded
once; rows that are not in the index are listed with their reasons.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

import molphenix_jax
from molphenix_jax import storage
from molphenix_jax.memory import in_words
from molphenix_jax.molecules import EmbeddingsFile, standardise
from molphenix_jax.molecules.files import Molecules, open_molecules
from molphenix_jax.molecules.files.reading import MoleculeFile
from molphenix_jax.molecules.parallel import n_workers
from molphenix_jax.retrieval.index.folder import (
    COLUMNS,
    REJECTED_COLUMNS,
    LibraryError,
    Part,
    Place,
    need_same,
    need_whole,
    read_parts,
    rejected_of,
    shard_rows,
    write_part,
)
from molphenix_jax.retrieval.model import Model
from molphenix_jax.retrieval.molecule_names import name_column
from molphenix_jax.retrieval.molecules import Featurised
from molphenix_jax.tables.columns import near

CHUNK_ROWS = 8192
_REPEATED = "the same molecule as a row before it:"
_SAMPLE = 256  # molecules that the time needed is told from
_ROW_BYTES = 250  # of a molecule in its table, packed: measured on 115,246 of JUMP's
_KEY_BYTES = 27
_KEY_COPIES = 2  # while a chunk's keys are put among those before
_WORKER_BYTES = 220 << 20


class _Lost(NamedTuple):
    """A row of the library that is not in the index, with `REJECTED_COLUMNS`."""

    row: int
    field: str
    value: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all parts of an index have in common.

    Attributes:
        doses_um: Concentrations, ascending.
        conditions: A value for each condition that the model is told.
        embeddings: Files of the blocks that the model takes from outside.
        smiles_column: See `open_molecules`.
        id_column: Of the library; "" finds it.
        shard: From 1.
        shards: Of how many.
    """

    doses_um: tuple[float, ...]
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    embeddings: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    smiles_column: str = ""
    id_column: str = ""
    shard: int = 1
    shards: int = 1


class Done(NamedTuple):
    """A chunk that has become a part.

    Attributes:
        rows: Of the library.
        molecules: That are new in the index.
        repeated: Rows whose molecule is there already.
        rejected: Rows that cannot be used.
    """

    rows: int
    molecules: int
    repeated: int
    rejected: int


class Need(NamedTuple):
    """What a job will take, about.

    Attributes:
        rows: Of the library, that are still to do.
        disk: Bytes.
        memory: Bytes, of all processes together.
        seconds: By a sample of its molecules.
    """

    rows: int
    disk: int
    memory: int
    seconds: float


class Building:
    """The making of an index from one library, or the adding of one.

    Attributes:
        notes: How the library is read, and what is unusual; one sentence each.
        rows: Of the library in this shard.
        n_done: Of them, in parts that are there already.
    """

    def __init__(
        self,
        model: Model,
        library: pathlib.Path,
        index: pathlib.Path,
        settings: Settings,
        *,
        add: bool = False,
    ):
        """Reads the library once, for its digest and the number of its rows, and looks at `index`.

        Raises:
            InputError: Something cannot be used; nothing has been written.
        """
        self._model, self._index, self._settings = model, index, settings
        features = model.featuriser
        features.need_same_featuriser()
        features.told(settings.conditions)
        features.need_outside(settings.embeddings, remedy="--embeddings NAME=FILE")
        self._about = {
            "model": {"name": model.name, "digest": model.digest},
            "featuriser": dict(model.about["featuriser"]),
            "doses_um": list(settings.doses_um),
            "conditions": dict(settings.conditions),
            "width": model.width,
        }
        parts = read_parts(index)
        _need_own_folder(index, parts)
        need_same(index, parts, self._about)
        self._file = open_molecules(library, smiles_column=settings.smiles_column)
        self._id, notes = _id_column(self._file, settings.id_column)
        self._outside = {name: EmbeddingsFile(path) for name, path in settings.embeddings.items()}
        for name, width in features.outside.items():
            if (found := self._outside[name].embeddings.shape[1]) != width:
                raise LibraryError(
                    f"{settings.embeddings[name]}: embeddings {name} of {found} numbers; the model "
                    f"was trained with {width}"
                )
        n = self._file.count()
        if not n:
            raise LibraryError(f"{library}: holds no molecule")
        source = storage.digest_file(library)
        self._about["library"] = {"name": library.name, "rows": n, "digest": source}
        self._about["version"] = molphenix_jax.__version__
        self.notes = (*self._file.notes, *notes, *_dose_notes(model, settings.doses_um))
        self._places, self._chunk = self._planned(parts, source, n, add)
        self._start, stop = shard_rows(n, settings.shard, settings.shards)
        self.rows = stop - self._start
        there = {part.place for part in parts}
        self._todo = [place for place in self._places if place not in there]
        self.n_done = self.rows - sum(self._rows_of(place) for place in self._todo)
        # Of other libraries all, of this one the shard alone: which others have run is chance.
        own = [p for p in parts if p.place.source != source or p.place.shard == settings.shard]
        self._seen = _Seen(
            part.molecules(["inchikey"])["inchikey"].to_numpy(object) for part in own
        )

    def _planned(
        self, parts: Sequence[Part], source: str, n: int, add: bool
    ) -> tuple[list[Place], int]:
        """The places of this shard's parts, and rows of a chunk."""
        index, settings, name = self._index, self._settings, self._about["library"]["name"]
        own = [part for part in parts if part.place.source == source]
        others = [part for part in parts if part.place.source != source]
        if add:
            if not others and not own:
                raise LibraryError(
                    f"{index} is no index yet: molphenix index LIBRARY --model=RUN makes one"
                )
            need_whole(index, others)
        elif others and not own:
            there = others[0].about["library"]["name"]
            raise LibraryError(
                f"{index} is the index of {there} already, and {name} is another file: molphenix "
                f"index add {name} --out={index} adds it; else choose another --out, or delete it"
            )
        for part in own:
            if part.place.shards != settings.shards:
                raise LibraryError(
                    f"{index} has shards of {part.place.shards} of {name}: give --shard=i/"
                    f"{part.place.shards}, choose another --out, or delete its parts"
                )
        number = max((part.place.library + 1 for part in others), default=0)
        number = own[0].place.library if own else number
        chunk = int(own[0].about["chunk_rows"]) if own else CHUNK_ROWS
        start, stop = shard_rows(n, settings.shard, settings.shards)
        chunks = -(-(stop - start) // chunk)
        place = Place(number, source, settings.shard, settings.shards, 0, chunks)
        return [dataclasses.replace(place, chunk=c) for c in range(chunks)], chunk

    def need(self) -> Need:
        """What it will take; embeds a sample for the time.

        Raises:
            LibraryError: The disk has less room.
        """
        rows = self.rows - self.n_done
        doses, width = len(self._settings.doses_um), self._model.width
        disk = rows * (doses * width * 4 + _ROW_BYTES)
        place = next(p for p in (self._index, *self._index.absolute().parents) if p.exists())
        if (free := shutil.disk_usage(place).free) < disk:
            raise LibraryError(
                f"{self._index} needs {in_words(disk)}, and {place} has {in_words(free)} left: "
                "free some space, choose another --out, or fewer concentrations"
            )
        chunk = min(self._chunk, self.rows)
        inputs = sum(self._model.block_widths.values())
        # Embeddings and features of a chunk, of which products hold a few copies in float32.
        held = chunk * (doses * width * 8 + inputs) + min(chunk, 4096) * inputs * 12
        workers = n_workers() * _WORKER_BYTES if chunk >= 2000 and n_workers() > 1 else 0
        memory = (500 << 20) + held + workers + self.rows * _KEY_BYTES * _KEY_COPIES
        return Need(rows, disk, memory, self._sampled() * rows if rows else 0.0)

    def _sampled(self) -> float:
        """Seconds for a row, by the first ones that are still to do."""
        first = self._start + self._todo[0].chunk * self._chunk
        some = next(self._file.chunks(min(_SAMPLE, self.rows), start=first))
        seen, self._seen = self._seen, _Seen([])
        began = perf_counter()
        table, _ = self._usable(some)
        found, _ = self._featurised(table)
        featurised = perf_counter()
        self._embedded(found)  # compiles
        compiled = perf_counter()
        self._embedded(found)
        embedded = perf_counter()
        self._seen = seen
        workers = n_workers() if self.rows >= 2000 else 1
        seconds = (featurised - began) / workers + (embedded - compiled)
        return seconds / len(some.row)

    def run(self) -> Iterator[Done]:
        """Makes the parts that are missing, one after the other.

        Raises:
            InputError: The library is damaged, or the disk refuses.
        """
        if not self._todo:
            return
        todo, first = set(self._todo), self._todo[0].chunk
        start = self._start + first * self._chunk
        chunks = self._file.chunks(self._chunk, start=start, stop=self._start + self.rows)
        for place, some in zip(self._places[first:], chunks, strict=True):
            if place in todo:
                yield self._part(place, some)

    def _rows_of(self, place: Place) -> int:
        return min(self._chunk, self.rows - place.chunk * self._chunk)

    def _part(self, place: Place, some: Molecules) -> Done:
        table, lost = self._usable(some)
        found, errors = self._featurised(table)
        for row, reason in errors.items():
            text = str(table["input_smiles"].iloc[row])
            lost.append(_Lost(int(table["row"].iloc[row]), "smiles", text, reason))
        n_repeated = sum(each.reason.startswith(_REPEATED) for each in lost)
        molecules = table.iloc[found.rows]
        rejected = pd.DataFrame(lost, columns=list(REJECTED_COLUMNS)).sort_values("row")
        counts = {"repeated": n_repeated, "rejected": len(lost) - n_repeated}
        write_part(
            self._index,
            place,
            embeddings=self._embedded(found),
            molecules=molecules,
            rejected=rejected,
            about={**self._about, "chunk_rows": self._chunk, **counts},
        )
        return Done(len(some.row), len(molecules), n_repeated, counts["rejected"])

    def _usable(self, some: Molecules) -> tuple[pd.DataFrame, list[_Lost]]:
        """Molecules that are new, with `COLUMNS`; rows that are not, with the reason."""
        standard = standardise(some.smiles)
        why = some.why(standard["error"].tolist())
        lost = [
            _Lost(row, "smiles", text, reason)
            for row, text, reason in zip(some.row, some.smiles, why, strict=True)
            if reason is not None
        ]
        good = np.flatnonzero([reason is None for reason in why])
        keys = np.array(standard["inchikey"], object)
        new = self._seen.add(keys[good])
        for i in good[~new]:
            reason = f"{_REPEATED} {keys[i]}"
            lost.append(_Lost(some.row[i], "smiles", some.smiles[i], reason))
        kept = good[new]
        columns = {name: np.array(standard[name], object) for name in ("smiles", "scaffold")}
        columns |= {"inchikey": keys, "input_smiles": np.array(some.smiles, object)}
        columns |= {"row": np.array(some.row), "id": self._ids(some)}
        return pd.DataFrame({name: columns[name][kept] for name in COLUMNS}), lost

    def _ids(self, some: Molecules) -> np.ndarray:
        named = some.others[self._id] if self._id in some.others else [""] * len(some.row)
        ids = [one or str(row) for one, row in zip(named, some.row, strict=True)]
        return np.array(ids, object)

    def _featurised(self, table: pd.DataFrame) -> tuple[Featurised, dict[int, str]]:
        """Features of molecules, rows being those of the table, and why others have none."""
        errors: dict[int, str] = {}
        at = {name: file.rows(table) for name, file in self._outside.items()}
        given = {}
        for name, file in self._outside.items():
            block = file.embeddings[at[name]].astype(np.float32)
            finite = np.isfinite(block).all(axis=1)
            for row in np.flatnonzero((at[name] < 0) | ~finite):
                what = "no embedding" if at[name][row] < 0 else "an embedding that is not finite"
                errors.setdefault(int(row), f"{what} {name} in {self._settings.embeddings[name]}")
            given[name] = block
        rows = np.array([row for row in range(len(table)) if row not in errors], np.int64)
        found = self._model.featuriser.of_standard(
            table["smiles"].iloc[rows].tolist(), {name: b[rows] for name, b in given.items()}
        )
        errors |= {int(rows[row]): reason for row, reason in found.errors.items()}
        return dataclasses.replace(found, rows=rows[found.rows], errors=errors), errors

    def _embedded(self, found: Featurised) -> Float32[np.ndarray, "n k d"]:
        return self._model.embed_features(
            found,
            concentrations_um=self._settings.doses_um,
            conditions=self._settings.conditions,
        )

    def close(self) -> tuple[int, pathlib.Path | None]:
        """Joins the lists of rows that are not in the index.

        Returns:
            Molecules that this shard of the library has brought, and the file, if there is need
            for one.

        Raises:
            LibraryError: No molecule of the library can be used; its parts are gone again.
        """
        parts = read_parts(self._index)
        label = (self._settings.shard, self._settings.shards)
        of_shard = [p for p in parts if (p.place.shard, p.place.shards) == label]
        lost = [p for p in of_shard if p.about["repeated"] or p.about["rejected"]]
        which = "" if label == (1, 1) else f"-{label[0]:03}-of-{label[1]:03}"
        path = self._index / f"rejected{which}.csv"
        if lost:
            # One part at a time: all rows of a library may be in these lists.
            storage.write_csv(path, (rejected_of(part) for part in lost))
        own = [part for part in of_shard if part.place in set(self._places)]
        n = sum(part.n_molecules for part in own)
        if not n and label == (1, 1) and not any(part.about["repeated"] for part in own):
            first = own[0].rejected().iloc[0]
            for part in own:
                storage.remove(part.path)
            raise LibraryError(
                f"no molecule of {self._file.path} can be used: {path} has each with its reason, "
                f"the first is row {first['row']}: {first['reason']}"
            )
        return n, path if lost else None


class _Seen:
    """The InChIKeys of molecules that are in the index; 27 bytes each."""

    def __init__(self, keys: Iterable[np.ndarray]):
        joined = [np.asarray(each, f"S{_KEY_BYTES}") for each in keys]
        self._keys = np.sort(np.concatenate([np.zeros(0, f"S{_KEY_BYTES}"), *joined]))

    def add(self, keys: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Notes keys; which of them were not there before, the first of equal ones."""
        given = np.asarray(keys, f"S{_KEY_BYTES}")
        new = np.zeros(len(given), bool)
        new[np.unique(given, return_index=True)[1]] = True
        at = np.searchsorted(self._keys, given)
        inside = at < len(self._keys)
        new[inside] &= self._keys[at[inside]] != given[inside]
        order = np.argsort(given[new])
        self._keys = np.insert(self._keys, at[new][order], given[new][order])
        return new


def _id_column(file: MoleculeFile, given: str) -> tuple[str, tuple[str, ...]]:
    """The column of a library that names its molecules, "" for none; and what is said of it."""
    first = next(file.chunks(1), None)
    names = [] if first is None else [str(name) for name in first.others.columns]
    if given:
        if given not in names:
            raise LibraryError(f"{file.path}: no column {given!r} for names{near(given, names)}")
        return given, ()
    found = name_column(names, table=file.kind == "table")
    if not found:
        return "", (f"{file.path.name}: molecules are called by their rows; --id-column names",)
    return found, (f"{file.path.name}: molecules are called by {found!r}",)


def _dose_notes(model: Model, doses_um: Sequence[float]) -> tuple[str, ...]:
    off = [dose for dose, is_off in zip(doses_um, model.off_grid(doses_um), strict=True) if is_off]
    if not off:
        return ()
    trained = ", ".join(f"{dose:.3g}" for dose in model.doses_um)
    return (
        f"the model was not trained at {', '.join(f'{dose:.3g}' for dose in off)} µM: they count "
        f"as the nearest of {trained} µM",
    )


def _need_own_folder(index: pathlib.Path, parts: Sequence[Part]) -> None:
    """Stops where a folder that is no index would be written into."""
    if index.exists() and not index.is_dir():
        raise LibraryError(f"--out={index} is a file: an index is a folder; choose another name")
    if parts or not index.is_dir():
        return
    others = [
        path.name for path in sorted(index.iterdir()) if not path.name.startswith((".", "rejected"))
    ]
    if others:
        raise LibraryError(
            f"--out={index} has other files ({others[0]}) and is no index: choose another name"
        )
