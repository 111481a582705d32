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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import logging
from jaxtyping import Float32

from molphenix_jax.molecules.standard import standardise

_INCHIKEY = re.compile(r"[A-Z]{14}(-[A-Z]{10}-[A-Z])?")
_FIRST_BLOCK = 14
_SHOWN = 5


def load_embeddings(
    path: str | pathlib.Path, molecules: pd.DataFrame
) -> Float32[np.ndarray, "n k"]:
    """Embeddings of the molecules, in their order.

    Matched by full InChIKey; a molecule that has none there takes an embedding with the same first
    block (same skeleton, stereo unknown or different), and how many did so is logged. Where a file
    has several different rows for one key, the first counts, which is logged too.

    Args:
        path: `.parquet` with a column `inchikey` or `smiles` (the first, if both) and one list
            column, or else its numeric columns in file order; `.npz` with arrays `keys` and
            `embeddings`; or `.npy` [m, k] beside a `.txt` (one key a line) or `.csv` (a column
            `inchikey` or `smiles`) of the same name, in the same order. Keys are InChIKeys, their
            first blocks, or SMILES.
        molecules: n rows with columns `smiles` and `inchikey`, as `standardise` gives them.

    Returns:
        [n, k] float32, finite.

    Raises:
        FileNotFoundError: the file, or the keys beside an `.npy`, are missing.
        ValueError: the file has another layout; molecules lack an embedding (says how many and
            the first few); an embedding that is needed has NaN or infinite values.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no molecule embeddings at {path}")
    readers = {".parquet": _read_parquet, ".npz": _read_npz, ".npy": _read_npy}
    if path.suffix not in readers:
        raise ValueError(f"{path}: molecule embeddings are read from {', '.join(readers)}")
    keys, embeddings = readers[path.suffix](path)
    if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu" or len(keys) != len(embeddings):
        raise ValueError(
            f"{path}: {len(keys)} keys need a numeric array [{len(keys)}, k] of embeddings, "
            f"found {embeddings.dtype} {embeddings.shape}"
        )
    rows = _match(path, _inchikeys(path, keys), embeddings, molecules)
    chosen = embeddings[rows].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{path}: {bad.size} embeddings have NaN or infinite values, "
            f"the first for key {keys[rows[bad[0]]]!r} (row {rows[bad[0]]}); recompute them"
        )
    return chosen


def _match(
    path: pathlib.Path,
    inchikeys: list[str | None],
    embeddings: np.ndarray,
    molecules: pd.DataFrame,
) -> np.ndarray:
    """Row of `embeddings` for each molecule."""
    full: dict[str, int] = {}
    skeleton: dict[str, int] = {}
    n_conflicts = 0
    for row, key in enumerate(inchikeys):
        if key is None:
            continue
        if not np.array_equal(embeddings[full.setdefault(key, row)], embeddings[row]):
            n_conflicts += 1
        skeleton.setdefault(key[:_FIRST_BLOCK], row)
    if n_conflicts:
        logging.warning("%s: %d rows differ from an earlier row of their key", path, n_conflicts)

    exact = [full.get(key) for key in molecules["inchikey"]]
    loose = [skeleton.get(key[:_FIRST_BLOCK]) for key in molecules["inchikey"]]
    rows = [b if a is None else a for a, b in zip(exact, loose, strict=True)]
    missing = [smiles for smiles, row in zip(molecules["smiles"], rows, strict=True) if row is None]
    if missing:
        more = ", ..." if len(missing) > _SHOWN else ""
        raise ValueError(
            f"{path}: {len(missing)} of {len(molecules)} molecules have no embedding: "
            f"{', '.join(missing[:_SHOWN])}{more}; add them to the file"
        )
    n_loose = sum(a is None for a in exact)
    if n_loose:
        logging.warning(
            "%s: %d of %d molecules matched by the first InChIKey block only (stereo ignored)",
            *(path, n_loose, len(molecules)),
        )
    return np.array(rows, np.int64)


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
    raise ValueError(f"{path}: needs a column inchikey or smiles; has {', '.join(columns)}")


def _read_parquet(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    table = pq.read_table(path)
    key = _key_column(path, table.column_names)
    keys = [str(value) for value in table[key].to_pylist()]
    lists = [field.name for field in table.schema if _is_list(field.type)]
    if len(lists) > 1:
        raise ValueError(f"{path}: one list column of embeddings is needed, has {', '.join(lists)}")
    if lists:
        return keys, _list_column(path, lists[0], table[lists[0]].combine_chunks())
    numeric = [field.name for field in table.schema if _is_number(field.type)]
    if not numeric:
        raise ValueError(f"{path}: has neither a list column nor numeric columns beside {key}")
    # A null becomes NaN here, which is refused where a molecule needs that row.
    return keys, table.select(numeric).to_pandas().to_numpy(np.float64)


def _list_column(path: pathlib.Path, name: str, column: pa.Array) -> np.ndarray:
    lengths = set(pc.call_function("list_value_length", [column]).to_pylist())
    if len(lengths) != 1 or None in lengths:
        shown = sorted(lengths, key=str)[:_SHOWN]
        raise ValueError(f"{path}: lists in {name} must all have one length, found {shown}")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), lengths.pop())


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _read_npz(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        if not {"keys", "embeddings"} <= set(arrays.files):
            raise ValueError(
                f"{path}: needs arrays keys and embeddings, has {', '.join(arrays.files)}"
            )
        return [str(key) for key in arrays["keys"]], arrays["embeddings"]


def _read_npy(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
    embeddings = np.load(path, allow_pickle=False)
    text, table = path.with_suffix(".txt"), path.with_suffix(".csv")
    if text.is_file():
        return text.read_text().splitlines(), embeddings
    if table.is_file():
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
        return frame[_key_column(table, list(frame.columns))].tolist(), embeddings
    raise FileNotFoundError(f"{path}: its keys are missing, expected {text.name} or {table.name}")
