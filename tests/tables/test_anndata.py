"""AnnData files in the layout that AnnData writes (0.8 and later): obs, X, var, obsm."""

import pathlib

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from molphenix_jax.errors import InputError
from molphenix_jax.tables.formats import unpacked
from molphenix_jax.tables.reading.files import open_file
from molphenix_jax.tables.text import read_text
from molphenix_jax.wells.table import read_wells

MOLECULES = ("CCO", "CCN", "c1ccccc1", "CC(=O)O")
TEXT = h5py.string_dtype()


def frame(n: int = 24) -> pd.DataFrame:
    control = np.arange(n) % 3 == 2
    return pd.DataFrame(
        {
            "Metadata_Plate": pd.Categorical([f"0{i // 12}" for i in range(n)]),
            "Metadata_Well": [f"A{i % 12 + 1:02d}" for i in range(n)],
            "smiles": pd.Categorical(
                [None if c else MOLECULES[i % 4] for i, c in enumerate(control)], MOLECULES
            ),
            "conc_uM": np.where(control, 0.0, [(1.0, 2.5)[i % 2] for i in range(n)]),
            "is_control": control,
            "total_counts": np.linspace(100, 900, n),
        }
    )


X = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)


def tagged(group, name: str, data, kind: str, **options):
    made = group.create_dataset(name, data=data, **options)
    made.attrs["encoding-type"], made.attrs["encoding-version"] = kind, "0.2.0"


def table(group, of: pd.DataFrame, index: list[str], name: str) -> None:
    """A data frame as AnnData writes it."""
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "dataframe", "0.2.0"
    group.attrs["_index"] = name
    group.attrs.create("column-order", list(of), dtype=TEXT, shape=(len(of.columns),))
    tagged(group, name, index, "string-array", dtype=TEXT)
    for column in of:
        values = of[column]
        if isinstance(values.dtype, pd.CategoricalDtype):
            own = group.create_group(column)
            own.attrs["encoding-type"] = "categorical"
            tagged(own, "codes", values.cat.codes.to_numpy(), "array")
            tagged(own, "categories", values.cat.categories.tolist(), "string-array", dtype=TEXT)
        elif pd.api.types.is_numeric_dtype(values):
            tagged(group, column, values.to_numpy(), "array")
        else:
            tagged(group, column, values.tolist(), "string-array", dtype=TEXT)


def write(path: pathlib.Path, of: pd.DataFrame, layout: str = "dense", **more) -> pathlib.Path:
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        table(file.create_group("obs"), of, [f"w{i}" for i in range(len(of))], "_index")
        names = more.get("names", [f"Cells_Texture_{j}" for j in range(X.shape[1])])
        table(file.create_group("var"), pd.DataFrame(index=range(len(names))), names, "_index")
        if layout == "dense":
            tagged(file, "X", X, "array")
        elif layout != "none":
            matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[layout](X)
            group = file.create_group("X")
            group.attrs["encoding-type"], group.attrs["shape"] = f"{layout}_matrix", matrix.shape
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
        obsm = file.create_group("obsm")
        tagged(obsm, "X_pca", X[:, :3] * 2, "array")
        file.create_group("layers").create_dataset("raw", data=X)
    return path


@pytest.mark.parametrize("layout", ["dense", "csr", "csc"])
def test_wells_are_those_of_the_same_parquet(tmp_path, layout, monkeypatch):
    of = frame()
    features = pd.DataFrame(X, columns=[f"Cells_Texture_{j}" for j in range(5)])
    pd.concat([of, features], axis=1).to_parquet(tmp_path / "a.parquet")
    plain = read_wells(tmp_path / "a.parquet", check_smiles=None)
    monkeypatch.setattr("molphenix_jax.tables.reading.files.BATCH_VALUES", 40)  # several batches
    monkeypatch.setattr("molphenix_jax.tables.reading.files.PART_ROWS", 10)
    found = read_wells(write(tmp_path / "a.h5ad", of, layout), check_smiles=None)
    pd.testing.assert_frame_equal(found.table, plain.table)
    np.testing.assert_allclose(found.embedding, plain.embedding)
    assert found.feature_names == plain.feature_names
    assert found.table["plate"].tolist()[0] == "00"
    assert any("not read are obsm/X_pca, layers/raw" in note for note in found.notes)
    assert any("total_counts" in note for note in found.notes)


