import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import load_embeddings, standardise

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "C[C@H](N)C(=O)O", "CCO"]
# Row i of the file is [i, i / 2, -i] for the molecule in FILE_ORDER[i].
FILE_ORDER = [3, 1, 0, 2]
VECTORS = np.array([[i, i / 2, -i] for i in range(4)], np.float32)


@pytest.fixture
def molecules() -> pd.DataFrame:
    return standardise(SMILES)


@pytest.fixture
def keys(molecules) -> dict[str, list[str]]:
    drawn = ["CCO", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", SMILES[2]]
    return {"inchikey": molecules["inchikey"].iloc[FILE_ORDER].tolist(), "smiles": drawn}


def expected() -> np.ndarray:
    return VECTORS[np.argsort(FILE_ORDER)]


def write(path, keys, kind, vectors=VECTORS):
    """One file of each accepted layout."""
    column, layout = kind.split("-")
    if layout == "npz":
        np.savez(path / "e.npz", keys=np.array(keys[column]), embeddings=vectors)
        return path / "e.npz"
    if layout == "features":
        table = pd.DataFrame(vectors, columns=[f"f{i}" for i in range(vectors.shape[1])])
        table.insert(1, column, keys[column])
        table.to_csv(path / "e.csv", index=False, sep=";", decimal=",")
        return path / "e.csv"
    if layout == "hdf5":
        with h5py.File(path / "e.h5", "w") as file:
            file["keys"], file["embeddings"] = keys[column], vectors
        return path / "e.h5"
    if layout in ("txt", "csv"):
        np.save(path / "e.npy", vectors)
        if layout == "txt":
            (path / "e.txt").write_text("\n".join(keys[column]) + "\n")
        else:
            pd.DataFrame({"n": 1, column: keys[column]}).to_csv(path / "e.csv", index=False)
        return path / "e.npy"
    columns = {column.upper() if layout == "upper" else column: pa.array(keys[column])}
    if layout in ("list", "upper"):
        columns["embedding"] = pa.array(vectors.tolist())
        columns["rank"] = pa.array(range(len(vectors)))
    elif layout == "fixed":
        flat = pa.array(vectors.reshape(-1))
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    else:
        columns |= {f"f{i}": pa.array(vectors[:, i]) for i in range(vectors.shape[1])}
    pq.write_table(pa.table(columns), path / "e.parquet")
    return path / "e.parquet"


@pytest.mark.parametrize("column", ["inchikey", "smiles"])
@pytest.mark.parametrize(
    "layout", ["list", "upper", "fixed", "wide", "npz", "txt", "csv", "features", "hdf5"]
)
def test_every_layout_in_the_molecules_order(tmp_path, molecules, keys, column, layout):
    path = write(tmp_path, keys, f"{column}-{layout}")
    found = load_embeddings(path, molecules)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected())


def test_missing_molecules_are_counted_and_named(tmp_path, molecules, keys):
    path = write(tmp_path, {"inchikey": keys["inchikey"][:2]}, "inchikey-npz", VECTORS[:2])
    with pytest.raises(ValueError, match=r"2 of 4 molecules have no embedding: CC\(=O\)Oc1.*, C\["):
        load_embeddings(path, molecules)


def test_first_block_serves_where_the_full_key_is_missing(tmp_path, molecules, keys, caplog):
    other = standardise(["C[C@@H](N)C(=O)O"])["inchikey"][0]
    assert other != molecules["inchikey"][2]
    for stand_in in (other, other[:14]):
        altered = [*keys["inchikey"][:3], stand_in]
        path = write(tmp_path, {"inchikey": altered}, "inchikey-npz")
        caplog.clear()
        np.testing.assert_array_equal(load_embeddings(path, molecules), expected())
        assert "1 of 4 molecules matched by the first InChIKey block only" in caplog.text


def test_full_key_wins_over_first_block(tmp_path, molecules, keys, caplog):
    other = standardise(["C[C@@H](N)C(=O)O"])["inchikey"][0]
    both = {"inchikey": [other, *keys["inchikey"]]}
    vectors = np.vstack([np.full((1, 3), 9, np.float32), VECTORS])
    path = write(tmp_path, both, "inchikey-npz", vectors)
    np.testing.assert_array_equal(load_embeddings(path, molecules), expected())
    assert caplog.text == ""


def test_first_of_conflicting_rows_counts_and_is_noted(tmp_path, molecules, keys, caplog):
    doubled = {"smiles": [*keys["smiles"], "OCC", "CCO"]}
    vectors = np.vstack([VECTORS, VECTORS[:1] + 5, VECTORS[:1]])
    path = write(tmp_path, doubled, "smiles-npz", vectors)
    np.testing.assert_array_equal(load_embeddings(path, molecules), expected())
    assert "1 rows differ from an earlier row of their key" in caplog.text


