"""The search on devices finds what the host finds."""

import numpy as np
import pytest

from molphenix_jax.retrieval import open_index
from molphenix_jax.retrieval.index import devices
from molphenix_jax.runtime import mesh as meshes
from tests.retrieval.index import saving

Z, QUERIES = saving.vectors(300, 2, 16), saving.vectors(5, 16, seed=1)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    keys = np.arange(300)
    keys[200:210] = np.arange(10)  # again
    saving.write(folder, Z, shards=2, chunk=70, keys=keys)
    return open_index(folder)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [1, 4])
@pytest.mark.parametrize("best_dose", [True, False])
@pytest.mark.parametrize("top", [3, 120])
def test_devices(index, monkeypatch, n_devices, best_dose, top):
    monkeypatch.setattr(devices, "ROWS", 40)
    mesh = meshes.make_mesh(n_devices)
    found = index.search(QUERIES, top=top, best_dose=best_dose, mesh=mesh)
    host = index.search(QUERIES, top=top, best_dose=best_dose)
    np.testing.assert_array_equal(found.molecule, host.molecule)
    np.testing.assert_array_equal(found.dose, host.dose)
    np.testing.assert_allclose(found.scores, host.scores, atol=1e-6)


def test_equal_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "ROWS", 16)
    saving.write(tmp_path, np.full((100, 2, 16), 0.25, np.float32))
    index = open_index(tmp_path)
    query = np.full((1, 16), 0.25, np.float32)
    for best_dose in (True, False):
        found = index.search(query, top=30, best_dose=best_dose, mesh=meshes.make_mesh(4))
        host = index.search(query, top=30, best_dose=best_dose)
        np.testing.assert_array_equal(found.molecule, host.molecule)
        np.testing.assert_array_equal(found.dose, host.dose)


def test_export_for_usearch(index, tmp_path):
    usearch = pytest.importorskip("usearch.index")
    index.export_usearch(tmp_path / "x.usearch")
    read = usearch.Index.restore(str(tmp_path / "x.usearch"))
    assert len(read) == len(index) * 2
    found = read.search(QUERIES, 7, exact=True)
    host = index.search(QUERIES, top=7, best_dose=False)
    np.testing.assert_array_equal(found.keys, host.molecule * 2 + host.dose)
    np.testing.assert_allclose(1 - found.distances, host.scores, atol=1e-5)


def test_export_for_faiss(index, tmp_path):
    faiss = pytest.importorskip("faiss")
    assert index.export_faiss(tmp_path / "x.faiss").startswith("IVF")
    index.export_faiss(tmp_path / "flat.faiss", factory="Flat")
    read = faiss.read_index(str(tmp_path / "flat.faiss"))
    scores, ids = read.search(QUERIES, 7)
    host = index.search(QUERIES, top=7, best_dose=False)
    np.testing.assert_array_equal(ids, host.molecule * 2 + host.dose)
    np.testing.assert_allclose(scores, host.scores, atol=1e-6)
