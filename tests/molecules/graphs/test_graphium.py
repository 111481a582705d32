"""The codes and encodings are those of graphium's featuriser: golden arrays of 200 molecules."""

import pathlib

import numpy as np
import pytest

from molphenix_jax.molecules.graphs import NODE_COLUMNS, MolecularGraph, featurise_graphs

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "golden" / "graphium_graphs.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def graphs(golden) -> list[MolecularGraph]:
    made, rejected = featurise_graphs(golden["smiles"].tolist())
    assert not len(rejected)
    return [graph for graph in made if graph is not None]


def test_atoms_and_bonds_are_in_graphiums_order(golden, graphs):
    assert [graph.n_nodes for graph in graphs] == golden["n_node"].tolist()
    assert [graph.n_edges for graph in graphs] == golden["n_edge"].tolist()
    for name in ("senders", "receivers"):
        together = np.concatenate([getattr(graph, name) for graph in graphs])
        np.testing.assert_array_equal(together, golden[name])


def test_codes_are_graphiums(golden, graphs):
    nodes = np.concatenate([graph.nodes for graph in graphs])
    np.testing.assert_array_equal(nodes[:, :4], golden["one_hot"])
    numbers = nodes[:, 4:].astype(int) + [column.lowest for column in NODE_COLUMNS[4:]]
    limits = [column.size - 1 + column.lowest for column in NODE_COLUMNS[4:]]
    np.testing.assert_array_equal(numbers, np.minimum(golden["floats"], limits))
    np.testing.assert_array_equal(np.concatenate([g.edges for g in graphs]), golden["edges"])


def test_random_walks_are_graphiums(golden, graphs):
    ours = np.concatenate([graph.rwse for graph in graphs]).astype(np.float32)
    theirs = golden["walks"].astype(np.float32)
    # An atom without bonds beside others: graphium has its walk vanish, alone it stays.
    bonded = np.concatenate([graph.lap_values[:, 1] > 0 for graph in graphs])
    lonely = np.concatenate([np.full(graph.n_nodes, graph.n_nodes == 1) for graph in graphs])
    kept = bonded | lonely
    assert 0 < (~kept).sum() < 0.02 * len(kept)
    np.testing.assert_allclose(ours[kept], theirs[kept], atol=1e-3)


def test_eigenvalues_are_graphiums(golden, graphs):
    ours = np.concatenate([graph.lap_values for graph in graphs]).astype(np.float32)
    np.testing.assert_allclose(ours, golden["values"].astype(np.float32), atol=3e-3)


def test_eigenvectors_are_graphiums(golden, graphs):
    """Up to sign, where the eigenvalue is single: elsewhere any basis is right."""
    starts = np.cumsum([0, *golden["n_node"]])
    compared = 0
    for graph, start in zip(graphs, starts[:-1].tolist(), strict=True):
        if (graph.lap_values != graph.lap_values[0]).any() or graph.n_nodes < 9:
            continue  # several components, or fewer than eight eigenvectors beside the last
        theirs = golden["vectors"][start : start + graph.n_nodes].astype(float)
        vectors, values = graph.lap_vectors.astype(float), graph.lap_values[0].astype(float)
        gaps = np.diff(values)
        for k in range(1, 7):
            if min(gaps[k - 1], gaps[k]) > 0.02:
                assert abs(vectors[:, k] @ theirs[:, k]) > 0.999
                compared += 1
    assert compared > 500
