"""A screen on disk: small arrays in memory, replicate profiles read when they are asked for.

A prepared screen is a folder:

    perturbations/1.0.0/   TFDS data set, ArrayRecord: one record per (molecule, dose, condition)
    molecules/1.0.0/       TFDS data set, ArrayRecord: one record per molecule
    index.npz              offsets, molecule, concentration_um, condition, p_value of all of them
    correction.npz         the fitted batch correction
    null_profiles.npz      corrected control wells, a sample where there are many
    rejected.csv           rows of the source that could not be used
    screen.json            what the screen was computed from, feature names, conditions, notes

Screens of format 3 know of no conditions and are read as screens of one; the corrections of formats
3 and 4 have one centre and scale. Those of before format 6 have no null profiles.

`ScreenStore.open` reads all but the replicate profiles: some tens of bytes per perturbation and,
packed, about 600 per molecule. `ScreenStore.load` reads everything (`Screen`).
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd
from google.protobuf import json_format, message
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from tensorflow_datasets.proto import tf_example_pb2

from molphenix_jax.phenomics import Correction, NullProfiles
from molphenix_jax.screens.builders import (
    FORMAT_VERSION,
    HEADER,
    READ_VERSIONS,
    record_source,
)
from molphenix_jax.screens.screen import PackedBlock, Screen, ScreenError
from molphenix_jax.storage import digest_file, is_intact, read_csv
from molphenix_jax.wells.conditions.values import Conditions

_CHUNK = 4096  # records read at once
_NULL_SINCE = 6  # format of screens
# What the readers of NumPy, JSON, TFDS and ArrayRecord raise on a missing or damaged file.
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, json_format.Error, message.Error),
)


@dataclasses.dataclass(frozen=True)
class ReplicateReader:
    """Random access to the replicate profiles; small to pickle, and safe to share among threads."""

    source: Any
    width: int

    def __call__(
        self, perturbations: ArrayLike, *, feature: str = "replicates"
    ) -> list[Float[np.ndarray, "r d"]]:
        """The replicates [r, d] of each perturbation, in the order asked for; repeats welcome."""
        ids = np.asarray(perturbations, np.int64).tolist()
        records = self.source.__getitems__(ids) if ids else []
        return [
            np.frombuffer(_features(record)[feature].bytes_list.value[0], np.float32).reshape(
                -1, self.width
            )
            for record in records
        ]


@dataclasses.dataclass(frozen=True)
class ScreenStore:
    """A prepared screen. p perturbations, m molecules, d features of a profile.

    Attributes:
        folder: Where it lies.
        name: Short name, from the source file.
        offsets: Perturbation i has the replicates offsets[i] to offsets[i + 1] of the whole screen.
        molecule: Row in `molecules` of each perturbation.
        concentration_um: Concentration of each perturbation in µM.
        condition: Number in `conditions` of each perturbation's.
        conditions: What else differs on purpose.
        p_value: Replicate-consistency p-value; NaN where it is undefined.
        molecules: Columns smiles, inchikey, scaffold.
        packed: Fingerprint blocks by name, as they lie on disk.
        floats: The other molecule blocks by name.
        block_names: All of them, in order.
        width: Features of a profile.
        feature_names: Names of the source's features, before correction.
        has_truth: Whether the true profiles are known (simulated screens).
        notes: What was decided while preparing, one sentence each.
        provenance: What the screen was computed from.
        concentration: Column, unit and how these were told, of the concentrations.
        read: Reads replicates: `read(ids)` gives one array [r, d] for each perturbation. Hand this
            to a worker process, not the store.
    """

    folder: pathlib.Path
    name: str
    offsets: Int[np.ndarray, " p+1"]
    molecule: Int[np.ndarray, " p"]
    concentration_um: Float[np.ndarray, " p"]
    condition: Int[np.ndarray, " p"]
    conditions: Conditions
    p_value: Float[np.ndarray, " p"]
    molecules: pd.DataFrame
    packed: dict[str, PackedBlock]
    floats: dict[str, Float[np.ndarray, "m k"]]
    block_names: tuple[str, ...]
    width: int
    feature_names: tuple[str, ...]
    has_truth: bool
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    concentration: dict[str, str]
    read: ReplicateReader

    @property
    def n_perturbations(self) -> int:
        """Number of (molecule, concentration, condition)."""
        return len(self.molecule)

    @functools.cached_property
    def blocks(self) -> dict[str, np.ndarray]:
        """Molecule features by name [m, k], fingerprints unpacked: uint8 bits or float32."""
        unpacked = {name: block.unpack() for name, block in self.packed.items()}
        return {name: (unpacked | self.floats)[name] for name in self.block_names}

    @property
    def correction(self) -> Correction:
        """The fitted batch correction, read anew: for thousands of plates it is not small.

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
        with _reading(self.folder / HEADER):
            if int(_header(self.folder)["format"]) < _NULL_SINCE:
                return NullProfiles.none(self.width)
        with _reading(self.folder / "null_profiles.npz"):
            return NullProfiles.load(self.folder / "null_profiles.npz")

    @classmethod
    def open(cls, folder: str | pathlib.Path) -> "ScreenStore":
        """Opens a prepared screen without reading its replicates.

        Raises:
            ScreenError: A file is missing or damaged, or of another format version.
        """
        folder = pathlib.Path(folder)
        with _reading(folder / HEADER):
            meta = _header(folder)
            told: dict[str, Any] = {
                "name": meta["name"],
                "block_names": tuple(meta["blocks"]),
                "width": meta["width"],
                "feature_names": tuple(meta["feature_names"]),
                "conditions": (
                    Conditions.of_json(meta["conditions"]) if "conditions" in meta else Conditions()
                ),
                "has_truth": meta["has_truth"],
                "notes": tuple(meta["notes"]),
                "provenance": meta["provenance"],
                "concentration": meta.get("concentration", {}),
            }
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
            molecules, packed, floats = _read_molecules(folder, meta)
        with _reading(folder / "perturbations"):
            source = record_source(folder, "perturbations")
            if len(source) != len(index["molecule"]):
                raise ValueError(f"{len(source)} records for {len(index['molecule'])} pairs")
        return cls(
            folder=folder,
            molecules=molecules,
            packed=packed,
            floats=floats,
            read=ReplicateReader(source, told["width"]),
            **told,
            **index,
        )

    def rejected(self) -> pd.DataFrame:
        """The rows of the source that could not be used, each with field and reason.

        Raises:
            ScreenError: The file is missing or damaged.
        """
        path = self.folder / "rejected.csv"
        with _reading(path):
            # Folders of before hold no digest of it.
            if _header(self.folder).get("rejected_sha256") not in (None, digest_file(path)):
                raise _changed(path)
            return read_csv(path)

    def load(self) -> Screen:
        """The whole screen in memory.

        Raises:
            ScreenError: A record is damaged.
        """
        n, p = int(self.offsets[-1]), self.n_perturbations
        replicates = np.empty((n, self.width), np.float32)
        code = np.empty(n, np.int64)
        truth = np.empty((p, self.width), np.float32) if self.has_truth else None
        with _reading(self.folder / "perturbations"):
            for start in range(0, p, _CHUNK):
                ids = range(start, min(start + _CHUNK, p))
                for i, record in zip(ids, self.read.source.__getitems__(ids), strict=True):
                    rows, fields = slice(*self.offsets[i : i + 2]), _features(record)
                    replicates[rows] = np.frombuffer(
                        fields["replicates"].bytes_list.value[0], np.float32
                    ).reshape(-1, self.width)
                    code[rows] = fields["replicate_group"].int64_list.value
                    if truth is not None:
                        truth[i] = np.frombuffer(fields["truth"].bytes_list.value[0], np.float32)
            groups = np.array(_header(self.folder)["groups"], np.str_)
        return Screen(
            name=self.name,
            replicates=replicates,
            offsets=self.offsets,
            replicate_group=groups[code],
            molecule=self.molecule,
            concentration_um=self.concentration_um,
            condition=self.condition,
            conditions=self.conditions,
            p_value=self.p_value,
            molecules=self.molecules,
            blocks=self.blocks,
            feature_names=self.feature_names,
            correction=self.correction,
            null=self.null,
            truth=truth,
            notes=self.notes,
            provenance=self.provenance,
            concentration=self.concentration,
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
) -> tuple[pd.DataFrame, dict[str, PackedBlock], dict[str, np.ndarray]]:
    """The data set `molecules`: table, packed blocks, float blocks."""
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
    packed = {name: PackedBlock(arrays[name], meta["blocks"][name]) for name in bits}
    floats = {name: array for name, array in arrays.items() if name not in bits}
    return pd.DataFrame(text), packed, floats


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
