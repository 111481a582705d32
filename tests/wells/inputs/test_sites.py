"""JUMP-Lite v1.0: a Parquet file per site in long form, pooled to wells and prepared."""

import pathlib
import re
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.screens.prepare import prepare
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.wells.inputs import sites
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny
from tests.wells.inputs.test_layouts import SMILES, noted

N_WELLS, N_TILES, WIDTH = 20, 3, 12
PLATES = ("BR0001", "BR0002")
BATCH = "2021_08_30_Batch13"


def long_form(values: np.ndarray, model: str = "openphenom") -> pd.DataFrame:
    """A site's table, feature 10 before feature 2 as text sorts them."""
    return _long(values, model).to_pandas()


def _long(values: np.ndarray, model: str) -> pa.Table:
    tiles, width = values.shape
    order = np.array(sorted(range(width), key=str))
    n = tiles * width
    return pa.table(
        {
            "tile": np.tile(np.arange(tiles), width),
            "label": np.zeros(n, int),
            "branch": [f"{model}_"] * n,
            "metric": np.repeat(order, tiles).astype(str),
            "value": values[:, order].T.ravel(),
            "object": [model] * n,
            "tp": np.zeros(n, int),
        }
    )


def jump_lite(folder: pathlib.Path, *, gallery: bool = True) -> np.ndarray:
    """Sites of two plates in the gallery's or the local form, and the two tables to join.

    Returns:
        Values [plate, well, site, tile, feature]; the last well has three sites.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(PLATES), N_WELLS, 4, N_TILES, WIDTH)).astype(np.float32)
    root = folder / "openphenom-jpegxl_lossy_mq" / "jump_lite" / "v1.0"
    wells = []
    for p, plate in enumerate(PLATES):
        for w in range(N_WELLS):
            well = f"A{w + 1:02d}"
            for s in range(3 if w == N_WELLS - 1 else 4):
                path = root / "source_4" / BATCH / plate / f"{well}-{s + 1}" / "embedding.parquet"
                if not gallery:
                    path = folder / "local" / f"source_4__{BATCH}__{plate}__{well}__{s + 1}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(_long(x[p, w, s], "openphenom"), path)
            jcp = "JCP2022_033924" if w < 8 else f"JCP2022_00000{w % 4}"
            wells.append(("source_4", BATCH, plate, well, jcp, "compound"))
    names = ["Source", "Batch", "Plate", "Well", "JCP2022", "pert_type"]
    table = pd.DataFrame(wells, columns=[f"Metadata_{name}" for name in names])
    key = table.iloc[:, :4].agg("__".join, axis=1)
    table.insert(0, "Metadata_Well_Key", key)
    # A well that nobody annotated is in no table.
    table.iloc[:-1].to_parquet(folder / "jump_lite_perturbation_metadata.parquet")
    jcp = ["JCP2022_033924", *(f"JCP2022_00000{i}" for i in range(4))]
    known = pd.DataFrame({"Metadata_JCP2022": jcp, "Metadata_SMILES": ["CS(C)=O", *SMILES]})
    known.to_csv(folder / "compound.csv.gz", index=False)
    return x


def test_a_plate_after_another_to_a_screen(tmp_path):
    x = jump_lite(tmp_path)
    said: list[str] = []
    model, cache = tmp_path / "openphenom-jpegxl_lossy_mq", tmp_path / "cache"
    found = sites.pool_sites([model], cache, pool="median", say=said.append)
    table = pd.read_parquet(found)
    assert list(table)[4:] == [f"openphenom_{j}" for j in range(WIDTH)], "by number"
    assert said == ["pooling 158 sites of 2 plates to wells, by their median"]
    wanted = np.median(x[1, 2].reshape(-1, WIDTH), axis=0)
    np.testing.assert_allclose(table.iloc[N_WELLS + 2, 4:].to_numpy(float), wanted, rtol=1e-6)
    last = np.median(x[0, -1, :3].reshape(-1, WIDTH), axis=0)
    np.testing.assert_allclose(table.iloc[N_WELLS - 1, 4:].to_numpy(float), last, rtol=1e-6)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [found.parent.name]
    join = ("jump_lite_perturbation_metadata.parquet", "compound.csv.gz")
    sources = Sources((found,), (), tuple(tmp_path / name for name in join), "jump_lite")
    prepared = prepare(sources, tiny.prepare_config(), cache=tmp_path / "cache")
    screen = prepared.in_memory()
    keys = "Metadata_Source, Metadata_Batch, Metadata_Plate, Metadata_Well"
    assert noted(prepared, f"joined {join[0]} on {keys}: 39 of 40 rows found")
    assert screen.feature_names == tuple(f"openphenom_{j}" for j in range(WIDTH))
    assert len(screen.molecules) == screen.n_perturbations == 4
    assert screen.n_wells == 23
    assert noted(prepared, "16 wells"), "DMSO by its structure"
    assert prepared.archive.rejected["row"].tolist() == [40]


def test_both_forms_and_both_pools(tmp_path):
    x = jump_lite(tmp_path)
    jump_lite(tmp_path, gallery=False)
    gallery = tmp_path / "openphenom-jpegxl_lossy_mq"
    by_median = pd.read_parquet(sites.pool_sites([gallery], tmp_path / "a", pool="median"))
    local = sorted((tmp_path / "local").iterdir())
    pd.testing.assert_frame_equal(
        pd.read_parquet(sites.pool_sites(local, tmp_path / "b", pool="median")), by_median
    )
    by_mean = pd.read_parquet(sites.pool_sites([gallery], tmp_path / "a", pool="mean"))
    np.testing.assert_allclose(
        by_mean.iloc[0, 4:].to_numpy(float), x[0, 0].reshape(-1, WIDTH).mean(axis=0), atol=1e-6
    )


def test_gaps_are_left_out_and_objects_named(tmp_path):
    values = np.arange(12.0).reshape(3, 4)
    values[:, 1] = np.nan
    values[0, 2] = np.nan
    table = long_form(values, "morphem").assign(object="cell")
    both = pd.concat([table, table.assign(object="nuclei", value=table["value"] + 1)])
    both.to_parquet(tmp_path / "s__b__p__A01__1.parquet")
    with np.errstate(all="raise"):
        found = pd.read_parquet(sites.pool_sites([tmp_path], tmp_path / "cache", pool="median"))
    assert list(found)[4:] == [f"{o}_morphem_{j}" for o in ("cell", "nuclei") for j in range(4)]
    np.testing.assert_array_equal(
        found.iloc[0, 4:].to_numpy(float), [4, np.nan, 8, 7, 5, np.nan, 9, 8]
    )


def test_what_was_pooled_stays_and_a_changed_file_is_seen(tmp_path, monkeypatch):
    jump_lite(tmp_path)
    model, cache = tmp_path / "openphenom-jpegxl_lossy_mq", tmp_path / "cache"
    read: list[str] = []
    whole = sites.read_site

    def watched(path):
        read.append(path)
        if len(read) == 100:  # in the second plate
            raise KeyboardInterrupt
        return whole(path)

    monkeypatch.setattr(sites, "read_site", watched)
    with pytest.raises(KeyboardInterrupt):
        sites.pool_sites([model], cache, pool="median")
    first = sites.pool_sites([model], cache, pool="median")
    assert len(read) == 100 + 79, "the first plate was kept"
    assert sites.pool_sites([model], cache, pool="median") == first
    assert len(read) == 179
    path = next(model.rglob("A01-1/embedding.parquet"))
    time.sleep(0.01)
    pd.read_parquet(path).assign(value=1.0).to_parquet(path)
    assert sites.pool_sites([model], cache, pool="median") != first


def bad(folder: pathlib.Path, change) -> str:
    """What is said of a second site whose table was changed."""
    rng = np.random.default_rng(0)
    for s in (1, 2):
        table = long_form(rng.normal(size=(2, 12)))
        (change(table) if s == 2 else table).to_parquet(folder / f"s__b__p__A01__{s}.parquet")
    with pytest.raises(WellsError) as told:
        sites.pool_sites([folder], folder / "cache", pool="median")
    assert "s__b__p__A01__2.parquet" in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda table: table[table["metric"] != "7"],
            r"11 features, where .*A01__1.parquet has 12: it lacks openphenom_7; all sites",
        ),
        (lambda table: table.assign(branch="dino"), "it lacks openphenom_0, openphenom_1"),
        (lambda table: table.iloc[:-1], "'openphenom_9' has 1 values, where the file has 2"),
        (lambda table: pd.concat([table, table]), "there twice; copy it again"),
        (lambda table: table.iloc[:0], "no row: copy it again"),
        (lambda table: table.assign(value="x"), "value is not all numbers"),
        (lambda table: table.assign(branch="", metric=""), "branch and metric are empty"),
        (lambda table: table.drop(columns="metric"), "no column metric; a site has tile, label"),
        (
            lambda table: pd.DataFrame({"tile": [0], "emb_0": [1.0], "emb_1": [2.0]}),
            "this is a wide file, with a column for each feature",
        ),
        (
            lambda table: table.rename(columns={"value": "values"}).assign(values=[[1.0]] * 24),
            "'values' holds lists, as files before v1.0",
        ),
    ],
)
def test_what_no_site_is(tmp_path, change, says):
    assert re.search(says, bad(tmp_path, change))


def test_names_that_tell_no_site(tmp_path):
    with pytest.raises(WellsError, match="no Parquet file in it; give the folder of one model"):
        sites.find_sites([tmp_path])
    long_form(np.zeros((2, 4))).to_parquet(tmp_path / "site_index.parquet")
    with pytest.raises(WellsError, match=r"site_index.parquet: its name tells no site: files are"):
        sites.find_sites([tmp_path])
    (tmp_path / "s__b__p__A01__1.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(WellsError, match="cannot be read as Parquet: copy it again"):
        sites.pool_sites([tmp_path / "s__b__p__A01__1.parquet"], tmp_path / "cache", pool="mean")


def test_the_same_site_of_two_models(tmp_path):
    jump_lite(tmp_path)
    one = tmp_path / "openphenom-jpegxl_lossy_mq"
    one.rename(tmp_path / "dinov2-jpegxl_lossy_mq")
    jump_lite(tmp_path)
    with pytest.raises(WellsError, match=r"dinov2.* and .*openphenom.* are both site source_4__"):
        sites.find_sites([tmp_path / "dinov2-jpegxl_lossy_mq", one])
