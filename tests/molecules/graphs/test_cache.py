import json
import pathlib
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from molphenix_jax.molecules import shipped_smiles
from molphenix_jax.molecules.graphs import cache as graph_cache
from molphenix_jax.molecules.graphs import featurise_graphs, prepare_graphs
from molphenix_jax.molecules.graphs.cache import GraphCacheError
from molphenix_jax.molecules.graphs.record import encode

SMILES = ["CCO", "c1ccccc1", "", "CCO", "C1CC", "CC(=O)N", "C" * 200]


def folder_of(cache: pathlib.Path) -> pathlib.Path:
    (folder,) = cache.iterdir()
    return folder


def test_the_cache_gives_what_the_featuriser_does(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_cache, "_READ_AT_ONCE", 3)
    store = prepare_graphs(SMILES, cache=tmp_path, shard_size=2)
    graphs, rejected = featurise_graphs(SMILES)
    for read in (store.load(), [store[i] for i in range(len(store))], store.__getitems__(range(7))):
        for own, other in zip(read, graphs, strict=True):
            assert (own is None) == (other is None)
            if own is not None and other is not None:
                assert encode(own) == encode(other)
    assert store.rejected.equals(rejected)
    assert rejected["row"].tolist() == [2, 4, 6]
    loaded = store.load()
    assert loaded[0] is loaded[3]


def test_it_travels_to_other_processes(tmp_path):
    store = prepare_graphs(SMILES, cache=tmp_path)
    assert store[1] is not None
    other = pickle.loads(pickle.dumps(store))
    assert other[1].n_nodes == 6


def test_nothing_is_computed_twice(tmp_path, monkeypatch):
    first = prepare_graphs(SMILES, cache=tmp_path)
    monkeypatch.setattr(graph_cache, "featurise_records", None)
    again = prepare_graphs(list(SMILES), cache=tmp_path)
    assert again.folder == first.folder
    assert again[0].n_nodes == 3


def test_other_molecules_options_or_versions_have_folders_of_their_own(tmp_path, monkeypatch):
    folders = {prepare_graphs(SMILES, cache=tmp_path).folder}
    folders.add(prepare_graphs(SMILES[:2], cache=tmp_path).folder)
    folders.add(prepare_graphs(["CCOc1ccccc1"], cache=tmp_path).folder)
    folders.add(prepare_graphs(SMILES, cache=tmp_path, max_atoms=5).folder)
    monkeypatch.setattr(graph_cache, "graphs_version", lambda _: "2")
    folders.add(prepare_graphs(SMILES, cache=tmp_path).folder)
    assert len(folders) == 5


def test_graphs_of_another_featuriser_are_refused(tmp_path):
    store = prepare_graphs(SMILES, cache=tmp_path)
    path = store.folder / "header.json"
    header = json.loads(path.read_text())
    assert header["featuriser"] == graph_cache.graphs_version("mpnn++")
    path.write_text(json.dumps({**header, "featuriser": "0+rdkit2020"}))
    with pytest.raises(GraphCacheError, match="0\\+rdkit2020.*delete that folder"):
        prepare_graphs(SMILES, cache=tmp_path)
    with pytest.raises(GraphCacheError, match="0\\+rdkit2020"):
        store.load()


@pytest.mark.parametrize("damage", ["header", "shard", "missing records"])
def test_damage_is_told(tmp_path, damage):
    prepare_graphs(SMILES, cache=tmp_path, shard_size=4)
    folder = folder_of(tmp_path)
    first, second = sorted(folder.glob("*.arrayrecord"))
    if damage == "header":
        (folder / "header.json").write_text("{")
    elif damage == "shard":
        first.write_bytes(b"no record")
    else:
        first.write_bytes(second.read_bytes())
    with pytest.raises(GraphCacheError, match="damaged.*delete that folder"):
        prepare_graphs(SMILES, cache=tmp_path, shard_size=4)


def test_no_molecules_make_no_graphs(tmp_path):
    store = prepare_graphs([], cache=tmp_path)
    assert len(store) == 0
    assert store.load() == []


def test_progress_is_told(tmp_path):
    told = []
    prepare_graphs(
        SMILES,
        cache=tmp_path,
        shard_size=4,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 6), (6, 6)]


PROGRAM = """
import sys
from molphenix_jax.molecules import shipped_smiles
from molphenix_jax.molecules.graphs import prepare_graphs
prepare_graphs(shipped_smiles()[:1500], cache=sys.argv[1], shard_size=100)
"""


@pytest.mark.slow
def test_a_kill_costs_no_finished_shard(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*/graphs-*.arrayrecord"))) < 3:
            assert process.poll() is None, "finished before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/graphs-*.arrayrecord")}
    smiles = shipped_smiles()[:1500]
    store = prepare_graphs(smiles, cache=tmp_path, shard_size=100)
    everything = list(store.folder.glob("*.arrayrecord"))
    assert 3 <= len(shards) < len(everything)
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    graphs, rejected = featurise_graphs(smiles)
    assert store.rejected.equals(rejected)
    sizes = [0 if graph is None else graph.n_nodes for graph in store.load()]
    assert sizes == [0 if graph is None else graph.n_nodes for graph in graphs]
    np.testing.assert_array_equal(store[700].rwse, graphs[700].rwse)