def test_unreadable_keys_are_noted(tmp_path, molecules, keys, caplog):
    more = {"smiles": [*keys["smiles"], "C1CC"]}
    path = write(tmp_path, more, "smiles-npz", np.vstack([VECTORS, VECTORS[:1]]))
    np.testing.assert_array_equal(load_embeddings(path, molecules), expected())
    assert "1 keys are no usable SMILES or InChIKey" in caplog.text


@pytest.mark.parametrize("layout", ["list", "wide", "npz"])
def test_not_finite(tmp_path, molecules, keys, layout):
    vectors = VECTORS.copy()
    vectors[1, 2] = np.nan
    path = write(tmp_path, keys, f"inchikey-{layout}", vectors)
    with pytest.raises(ValueError, match=r"1 embeddings have NaN.*RYYVLZVUVIJVGH.*row 2"):
        load_embeddings(path, molecules)


def test_refused_layouts(tmp_path, molecules, keys):
    for name in ("nowhere.npz", "nowhere.npy"):
        with pytest.raises(InputError, match="nowhere"):
            load_embeddings(tmp_path / name, molecules)
    (tmp_path / "e.pt").touch()
    with pytest.raises(InputError, match=r"e\.pt: the file is empty"):
        load_embeddings(tmp_path / "e.pt", molecules)
    np.save(tmp_path / "lonely.npy", VECTORS)
    with pytest.raises(InputError, match=r"lonely\.txt or lonely\.csv"):
        load_embeddings(tmp_path / "lonely.npy", molecules)
    with pytest.raises(ValueError, match="4 keys need a numeric array"):
        load_embeddings(write(tmp_path, keys, "smiles-txt", VECTORS[:3]), molecules)
    with pytest.raises(ValueError, match=r"embeddings \[3, 3\] and keys \[4\] do not go together"):
        load_embeddings(write(tmp_path, keys, "smiles-npz", VECTORS[:3]), molecules)
    np.savez(tmp_path / "e.npz", labels=np.array(["a"]), embeddings=VECTORS)
    with pytest.raises(
        ValueError, match="needs an array 'embeddings' and one of .*has emb.*labels"
    ):
        load_embeddings(tmp_path / "e.npz", molecules)
    for name in ("e.npz", "e.npy"):
        (tmp_path / name).write_bytes(b"\x93NUMPY garbage" if name == "e.npy" else b"PK\3\4 no zip")
        (tmp_path / "e.txt").write_text("CCO\n")
        with pytest.raises(InputError, match=rf"{name}: damaged np[yz] file: copy it again"):
            load_embeddings(tmp_path / name, molecules)

    def parquet(**columns):
        pq.write_table(pa.table(columns), tmp_path / "e.parquet")
        return tmp_path / "e.parquet"

    with pytest.raises(ValueError, match=r"column inchikey or smiles; has name"):
        load_embeddings(parquet(name=["a"], f0=[1.0]), molecules)
    with pytest.raises(ValueError, match="neither a list column nor numeric"):
        load_embeddings(parquet(smiles=["CCO"]), molecules)
    with pytest.raises(ValueError, match="one length"):
        load_embeddings(parquet(smiles=["C", "CC"], e=[[1.0], [1.0, 2.0]]), molecules)
    with pytest.raises(ValueError, match="one length"):
        load_embeddings(parquet(smiles=["C", "CC"], e=[[1.0], None]), molecules)
    with pytest.raises(ValueError, match="one list column"):
        load_embeddings(parquet(smiles=["C"], e=[[1.0]], f=[[1.0]]), molecules)


def test_pickled_keys_are_not_loaded(tmp_path, molecules, keys):
    np.savez(tmp_path / "e.npz", keys=np.array(keys["smiles"], dtype=object), embeddings=VECTORS)
    with pytest.raises(ValueError, match="keys are object, not text"):
        load_embeddings(tmp_path / "e.npz", molecules)


@pytest.mark.parametrize(
    "column", ["Unnamed: 0", "__index_level_0__", "cid", "ChEMBL ID", "cv_fold", "split", "n"]
)
def test_what_numbers_rows_is_no_value_of_an_embedding(tmp_path, column, caplog):
    smiles = ["CCO", "CCN", "CCC", "CCCl", "CCBr", "CCF"]
    numbering = range(6) if column in ("Unnamed: 0", "n") else [7, 3, 9, 9, 1, 2]
    table = pd.DataFrame({column: numbering, "smiles": smiles, "mw": 1.5, "e0": np.arange(6) / 4})
    table.to_csv(tmp_path / "e.csv", index=False)
    np.testing.assert_array_equal(
        load_embeddings(tmp_path / "e.csv", standardise(smiles)), table[["mw", "e0"]]
    )
    assert f"{column} number or name rows" in caplog.text
    table[["smiles", column]].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(InputError, match="only number rows"):
        load_embeddings(tmp_path / "none.csv", standardise(smiles))
