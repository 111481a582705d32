"""Precomputed molecule embeddings from a file, matched to the molecules of a screen.

Any frozen encoder (MolGPS, MiniMol, ...) can be a feature block: compute its embeddings elsewhere,
key them by SMILES or InChIKey, and name the file. Keys that are SMILES are standardised as the
screen's own molecules are, so both sides meet at the InChIKey however each drew the molecule.
"""

import pathlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
from absl import logging
from jaxtyping import Float32, Int

from molphenix_jax.errors import InputError
from molphenix_jax.molecules.standard import standardise
from molphenix_jax.tables.columns import as_number, as_text, is_list, is_number, short
from molphenix_jax.tables.formats.arrays import array_header, damage_of
from molphenix_jax.tables.numbering import numbers_rows
from molphenix_jax.tables.reading.files import TableFile, open_file
from molphenix_jax.tables.reading.lists import as_lists, as_matrix, usual_length
from molphenix_jax.tables.text import read_text

_INCHIKEY = re.compile(r"[A-Z]{14}(-[A-Z]{10}-[A-Z])?")
_FIRST_BLOCK = 14
_SHOWN = 5


class EmbeddingsError(InputError):
    """A file of molecule embeddings that cannot be used; names it, the row and the remedy."""


def load_embeddings(
    path: str | pathlib.Path, molecules: pd.DataFrame
) -> Float32[np.ndarray, "n k"]:
    """Embeddings of the molecules, in their order.

    Matched by full InChIKey; a molecule that has none there takes an embedding with the same first
    block (same skeleton, stereo unknown or different), and how many did so is logged. Where a file
    has several different rows for one key, the first counts, which is logged too.

    Args:
        path: Parquet or CSV with a column `inchikey` or `smiles` (the first, if both) and one list
            column, or else its numeric columns in file order but those that number
            rows or name things (an index, ids); `.npz` or HDF5 with arrays `keys` (or
            `names`) and `embeddings`; or `.npy` [m, k] beside a `.txt` (one key a line) or `.csv`
            (a column `inchikey` or `smiles`) of the same name, in the same order. Keys are
            InChIKeys, their first blocks, or SMILES.
        molecules: n rows with columns `smiles` and `inchikey`, as `standardise` gives them.

    Returns:
        [n, k] float32, finite.

    Raises:
        InputError: the file, or the keys beside an `.npy`, are missing, damaged or of another
            layout; molecules lack an embedding (says how many and the first few); an embedding that
            is needed has NaN or infinite values.
    """
    file = EmbeddingsFile(path)
    rows = file.rows(molecules)
    missing = [smiles for smiles, row in zip(molecules["smiles"], rows, strict=True) if row < 0]
    if missing:
        more = ", ..." if len(missing) > _SHOWN else ""
        raise EmbeddingsError(
            f"{path}: {len(missing)} of {len(molecules)} molecules have no embedding: "
            f"{', '.join(missing[:_SHOWN])}{more}; add them to the file"
        )
    chosen = file.embeddings[rows].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if bad.size:
        raise EmbeddingsError(
            f"{path}: {bad.size} embeddings have NaN or infinite values, "
            f"the first for key {file.keys[rows[bad[0]]]!r} (row {rows[bad[0]] + 1}); recompute "
            "them"
        )
    return chosen


class EmbeddingsFile:
    """A file of molecule embeddings, read once for many questions; see `load_embeddings`.

    Attributes:
        keys: As the file has them.
        embeddings: [m, k], as the file has them.
    """

    def __init__(self, path: str | pathlib.Path):
        """Reads it.

        Raises:
            InputError: as `load_embeddings`.
        """
        self._path = path = pathlib.Path(path)
        is_npy = path.suffix == ".npy"
        self.keys, self.embeddings = _read_npy(path) if is_npy else _read_table(open_file(path))
        self._full: dict[str, int] = {}
        self._skeleton: dict[str, int] = {}
        n_conflicts = 0
        for row, key in enumerate(_inchikeys(path, self.keys)):
            if key is None:
                continue
            first = self._full.setdefault(key, row)
            n_conflicts += not np.array_equal(self.embeddings[first], self.embeddings[row])
            self._skeleton.setdefault(key[:_FIRST_BLOCK], row)
        if n_conflicts:
            logging.warning(
                "%s: %d rows differ from an earlier row of their key", path, n_conflicts
            )

    def rows(self, molecules: pd.DataFrame) -> Int[np.ndarray, " n"]:
        """Row of `embeddings` for each of n molecules with an `inchikey`; -1 where it has none."""
        exact = [self._full.get(key) for key in molecules["inchikey"]]
        loose = [self._skeleton.get(key[:_FIRST_BLOCK], -1) for key in molecules["inchikey"]]
        n_loose = sum(a is None and b >= 0 for a, b in zip(exact, loose, strict=True))
        if n_loose:
            logging.warning(
                "%s: %d of %d molecules matched by the first InChIKey block only (stereo ignored)",
                *(self._path, n_loose, len(molecules)),
            )
        return np.array(
            [b if a is None else a for a, b in zip(exact, loose, strict=True)], np.int64
        )


