"""A screen on disk: small arrays in memory, replicate profiles read when they are asked for.

A prepared screen is a folder:

    perturbations/1.0.0/   TFDS data set, ArrayRecord: one record per (molecule, dose, condition)
    molecules/1.0.0/       TFDS data set, ArrayRecord: one record per molecule
    index.npz              offsets, molecule, concentration_um, condition, p_value of all of them
    wells.parquet          the well of each replicate: where it lies, what its table says of it
    correction.npz         the fitted batch correction
    null_profiles.npz      corrected control wells, a sample where there are many
    rejected.csv           rows of the source that could not be used
    screen.json            what the screen was computed from, feature names, conditions, notes

Screens of format 3 know of no conditions and are read as screens of one; the corrections of formats
3 and 4 have one centre and scale. Those of before format 6 have no null profiles, those of before
format 7 know of each replicate the correction group alone.

`open_screen` reads all but the replicate profiles and the archive: some tens of bytes per
perturbation and, packed, about 600 per molecule.
"""

import contextlib
import dataclasses
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import json_format, message
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from tensorflow_datasets.proto import tf_example_pb2

from molphenix_jax.phenomics import Correction, NullProfiles
from molphenix_jax.screens.builders import (
    FORMAT_VERSION,
    HEADER,
    READ_VERSIONS,
    WELLS_FILE,
    record_source,
)
from molphenix_jax.screens.screen import FeatureBlock, PackedBlock, Screen, ScreenError
from molphenix_jax.storage import digest_file, is_intact, read_csv
from molphenix_jax.wells.conditions.values import Conditions

