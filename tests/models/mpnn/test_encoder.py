"""The encoder: one embedding per molecule, whatever its atoms' order, its batch and its padding."""

import functools

import jax
import numpy as np
import pytest

from molphenix_jax.models.mpnn import SIZES, MoleculeEncoder, layer_names
from tests.models.mpnn.molecules import batch, config, molecule, reordered

# Nearly all time is XLA's: see the fixture.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]

VARIANTS = {
    "plain": {"virtual_node": False},
    "virtual_node": {},
    "attention": {"attention_heads": 2, "attention_max_nodes": 12},
    "graph_norm": {"norm": "graph", "pooling": "mean"},
    "no_positions": {"positional": (), "activation": "relu"},
}
SIZES_ATOMS = (5, 1, 9, 3, 12)


@pytest.fixture(scope="module")
def graphs():
    rng = np.random.default_rng(0)
    return [molecule(n, rng) for n in SIZES_ATOMS]


@functools.cache
def encoder(variant):
    model = MoleculeEncoder(config(**VARIANTS[variant]))
    rng = np.random.default_rng(1)
    example = batch([molecule(4, rng)], nodes=8, edges=16, n_graphs=3)
    params = jax.jit(model.init)(jax.random.key(0), example)
    # Norms and biases too, so that nothing is tested at its neutral value.
    leaves, tree = jax.tree.flatten(params)
    noise = [0.2 * np.random.default_rng(i).normal(size=x.shape) for i, x in enumerate(leaves)]
    params = jax.tree.unflatten(
        tree, [x + e.astype(np.float32) for x, e in zip(leaves, noise, strict=True)]
    )
    return model, params, jax.jit(model.apply)


def embed(variant, graphs, **shape):
    _, params, apply = encoder(variant)
    out = apply(params, batch(graphs, **shape))
    real = np.asarray(out.graph_mask)
    assert real.sum() == len(graphs)
    return {name: np.asarray(value)[real] for name, value in out.layers.items()}


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_molecules_embedding_is_its_own(variant, graphs):
    """Alone, in a batch, in more padding and with its atoms in another order: the same layers."""
    together = embed(variant, graphs, nodes=40, edges=80, n_graphs=8)
    padded = embed(variant, graphs[::-1], nodes=64, edges=96, n_graphs=12)
    rng = np.random.default_rng(7)
    shuffled = embed(variant, [reordered(g, rng) for g in graphs], nodes=40, edges=80, n_graphs=8)
    assert set(together) == set(layer_names(config(**VARIANTS[variant])))
    # Sums over another shape, and a norm over few atoms, cost some of float32's digits.
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)
    for name, value in together.items():
        assert np.ptp(value, axis=0).max() > 0.05  # molecules differ
        same(padded[name][::-1], value)
        same(shuffled[name], value)
        for i, graph in enumerate(graphs):
            alone = embed(variant, [graph], nodes=64, edges=96, n_graphs=12)
            same(alone[name][0], value[i])


def test_padding_gets_no_gradient_and_gives_none(graphs):
    """What stands in the padding's arrays changes neither outputs nor gradients."""
    model, params, _ = encoder("attention")
    clean = batch(graphs, nodes=40, edges=80, n_graphs=8)
    n, e = sum(SIZES_ATOMS), int(sum(g.n_edge[0] for g in graphs))
    dirty_nodes = {k: v.copy() for k, v in clean.nodes.items()}
    dirty_nodes["rwse"][n:] = 3.0
    dirty_nodes["codes"][n:] = 1
    dirty_edges = {"codes": clean.edges["codes"].copy()}
    dirty_edges["codes"][e:] = 2

    def loss(params, graphs):
        out = model.apply(params, graphs)
        return ((out.graphs * out.graph_mask[:, None]) ** 2).sum()

    value = jax.jit(jax.value_and_grad(loss))
    a = value(params, clean)
    b = value(params, clean._replace(nodes=dirty_nodes, edges=dirty_edges))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)


def test_attention_sees_what_message_passing_cannot(graphs):
    """Distance bias: with it, two atoms of one kind at other distances are told apart."""
    model, params, apply = encoder("attention")
    shape = {"nodes": 40, "edges": 80, "n_graphs": 8}
    before = apply(params, batch(graphs, **shape)).graphs
    changed = jax.tree_util.tree_map_with_path(
        lambda path, x: (
            x + 1.0 * np.arange(10)[:, None]
            if jax.tree_util.keystr(path, simple=True, separator="/").endswith("path/bias")
            else x
        ),
        params,
    )
    after = apply(changed, batch(graphs, **shape)).graphs
    assert np.abs(after - before)[4].max() > 1e-3
    assert np.abs(after - before)[1].max() < 1e-6  # a single atom has one distance, 0


def test_training_flips_eigenvector_signs_and_nothing_else(graphs):
    model, params, _ = encoder("plain")
    example = batch(graphs, nodes=40, edges=80, n_graphs=8)
    train = jax.jit(lambda key: model.apply(params, example, train=True, rngs={"dropout": key}))
    outs = [np.asarray(train(jax.random.key(i)).graphs)[:5] for i in range(6)]
    spread = np.std(outs, axis=0).max(axis=1)
    assert spread[4] > 1e-4
    assert spread[1] < 1e-6  # a single atom has no eigenvector
    without = MoleculeEncoder(config(virtual_node=False, positional=("rwse",)))
    other = jax.jit(without.init)(jax.random.key(0), example)
    train = jax.jit(lambda key: without.apply(other, example, train=True, rngs={"dropout": key}))
    a, b = (train(jax.random.key(i)).graphs for i in (0, 1))
    np.testing.assert_array_equal(a, b)


@pytest.mark.long
def test_remat_changes_memory_not_numbers(graphs):
    _, params, _ = encoder("virtual_node")
    example = batch(graphs, nodes=40, edges=80, n_graphs=8)

    def gradient(remat):
        model = MoleculeEncoder(config(remat=remat, dropout=0.2))

        def loss(params):
            out = model.apply(params, example, train=True, rngs={"dropout": jax.random.key(3)})
            return (out.graphs[:5] ** 2).sum()

        return jax.jit(jax.grad(loss))(params)

    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        gradient(remat=True),
        gradient(remat=False),
    )


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in SIZES if name != "tiny"])
def test_named_sizes_have_the_parameters_they_say(name):
    rng = np.random.default_rng(0)
    example = batch([molecule(4, rng)], nodes=8, edges=16, n_graphs=3)
    # Vocabulary of docs/method.md §10, about; it makes no difference to the size.
    model = MoleculeEncoder(config(**SIZES[name]))
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    wanted = float(name[:-1]) * {"m": 1e6, "b": 1e9}[name[-1]]
    assert 0.8 * wanted < count < 1.3 * wanted