def _inchikeys(path: pathlib.Path, keys: list[str]) -> list[str | None]:
    """Keys as InChIKeys; None for one that cannot be read, counted in the log."""
    is_smiles = [not _INCHIKEY.fullmatch(key) for key in keys]
    table = standardise([key for key, smiles in zip(keys, is_smiles, strict=True) if smiles])
    n_unusable = sum(error is not None for error in table["error"])
    if n_unusable:
        logging.warning("%s: %d keys are no usable SMILES or InChIKey", path, n_unusable)
    standard = iter(table["inchikey"])
    return [next(standard) if smiles else key for key, smiles in zip(keys, is_smiles, strict=True)]


def _key_column(path: pathlib.Path, columns: list[str]) -> str:
    lower = {name.lower(): name for name in reversed(columns)}
    for wanted in ("inchikey", "smiles"):
        if wanted in lower:
            return lower[wanted]
    raise EmbeddingsError(f"{path}: needs a column inchikey or smiles; has {short(columns)}")


def _read_table(file: TableFile) -> tuple[list[str], np.ndarray]:
    path, names = file.path, file.schema.names
    key = names[0] if file.kind in ("npz", "HDF5") else _key_column(path, names)
    lists = [field.name for field in file.schema if is_list(field.type)]
    numeric = [f.name for f in file.schema if is_number(f.type) and f.name != key]
    if file.profile:
        numeric = list(file.profile)
    if len(lists) > 1:
        raise EmbeddingsError(
            f"{path}: one list column of embeddings is needed, has {', '.join(lists)}"
        )
    if not (lists or numeric):
        raise EmbeddingsError(f"{path}: has neither a list column nor numeric columns beside {key}")
    columns = lists or _without_numbering(file, numeric)
    width = usual_length(as_lists(file.head(lists).column(0))) if lists else 0
    keys, parts = [], []
    for part in range(len(file.parts)):
        for batch in file.batches(part, [key, *columns]):
            parts.append(_matrix(path, batch, columns, width, row=len(keys)))
            keys += as_text(batch.column(0)).tolist()
    return keys, np.concatenate(parts)


def _without_numbering(file: TableFile, numeric: list[str]) -> list[str]:
    """Columns but an index that was written out, ids and folds, which are named in the log."""
    head = file.head(numeric)
    numbering = [n for n in numeric if numbers_rows(n, as_number(head.column(n)))]
    if len(numbering) == len(numeric):
        raise EmbeddingsError(
            f"{file.path}: its numeric columns only number rows: {short(numbering)}; add those of "
            "the embedding"
        )
    if numbering:
        logging.warning(
            "%s: %s number or name rows: not taken as values of the embedding",
            *(file.path, short(numbering)),
        )
    return [n for n in numeric if n not in numbering]


def _matrix(
    path: pathlib.Path, batch: pa.Table, columns: list[str], width: int, *, row: int
) -> Float32[np.ndarray, "n k"]:
    """Embeddings of some rows, the first of which is number `row`; a gap becomes NaN."""
    if not width:
        return np.stack([as_number(batch.column(n)) for n in columns], axis=1).astype(np.float32)
    matrix, fits = as_matrix(batch.column(columns[0]), width)
    if not fits.all():
        bad = int(np.flatnonzero(~fits)[0]) + row + 1
        raise EmbeddingsError(
            f"{path}: lists in {columns[0]} must all have one length, {width} as most; row {bad:,} "
            "has another"
        )
    return matrix


def _read_npy(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    text, table = path.with_suffix(".txt"), path.with_suffix(".csv")
    if not path.is_file():
        raise EmbeddingsError(f"no molecule embeddings at {path}")
    if text.is_file():
        with damage_of(text, "text"):
            keys = text.read_text(encoding="utf-8").splitlines()
    elif table.is_file():
        frame = read_text(table)
        keys = frame[_key_column(table, list(frame.columns))].tolist()
    else:
        raise EmbeddingsError(f"{path}: its keys are missing, expected {text.name} or {table.name}")
    with damage_of(path, "npy"):
        header = array_header(path)
        shape = header.shape
        if len(shape) != 2 or header.dtype.kind not in "fiu" or len(keys) != shape[0]:
            raise EmbeddingsError(
                f"{path}: {len(keys)} keys need a numeric array [{len(keys)}, k] of embeddings, "
                f"found {header.dtype} {shape}"
            )
        return keys, np.load(path, allow_pickle=False)