_CHUNK = 4096  # records read at once
_NULL_SINCE, _WELLS_SINCE = 6, 7  # formats of screens
# What the readers of NumPy, JSON, TFDS, Parquet and ArrayRecord raise on a missing or damaged file.
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, json_format.Error, message.Error, pa.ArrowException),
)


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Rows of profiles in the records of a data set; safe to pickle and to share among threads.

    Attributes:
        folder: Of the screen, for errors.
        source: The records.
        feature: Field of a record that holds its rows.
        offsets: Record i holds rows offsets[i] to offsets[i + 1].
        width: Features of a row.
    """

    folder: pathlib.Path
    source: Any
    feature: str
    offsets: Int[np.ndarray, " bounds"]
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return int(self.offsets[-1]), self.width

    def __getitem__(self, ids: ArrayLike) -> Float[np.ndarray, "*k d"]:
        """The rows of these numbers, in any order; each record is read once.

        Raises:
            ScreenError: A record is damaged.
        """
        rows = np.asarray(ids, np.int64)
        flat = rows.ravel()
        record = np.searchsorted(self.offsets, flat, side="right") - 1
        wanted, position = np.unique(record, return_inverse=True)
        result = np.empty((len(flat), self.width), np.float32)
        order = np.argsort(position, kind="stable")
        bounds = np.searchsorted(position[order], np.arange(0, len(wanted) + _CHUNK, _CHUNK))
        for part, start in enumerate(range(0, len(wanted), _CHUNK)):
            read = self._records(wanted[start : start + _CHUNK])
            first = np.concatenate([[0], np.cumsum([len(each) for each in read])])
            chosen = order[bounds[part] : bounds[part + 1]]
            within = flat[chosen] - self.offsets[record[chosen]]
            result[chosen] = np.concatenate(read)[first[position[chosen] - start] + within]
        return result.reshape(*rows.shape, self.width)

    def _records(self, ids: Int[np.ndarray, " k"]) -> list[Float[np.ndarray, "r d"]]:
        with _reading(self.folder / "perturbations"):
            found = [
                np.frombuffer(_features(record)[self.feature].bytes_list.value[0], np.float32)
                for record in self.source.__getitems__(ids.tolist())
            ]
            counts = self.offsets[ids + 1] - self.offsets[ids]
            return [x.reshape(n, self.width) for x, n in zip(found, counts, strict=True)]


@dataclasses.dataclass(frozen=True)
class StoredArchive:
    """The archive of a screen on disk; each part is read anew, for it may not be small.

    Attributes:
        folder: Of the screen.
        header: What `screen.json` says.
        replicates: Its rows, whose records know their groups.
    """

    folder: pathlib.Path
    header: Mapping[str, Any]
    replicates: StoredRows

    @property
    def correction(self) -> Correction:
        """The fitted batch correction.

        Raises:
            ScreenError: The file is missing or damaged.
        """
        with _reading(self.folder / "correction.npz"):
            return Correction.load(self.folder / "correction.npz")

    @property
    def null(self) -> NullProfiles:
        """Corrected control wells; none in screens of before format 6.

        Raises:
            ScreenError: The file is damaged.
        """
        if int(self.header["format"]) < _NULL_SINCE:
            return NullProfiles.none(self.replicates.width)
        with _reading(self.folder / "null_profiles.npz"):
            return NullProfiles.load(self.folder / "null_profiles.npz")

    @property
    def wells(self) -> pd.DataFrame:
        """The well of each replicate, see `Archived`; of before format 7 its group alone.

        Raises:
            ScreenError: The file is missing or damaged.
        """
        if int(self.header["format"]) < _WELLS_SINCE:
            return pd.DataFrame({"group": self._groups()})
        with _reading(self.folder / WELLS_FILE):
            path = self._unchanged(WELLS_FILE, "wells_sha256")
            return pq.read_table(path).to_pandas()

    @property
    def rejected(self) -> pd.DataFrame:
        """The rows of the source that could not be used, each with field and reason.

        Raises:
            ScreenError: The file is missing or damaged.
        """
        with _reading(self.folder / "rejected.csv"):
            return read_csv(self._unchanged("rejected.csv", "rejected_sha256"))

    def _unchanged(self, name: str, digest: str) -> pathlib.Path:
        path = self.folder / name
        # Folders of before hold no digests.
        if self.header.get(digest) not in (None, digest_file(path)):
            raise _changed(path)
        return path

    def _groups(self) -> pd.Categorical:
        code, source = [], self.replicates.source
        with _reading(self.folder / "perturbations"):
            for start in range(0, len(source), _CHUNK):
                for record in source.__getitems__(range(start, min(start + _CHUNK, len(source)))):
                    code += _features(record)["replicate_group"].int64_list.value
            return pd.Categorical.from_codes(code, self.header["groups"])


def open_screen(folder: str | pathlib.Path) -> Screen:
    """Opens a prepared screen without reading its replicates.

    Raises:
        ScreenError: A file is missing or damaged, or of another format version.
    """
    folder = pathlib.Path(folder)
    with _reading(folder / HEADER):
        meta = _header(folder)
        told: dict[str, Any] = {
            "name": meta["name"],
            "feature_names": tuple(meta["feature_names"]),
            "conditions": (
                Conditions.of_json(meta["conditions"]) if "conditions" in meta else Conditions()
            ),
            "notes": tuple(meta["notes"]),
            "provenance": meta["provenance"],
            "concentration": meta.get("concentration", {}),
        }
        width, has_truth = int(meta["width"]), bool(meta["has_truth"])
    with (
        _reading(folder / "index.npz"),
        # Opened here: np.load leaves the file open if it is no archive.
        (folder / "index.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        index = {name: arrays[name] for name in arrays.files}
        index.setdefault("condition", np.zeros(len(index["molecule"]), np.int32))
        missing = {"offsets", "concentration_um", "p_value"} - index.keys()
        if missing:
            raise ValueError(f"lacks {missing}")
    with _reading(folder / "molecules"):
        molecules, blocks = _read_molecules(folder, meta)
    with _reading(folder / "perturbations"):
        source = record_source(folder, "perturbations")
        if len(source) != len(index["molecule"]):
            raise ValueError(f"{len(source)} records for {len(index['molecule'])} pairs")
    replicates = StoredRows(folder, source, "replicates", index["offsets"], width)
    truth = dataclasses.replace(replicates, feature="truth", offsets=np.arange(len(source) + 1))
    return Screen(
        folder=folder,
        replicates=replicates,
        truth=truth if has_truth else None,
        molecules=molecules,
        blocks=blocks,
        archive=StoredArchive(folder, meta, replicates),
        **told,
        **index,
    )


def _header(folder: pathlib.Path) -> dict[str, Any]:
    meta = json.loads((folder / HEADER).read_text())
    if int(meta["format"]) > int(FORMAT_VERSION):
        raise ScreenError(
            f"{folder} has screen format {meta['format']}, this program reads up to "
            f"{FORMAT_VERSION}: use the version that made it, or a newer one"
        )
    if meta["format"] not in READ_VERSIONS:
        raise ScreenError(
            f"{folder} has screen format {meta['format']}, this program reads "
            f"{' and '.join(READ_VERSIONS)}; delete the folder to prepare the screen again"
        )
    if not is_intact(meta):
        raise _changed(folder / HEADER)
    return meta


def _read_molecules(
    folder: pathlib.Path, meta: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, FeatureBlock]]:
    """The data set `molecules`: table, and blocks in their order, fingerprints packed."""
    source = record_source(folder, "molecules")
    m, bits = len(source), set(meta["bits"])
    arrays = {
        name: np.empty(
            (m, -(-width // 8) if name in bits else width), np.uint8 if name in bits else np.float32
        )
        for name, width in meta["blocks"].items()
    }
    text: dict[str, list[str]] = {"smiles": [], "inchikey": [], "scaffold": []}
    for start in range(0, m, _CHUNK):
        ids = range(start, min(start + _CHUNK, m))
        for i, record in zip(ids, source.__getitems__(ids), strict=True):
            fields = _features(record)
            for name, values in text.items():
                values.append(fields[name].bytes_list.value[0].decode())
            for name, array in arrays.items():
                raw = fields[f"block_{name}"].bytes_list.value[0]
                array[i] = np.frombuffer(raw, array.dtype)
    blocks = {
        name: PackedBlock(array, meta["blocks"][name]) if name in bits else array
        for name, array in arrays.items()
    }
    return pd.DataFrame(text), blocks


def _features(record: bytes) -> Any:
    return cast(Any, tf_example_pb2).Example.FromString(record).features.feature


def _changed(path: pathlib.Path) -> ScreenError:
    return ScreenError(
        f"the prepared screen in {path.parent} cannot be used: {path.name} was changed since it "
        "was written; delete that folder to prepare it again"
    )


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    """Makes a sentence of what goes wrong while a part of a screen is read.

    Raises:
        ScreenError: It is missing or damaged.
    """
    try:
        yield
    except ScreenError:
        raise
    except _DAMAGE as error:
        what = "is damaged"
        if isinstance(error, OSError) and error.strerror:
            what = f"cannot be read ({error.strerror})"
        raise ScreenError(
            f"the prepared screen in {path.parent} cannot be used: {path.name} {what}; delete that "
            "folder to prepare it again"
        ) from error