def test_numbers_of_obs_are_never_features(tmp_path):
    names = ["GAPDH", "TP53", "x", "y", "MYC"]
    wells = read_wells(write(tmp_path / "a.h5ad", frame(), names=names), check_smiles=None)
    assert set(wells.feature_names) <= set(names)
    assert "total_counts" not in wells.feature_names


def test_an_array_of_obsm_is_taken_where_it_is_named(tmp_path):
    path = write(tmp_path / "a.h5ad", frame())
    wells = read_wells(path, columns={"embedding": "obsm/X_pca"}, check_smiles=None)
    rows = wells.table["row"].to_numpy() - 1
    np.testing.assert_allclose(wells.embedding, X[rows, :3] * 2, rtol=1e-6)
    with pytest.raises(InputError, match="no column 'obsm/X_umap' for embedding"):
        read_wells(path, columns={"embedding": "obsm/X_umap"}, check_smiles=None)


def test_columns_of_obs_of_every_kind(tmp_path):
    path = write(tmp_path / "a.h5ad", frame(3), "none")
    with h5py.File(path, "a") as file:
        obs = file["obs"]
        for name, values in (("count", [1, 2, 3]), ("good", [True, False, True])):
            group = obs.create_group(name)
            group["values"], group["mask"] = values, [False, True, False]
        obs["code"] = np.array(["007", "8", "9"], dtype=object)
        obs.attrs.create("column-order", [*frame(), "count", "good", "code"], dtype=TEXT)
    with pytest.raises(InputError, match="no feature columns"):
        read_wells(path, check_smiles=None)
    table = open_file(path).read(["obs_names", "smiles", "count", "good", "code", "is_control"])
    assert table.column("count").to_pylist() == [1, None, 3]
    assert table.column("good").to_pylist() == [True, None, True]
    assert table.column("code").to_pylist() == ["007", "8", "9"]
    assert table.column("smiles").to_pylist() == ["CCO", "CCN", None]
    assert table.column("obs_names").to_pylist() == ["w0", "w1", "w2"]
    assert pa.types.is_boolean(table.schema.field("is_control").type)
    assert read_text(path)["code"].tolist() == ["007", "8", "9"]


def damaged(path: pathlib.Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
        return
    with h5py.File(path, "a") as file:
        if how == "old":
            del file["obs"]
            file["obs"] = np.zeros(3, [("index", "S3")])
        elif how == "shape":
            del file["X"]
            file["X"] = X[:7]
        elif how == "column":
            del file["obs/smiles"]
        elif how == "explodes":
            del file["X"]
            file.create_dataset("X", (24, 5 * 10**8), "f4", chunks=True)
            del file["var"]
            table(file.create_group("var"), pd.DataFrame(), [], "_index")
        elif how == "twice":
            file["var/_index"][0] = "conc_uM"
        elif how == "empty":
            del file["obs"]
            table(file.create_group("obs"), frame(3).iloc[:0], [], "_index")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "damaged (h5ad|HDF5) file: copy it again"),
        ("old", "written by AnnData before 0.7"),
        ("shape", r"X is \[7, 5\], where obs has 24 rows and var 5"),
        ("column", "damaged h5ad file"),
        ("explodes", r"X is \[24, 500000000\]"),
        ("twice", "obs and var have several columns 'conc_uM'"),
        ("empty", "columns but no rows"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, how, message):
    path = write(tmp_path / "a.h5ad", frame())
    damaged(path, how)
    with pytest.raises(InputError, match=rf"a\.h5ad: .*{message}") as said:
        read_wells(path, check_smiles=None)
    assert "\n" not in str(said.value)


def test_a_giant_category_is_counted_as_often_as_it_is_meant(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "ALWAYS", 8 << 20)
    path = write(tmp_path / "a.h5ad", frame())
    assert open_file(path).kind == "h5ad"
    of = frame().assign(note=pd.Categorical(["x" * (1 << 20)] * 24))
    write(path, of)
    monkeypatch.setattr(unpacked, "MOST_PACKED", 10)
    with pytest.raises(InputError, match=r"a\.h5ad: it unpacks to more than 10 times .*24 MiB"):
        open_file(path)
