"""AnnData's .h5ad: wells in `obs`, features in `X`, named by `var`; `obsm` where it is asked for.

Read through h5py, some rows at a time: X dense or sparse, columns of obs plain, categorical or with
gaps, as AnnData 0.8 and later write them.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from molphenix_jax.tables.columns import WellsError, short
from molphenix_jax.tables.formats.arrays import damage_of, decoded, fixed_lists
from molphenix_jax.tables.formats.unpacked import refuse_exploding, repeated_bytes

OBSM = "obsm/"  # before the names of arrays beside X
_INDEX = "obs_names"  # what the index of obs is called where it has no name of its own
_KIND = "h5ad"


@dataclasses.dataclass(frozen=True)
class AnnData:
    """An .h5ad file, opened as far as its columns; n rows.

    Attributes:
        path: where it lies.
        schema: columns of obs, then of X, then the arrays of obsm that were asked for.
        n_rows: n.
        features: the columns of X.
        index: what the index of obs is called in the file.
        notes: what is not read, one sentence each.
    """

    path: pathlib.Path
    schema: pa.Schema
    n_rows: int
    features: tuple[str, ...]
    index: str
    notes: tuple[str, ...]

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """All rows, `size` at a time; only some columns.

        Raises:
            WellsError: the file is damaged.
        """
        place = {name: j for j, name in enumerate(self.features)}
        with damage_of(self.path, _KIND), _opened(self.path) as file:
            rows_of = _rows_of(file["X"]) if place.keys() & set(columns) else None
            for start in range(0, self.n_rows, size):
                rows = slice(start, min(start + size, self.n_rows))
                x = rows_of(rows) if rows_of else np.zeros((0, 0))
                arrays = [
                    pa.array(np.ascontiguousarray(x[:, place[name]]))
                    if name in place
                    else self._beside(file, name, rows)
                    for name in columns
                ]
                yield pa.table(arrays, names=list(columns))

    def _beside(self, file: Any, name: str, rows: slice) -> pa.Array:
        if name.startswith(OBSM):
            return fixed_lists(np.asarray(file[name][rows], np.float32))
        return _column(file["obs"][self.index if name == _INDEX else name], rows)


def is_anndata(path: pathlib.Path) -> bool:
    """Whether an HDF5 file is one of AnnData's."""
    with damage_of(path, "HDF5"), _opened(path) as file:
        return "obs" in file and "var" in file


def open_anndata(path: pathlib.Path, wanted: Sequence[str] = ()) -> AnnData:
    """Looks at the columns of a file.

    Args:
        path: the file.
        wanted: columns that the user names: arrays of obsm are read only if they are among them.

    Raises:
        WellsError: it is damaged, empty, of an old layout, or obs and var share a name.
    """
    with damage_of(path, _KIND), _opened(path) as file:
        obs, var = file["obs"], file["var"]
        if not (_is_group(obs) and _is_group(var)):
            raise WellsError(
                f"{path}: written by AnnData before 0.7: read it there and write it again"
            )
        index = str(obs.attrs["_index"])
        n = len(_first_array(obs[index]))
        if not n:
            raise WellsError(f"{path}: the table has columns but no rows")
        named = _INDEX if index in ("_index", "index") else index
        fields = [(named, _column(obs[index], slice(0, 1)).type)]
        order = [decoded(name) for name in obs.attrs["column-order"]]
        refuse_exploding(path, sum(_recurring(obs[name]) for name in order))
        fields += [(name, _column(obs[name], slice(0, 1)).type) for name in order]
        features = ()
        if "X" in file and _shape(file["X"]):
            every = slice(0, None)
            features = tuple(_column(var[str(var.attrs["_index"])], every).to_pylist())
            if _shape(file["X"]) != (n, len(features)):
                raise WellsError(
                    f"{path}: X is {list(_shape(file['X']))}, where obs has {n} rows and var "
                    f"{len(features)}: the file is damaged; write it anew"
                )
            refuse_exploding(path, _bytes(file["X"]))
            fields += [(name, pa.float32()) for name in features]
        there = sorted(file["obsm"]) if "obsm" in file else []
        for name in (name for name in there if OBSM + name in wanted):
            array = file[OBSM + name]
            if _is_group(array) or array.ndim != 2 or array.dtype.kind not in "fiu":
                raise WellsError(f"{path}: {OBSM}{name} is no matrix of numbers")
            refuse_exploding(path, array.nbytes)
            fields.append((OBSM + name, pa.list_(pa.float32(), array.shape[1])))
        others = [f"{OBSM}{name}" for name in there if OBSM + name not in wanted]
        others += [f"layers/{name}" for name in file.get("layers", ())]
    names = [name for name, _ in fields]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise WellsError(f"{path}: obs and var have several columns {twice!r}: rename one")
    notes = []
    if others:
        notes.append(
            f"{path.name}: not read are {short(others, 5)}; --columns=embedding={OBSM}NAME takes "
            "an array of obsm for the features"
        )
    return AnnData(path, pa.schema(fields), n, features, index, tuple(notes))


