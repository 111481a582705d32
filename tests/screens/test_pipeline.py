"""The stages: the same screen through Beam, in parts and at once; nothing left behind."""

import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from molphenix_jax.molecules import standardise
from molphenix_jax.phenomics import fit_correction, replicate_consistency
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.preparing import correct, shards
from molphenix_jax.tables import rows
from molphenix_jax.tables.reading import files as tables
from molphenix_jax.wells.table import read_wells
from tests import tiny

ONE_PROCESS = ("--runner=DirectRunner",)


@pytest.fixture(scope="module")
def path(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("wells") / "mine.parquet"
    table = pa.Table.from_pandas(tiny.wells(cache), preserve_index=False)
    pq.write_table(table, path, row_group_size=50)
    return path


@pytest.fixture
def small_parts(monkeypatch):
    """Every stage has several items, every pass over rows several chunks."""
    monkeypatch.setattr(tables, "PART_ROWS", 64)
    monkeypatch.setattr(correct, "ITEM_ROWS", 60)
    monkeypatch.setattr(shards, "SHARD_VALUES", 40 * 32)
    monkeypatch.setattr("molphenix_jax.screens.preparing.pipeline.SHARD_MOLECULES", 17)
    monkeypatch.setattr(shards, "SHARD_MOLECULES", 17)
    monkeypatch.setattr(rows, "CHUNK_VALUES", 20 * 32)


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["tvn", "pca_cs"])
def test_the_screen_is_what_the_functions_give_in_memory(path, tmp_path, small_parts, correction):
    config = tiny.prepare_config(correction=correction)
    screen = prepare(path, config, cache=tmp_path, beam_options=ONE_PROCESS).in_memory()
    wells = read_wells(path, check_smiles=None)
    x, table = wells.embedding[:], wells.table
    treated = ~table["is_control"].to_numpy()
    group = table[wells.group_by].to_numpy(str)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK_VALUES", 1 << 22)
        fitted = fit_correction(x, group, ~treated, method=correction, clip=10.0)
    np.testing.assert_allclose(screen.archive.correction.center, fitted.center, rtol=1e-9)
    np.testing.assert_allclose(screen.archive.correction.scale, fitted.scale, rtol=1e-9)
    corrected = fitted.apply(x[treated], group[treated])
    key = pd.DataFrame(
        {
            "key": standardise(table["smiles"][treated].tolist())["inchikey"].to_numpy(),
            "dose": table["concentration_um"][treated].to_numpy(),
        }
    )
    key["molecule"] = pd.factorize(key["key"])[0]
    order = np.lexsort((key["dose"], key["molecule"]))
    np.testing.assert_allclose(screen.replicates, corrected[order], rtol=1e-4, atol=2e-5)
    perturbation = key.groupby(["molecule", "dose"]).ngroup().to_numpy()[order]
    expected = replicate_consistency(screen.replicates, perturbation, n_null=200, seed=0)
    np.testing.assert_array_equal(screen.p_value, expected.p_value.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("beam_options", [(), ONE_PROCESS], ids=["here", "beam"])
def test_parts_and_beam_make_no_difference(path, tmp_path, monkeypatch, beam_options):
    if not beam_options:  # Beam is an extra
        monkeypatch.setitem(sys.modules, "apache_beam", None)
    whole = prepare(path, tiny.prepare_config(), cache=tmp_path / "a").in_memory()
    monkeypatch.setattr(tables, "PART_ROWS", 64)
    monkeypatch.setattr(correct, "ITEM_ROWS", 60)
    monkeypatch.setattr(shards, "SHARD_VALUES", 40 * 32)
    prepared = prepare(path, tiny.prepare_config(), cache=tmp_path / "b", beam_options=beam_options)
    parts = prepared.in_memory()
    folder = prepared.folder / "perturbations" / "1.0.0"
    assert len(list(folder.glob("*.array_record*"))) > 3
    np.testing.assert_array_equal(parts.offsets, whole.offsets)
    np.testing.assert_allclose(parts.replicates, whole.replicates, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts.p_value, whole.p_value)
    pd.testing.assert_frame_equal(parts.archive.wells, whole.archive.wells)
    np.testing.assert_array_equal(parts.blocks["maccs"].packed, whole.blocks["maccs"].packed)
    assert parts.notes == whole.notes


def test_an_error_leaves_neither_screen_nor_work(path, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("molphenix_jax.screens.preparing.pipeline.write_screen", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(path, tiny.prepare_config(), cache=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_each_smiles_is_standardised_once(path, tmp_path, monkeypatch):
    asked: list[str] = []

    def counting(smiles):
        asked.extend(smiles)
        return standardise(smiles)

    monkeypatch.setattr("molphenix_jax.screens.preparing.grouping.standardise", counting)
    prepare(path, tiny.prepare_config(), cache=tmp_path)
    assert len(asked) == len(set(asked)) == pd.read_parquet(path)["smiles"].nunique()
