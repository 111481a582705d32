"""Arrays with names, and files that claim more than they hold."""

import io
import tracemalloc
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.images.files import row_group_starts
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.tables.formats import unpacked
from molphenix_jax.tables.reading.files import open_file

NAMES = [f"P1-A{i:02d}" for i in range(300)]
VALUES = np.arange(900, dtype=np.float64).reshape(300, 3)


def rows(file, *, several: bool) -> tuple[list[str], np.ndarray]:
    key, lists = file.schema.names
    batches = list(file.batches(0, [key, lists]))
    assert (len(batches) > 1) == several
    values = np.concatenate([b.column(1).combine_chunks().flatten().to_numpy() for b in batches])
    return [v for b in batches for v in b.column(0).to_pylist()], values.reshape(-1, 3)


@pytest.mark.parametrize("layout", ["npz", "packed", "by column", "HDF5"])
def test_embeddings_come_a_block_at_a_time(tmp_path, layout, monkeypatch):
    monkeypatch.setattr("molphenix_jax.tables.reading.files.BATCH_VALUES", 300)
    path = tmp_path / "e.npz"
    if layout == "HDF5":
        with h5py.File(path, "w") as file:
            file["well_id"], file["embeddings"] = NAMES, VALUES
    else:
        save = np.savez_compressed if layout == "packed" else np.savez
        values = np.asfortranarray(VALUES) if layout == "by column" else VALUES
        save(path, names=NAMES, embeddings=values, note=np.array("mine"))
    file = open_file(path)
    # What lies by column cannot be read row by row.
    names, values = rows(file, several=layout != "by column")
    assert names == NAMES
    np.testing.assert_array_equal(values, VALUES)


def header(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def lying(path) -> None:
    """A header that tells of 100 GB before 12 bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("names.npy", b"")
        archive.writestr("embeddings.npy", header((25_000_000, 1000)) + bytes(12))


def exploding_npz(path) -> None:
    n = 1 << 12
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("names.npy", "w") as member:
            np.lib.format.write_array(member, np.zeros(n, "U1"))
        with archive.open("embeddings.npy", "w", force_zip64=True) as member:
            member.write(header((n, 1024)))
            member.write(bytes(n << 12))


def exploding_hdf5(path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("names", (10_000_000,), "S8", chunks=True, compression="gzip")
        file.create_dataset("embeddings", (10_000_000, 2500), "f4", chunks=True)


def exploding_parquet(path) -> None:
    n = 1 << 18
    constant = pa.array(np.zeros(n))
    table = pa.table({"plate": pa.array(["P"] * n).dictionary_encode(), "f0": constant})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(20):
            writer.write_table(table)


BOMBS = {
    "e.npz": (exploding_npz, "unpacks to more than 500 times its size"),
    "lying.npz": (lying, "damaged npz file"),
    "e.h5": (exploding_hdf5, r"more than 500 times its size .*GiB"),
    "e.parquet": (exploding_parquet, "more than 500 times its size"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_a_header_claims_is_checked_before_it_is_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr(unpacked, "ALWAYS", 8 << 20)
    make, message = BOMBS[name]
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 10 << 20
    tracemalloc.start()
    with pytest.raises(WellsError, match=rf"{name}: .*{message}") as said:
        open_file(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("encoding", ["dictionary", "DELTA_BYTE_ARRAY"])
@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.struct({"bytes": pa.binary()})])
def test_a_giant_text_that_recurs_is_counted_as_often(tmp_path, monkeypatch, encoding, kind):
    monkeypatch.setattr(unpacked, "ALWAYS", 8 << 20)
    giant = b"C" * (1 << 20)
    value = {"bytes": giant} if pa.types.is_struct(kind) else giant
    table = pa.table({"smiles": pa.array([value] * 40, kind), "f": np.arange(40.0)})
    coded = {"use_dictionary": True}
    if encoding != "dictionary":
        leaf = "smiles.bytes" if pa.types.is_struct(kind) else "smiles"
        coded = {"use_dictionary": False, "column_encoding": {leaf: encoding, "f": "PLAIN"}}
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", **coded)
    assert pq.read_metadata(tmp_path / "a.parquet").row_group(0).total_byte_size < 3 << 20
    with pytest.raises(
        WellsError, match=r"a\.parquet: it unpacks to more than 500 times .*(41|8) MiB"
    ):
        unpacked.refuse_exploding_parquet(tmp_path / "a.parquet")
    with pytest.raises(WellsError, match="unpacks to more than 500 times"):
        row_group_starts(tmp_path / "a.parquet")


def test_texts_that_recur_in_an_ordinary_table_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "ALWAYS", 1 << 10)
    names = pa.array([f"plate-{i % 50:04d}" for i in range(100_000)])
    pq.write_table(pa.table({"plate": names, "f": np.arange(1e5)}), tmp_path / "a.parquet")
    assert open_file(tmp_path / "a.parquet").schema.names == ["plate", "f"]


def test_a_plain_table_of_constants_is_read(tmp_path):
    table = pa.table({"plate": ["P"] * 200_000, "smiles": ["CCO"] * 200_000, "f": [0.0] * 200_000})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_file(tmp_path / "a.parquet").schema.names == table.column_names
