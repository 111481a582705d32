"""Whatever a table is dressed in, every place that takes tables reads the same from it."""

import codecs
import gzip
import io
import pathlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.images.layouts.listing import read_listing
from molphenix_jax.molecules.embeddings import EmbeddingsFile
from molphenix_jax.molecules.files import read_molecules
from molphenix_jax.tasks.property_pretraining.labels import read_labels
from molphenix_jax.wells.table import read_wells

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "CCN", "CCCO", "CCOC"]
NAMES = ["Äther", "b c", "a; b", "d,e", "007", "µ-f"]


def csv(frame: pd.DataFrame, **options) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def indexed(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame[np.ones(len(frame), bool)].to_parquet(out, index=True)  # an index that is written out
    return out.getvalue()


def coded(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for at, field in enumerate(table.schema):
        if not pa.types.is_floating(field.type) and not pa.types.is_boolean(field.type):
            table = table.set_column(at, field.name, table.column(at).dictionary_encode())
    return parquet(table)


def large(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    kinds = [pa.large_string() if pa.types.is_string(f.type) else f.type for f in table.schema]
    return parquet(table.cast(pa.schema(zip(table.schema.names, kinds, strict=True))))


DRESSES: dict[str, tuple[str, Callable[[pd.DataFrame], bytes]]] = {
    "semicolons": ("t.csv", lambda t: csv(t, sep=";")),
    "tabs": ("t.tsv", lambda t: csv(t, sep="\t")),
    "tabs in a .csv": ("t.csv", lambda t: csv(t, sep="\t")),
    "bars": ("t.txt", lambda t: csv(t, sep="|")),
    "sep line": ("t.csv", lambda t: b"sep=;\r\n" + csv(t, sep=";", lineterminator="\r\n")),
    "comments": ("t.csv", lambda t: b"# of plate 7\n# by us\n" + csv(t)),
    "byte order mark": ("t.csv", lambda t: codecs.BOM_UTF8 + csv(t)),
    "Latin-1": ("t.csv", lambda t: t.to_csv(index=False).encode("latin-1")),
    "UTF-16": ("t.csv", lambda t: t.to_csv(index=False).encode("utf-16")),
    "decimal commas": ("t.csv", lambda t: csv(t, sep=";", decimal=",")),
    "Windows' and quoted": ("t.csv", lambda t: csv(t, quoting=1, lineterminator="\r\n")),
    "gzip": ("t.csv.gz", lambda t: gzip.compress(csv(t))),
    "gzip by content": ("t.csv", lambda t: gzip.compress(csv(t, sep=";", decimal=","))),
    "blank lines": ("t.csv", lambda t: b"\n\n" + csv(t) + b"\n\n"),
    "Parquet": ("t.parquet", lambda t: parquet(pa.Table.from_pandas(t, preserve_index=False))),
    "Parquet by content": ("t.csv", lambda t: t.to_parquet(index=False)),
    "dictionaries": ("t.parquet", coded),
    "long text": ("t.parquet", large),
    "pandas' index": ("t.parquet", indexed),
}


def features(n: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(0).normal(size=(n, 3)).round(3) + 0.0005
    return {f"f{i}": values[:, i] for i in range(3)}


def wells(path: pathlib.Path) -> list:
    found = read_wells(path, check_smiles=None)
    kept = found.table[["plate", "well", "smiles", "concentration_um", "is_control"]]
    return [kept.to_numpy().tolist(), list(found.feature_names), found.embedding.tolist()]


def wells_table() -> pd.DataFrame:
    smiles = [s for s in SMILES for _ in range(2)]
    n = len(smiles)
    treated = pd.DataFrame(
        {
            "plate": [f"00{1 + i % 2}" for i in range(n)],
            "well": [f"B{1 + i // 2:02d}" for i in range(n)],
            "smiles": smiles,
            "compound": [name for name in NAMES for _ in range(2)],
            "concentration_um": [0.5, 2.25] * (n // 2),
            "is_control": False,
        }
    )
    control = treated.assign(
        well=treated["well"].str.replace("B", "C"),
        smiles=None,
        compound="DMSO",
        concentration_um=0.0,
        is_control=True,
    )
    table = pd.concat([treated, control], ignore_index=True)
    return table.assign(**features(len(table)))


def joined(path: pathlib.Path) -> list:
    """Compounds' SMILES in the table, the wells as CSV beside it."""
    table = wells_table()
    beside = path.parent / "wells.csv"
    table.drop(columns="smiles").to_csv(beside, index=False)
    found = read_wells(f"{beside},{path}", check_smiles=None)
    return [found.table[["well", "smiles", "is_control"]].to_numpy().tolist(), found.feature_names]


def embeddings(path: pathlib.Path) -> list:
    """Features in the table, by plate and well, the metadata as CSV beside it."""
    table = wells_table()
    beside = path.parent / "wells.csv"
    table.drop(columns=["f0", "f1", "f2"]).to_csv(beside, index=False)
    found = read_wells(f"{beside},{path}", check_smiles=None)
    return [found.table["well"].tolist(), found.feature_names, found.embedding.tolist()]


def compounds() -> pd.DataFrame:
    return pd.DataFrame({"compound": NAMES, "smiles": SMILES, **features(len(SMILES))})


def named_table() -> pd.DataFrame:
    return compounds()[["compound", "smiles"]]


def profiles() -> pd.DataFrame:
    return wells_table()[["plate", "well", "f0", "f1", "f2"]]


def library(path: pathlib.Path) -> list:
    _, read = read_molecules(path)
    return [read.smiles, read.others["compound"].tolist(), list(read.reason)]


def labels(path: pathlib.Path) -> list:
    found = read_labels([str(path)])
    values = [(g.columns, g.loss, g.values.tolist()) for g in found.groups]
    return [values, list(found.molecules["smiles"])]


def listing(path: pathlib.Path) -> list:
    frame = read_listing(path)
    return [frame[["compound", "smiles"]].to_numpy().tolist()]


def block(path: pathlib.Path) -> list:
    """`molecules.embeddings`: rows of the file in the order of the molecules."""
    file = EmbeddingsFile(path)
    return [list(file.keys), np.asarray(file.embeddings, np.float32).tolist()]


def block_table() -> pd.DataFrame:
    return compounds().drop(columns="compound")


PLACES = {
    "wells": (wells_table, wells),
    "--join": (named_table, joined),
    "embeddings": (profiles, embeddings),
    "library": (compounds, library),
    "labels": (compounds, labels),
    "image index": (compounds, listing),
    "block": (block_table, block),
}


@pytest.mark.slow
@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("place", PLACES)
def test_every_place_reads_every_dress(tmp_path, place, dress):
    make, read = PLACES[place]
    name, write = DRESSES[dress]
    table = make()
    (tmp_path / "plain").mkdir()
    (tmp_path / "dressed").mkdir()
    plain, dressed = tmp_path / "plain" / "plain.csv", tmp_path / "dressed" / name
    table.to_csv(plain, index=False)
    dressed.write_bytes(write(table))
    assert read(dressed) == read(plain)