def _opened(path: pathlib.Path) -> Any:
    return h5py.File(path)  # whose type says of nothing in it whether it is a group


def _is_group(of: Any) -> bool:
    return isinstance(of, h5py.Group)


def _first_array(column: Any) -> Any:
    """What tells the length of a column: its values, or the codes of a categorical."""
    if _is_group(column):
        return column["codes" if "codes" in column else "values"]
    return column


def _column(column: Any, rows: slice) -> pa.Array:
    """Some rows of a column of obs or var."""
    if not _is_group(column):
        return _plain(column[rows])
    if "codes" in column:
        codes = column["codes"][rows]
        values = _plain(column["categories"][:])
        return values.take(pa.array(np.maximum(codes, 0), pa.int64(), mask=codes < 0))
    values = _plain(column["values"][rows])
    gaps = np.asarray(column["mask"][rows], bool)
    return pa.array(values.to_pylist(), values.type, mask=gaps)


def _recurring(column: Any) -> int:
    """Bytes of the texts of a categorical, each as often as it is meant."""
    if not (_is_group(column) and "codes" in column):
        return 0
    return repeated_bytes(_plain(column["categories"][:]), np.asarray(column["codes"][:], np.int64))


def _plain(values: np.ndarray) -> pa.Array:
    """Values of a dataset: text, truth values as AnnData writes them (an enumeration), numbers."""
    if values.dtype.kind in "OSU":
        return pa.array([decoded(value) for value in values], pa.string())
    if values.dtype.kind in "bfiu":
        return pa.array(values)
    raise WellsError(f"a column holds {values.dtype}, where text or numbers are needed")


def _shape(x: Any) -> tuple[int, ...]:
    if _is_group(x):
        return tuple(int(side) for side in x.attrs["shape"])
    return x.shape or ()


def _bytes(x: Any) -> int:
    if _is_group(x):
        return sum(x[name].nbytes for name in ("data", "indices", "indptr"))
    return x.nbytes


def _rows_of(x: Any):
    """A function that gives some rows of X, dense."""
    if not _is_group(x):
        return lambda rows: np.asarray(x[rows])
    # scikit-learn brings it; only sparse files need it.
    from scipy import sparse

    shape, by_row = _shape(x), "csr" in str(x.attrs["encoding-type"])
    if not by_row:
        parts = (x["data"][:], x["indices"][:], x["indptr"][:])
        whole = sparse.csc_matrix(parts, shape=shape).tocsr()
        return lambda rows: whole[rows].toarray()
    starts = x["indptr"][:]

    def some(rows: slice) -> np.ndarray:
        first, last = int(starts[rows.start]), int(starts[rows.stop])
        parts = (
            x["data"][first:last],
            x["indices"][first:last],
            starts[rows.start : rows.stop + 1] - first,
        )
        return sparse.csr_matrix(parts, shape=(rows.stop - rows.start, shape[1])).toarray()

    return some
