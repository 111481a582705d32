"""Any number of rows is embedded by a few compiled shapes, to the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.models.mpnn import MoleculeEncoder
from molphenix_jax.molecules.graphs import EDGE_SIZES, NODE_SIZES, featurise_graphs, packing
from molphenix_jax.trained.encoders import graph_embedder
from molphenix_jax.trained.sides import in_chunks, padded_size
from tests.models.mpnn import molecules

ROWS = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)


def counting():
    """A jitted function and the shapes that it was compiled for."""
    shapes = []

    def double(x):
        shapes.append(x.shape)
        return x * 2

    return jax.jit(double), shapes


@pytest.mark.parametrize("n", [1, 63, 64, 65, 300, 4096, 4097, 5000])
def test_rows_come_as_they_are(n):
    double, _ = counting()
    found = in_chunks(lambda x: double(jnp.asarray(x)), ROWS[:n], 4096)
    np.testing.assert_array_equal(found, ROWS[:n] * 2)


def test_a_few_shapes_in_all():
    double, shapes = counting()
    for n in range(1, 5000, 7):
        in_chunks(lambda x: double(jnp.asarray(x)), ROWS[:n], 4096)
    assert sorted({shape[0] for shape in shapes}) == [64, 128, 256, 512, 1024, 2048, 4096]
    assert len(shapes) == 7
    assert padded_size(20, 24) == 24
    assert padded_size(65, 4096) == 128


@pytest.mark.slow
def test_graphs_of_any_number_share_shapes():
    smiles = ["C" * n for n in range(1, 30)] + ["c1ccccc1" + "C" * n for n in range(30)]
    graphs, _ = featurise_graphs(smiles, max_atoms=64)
    config = molecules.config(depth=1, width=8, node_codes=NODE_SIZES, edge_codes=EDGE_SIZES)
    params = jax.jit(MoleculeEncoder(config).init)(
        jax.random.key(0),
        packing.pack(graphs[:2], packing.budgets_for(packing.sizes_of(graphs), batch_size=2)),
    )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params)
    apply = graph_embedder._program(config)
    whole = graph_embedder.GraphEmbedder(config, graphs, batch_size=64)(params, ("graph",))
    before = apply._cache_size()
    for n in (3, 4, 40, 45):
        embedder = graph_embedder.GraphEmbedder(config, graphs[:n], batch_size=64, few_shapes=True)
        np.testing.assert_allclose(embedder(params, ("graph",)), whole[:, :n], atol=1e-5)
    assert apply._cache_size() - before == 2
