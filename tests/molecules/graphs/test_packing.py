import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from molphenix_jax.molecules import shipped_smiles
from molphenix_jax.molecules.graphs import MolecularGraph, featurise_graphs
from molphenix_jax.molecules.graphs.packing import (
    Budget,
    budgets_for,
    choose_budget,
    pack,
    pack_all,
    pack_devices,
    sizes_of,
)


@pytest.fixture(scope="module")
def graphs() -> list[MolecularGraph]:
    made, _ = featurise_graphs(["C", "[Na+].[Cl-]", *shipped_smiles()[:300]])
    return [graph for graph in made if graph is not None]


def as_jraph(graph: MolecularGraph) -> jraph.GraphsTuple:
    names = ("rwse", "lap_vectors", "lap_values")
    return jraph.GraphsTuple(
        nodes={
            "codes": graph.nodes,
            **{name: getattr(graph, name).astype(np.float32) for name in names},
        },
        edges={"codes": graph.edges},
        senders=graph.senders.astype(np.int32),
        receivers=graph.receivers.astype(np.int32),
        n_node=np.array([graph.n_nodes], np.int32),
        n_edge=np.array([graph.n_edges], np.int32),
        globals={},
    )


@jax.jit
def network(batch: jraph.GraphsTuple) -> jax.Array:
    """A fixed message passing network: one number for each molecule."""
    rng = np.random.default_rng(0)
    batch = jax.tree.map(jnp.asarray, batch)
    assert batch.senders is not None
    features = [*batch.nodes.values()]
    h = jnp.concatenate([each.astype(jnp.float32) for each in features], axis=1)
    bonds = batch.edges["codes"].astype(jnp.float32)
    n, g = len(h), len(batch.n_node)
    for _ in range(3):
        sent = jnp.concatenate([h[batch.senders], bonds], axis=1)
        message = jnp.tanh(sent @ rng.normal(size=(sent.shape[1], 8)) / 30 + 0.1)
        h = jnp.concatenate([h, jraph.segment_sum(message, batch.receivers, n) + 0.1], axis=1)
    graph = jnp.repeat(jnp.arange(g), batch.n_node, total_repeat_length=n)
    pooled = jraph.segment_sum(jnp.tanh(h @ rng.normal(size=(h.shape[1], 4)) / 30), graph, g)
    return pooled.sum(axis=1)


def test_a_batch_is_what_jraph_makes(graphs):
    own, budget = graphs[:20], Budget(n_nodes=800, n_edges=1700, n_graphs=24)
    expected = jraph.pad_with_graphs(jraph.batch_np([as_jraph(g) for g in own]), *budget)
    jax.tree.map(np.testing.assert_array_equal, pack(own, [budget]), expected)
    assert np.asarray(jraph.get_graph_padding_mask(pack(own, [budget]))).sum() == 20


@pytest.mark.slow
def test_padding_and_neighbours_change_no_output(graphs):
    own = graphs[:12]
    tight = Budget(*(sizes_of(own).sum(axis=0) + [1, 0]).tolist(), n_graphs=13)
    expected = network(pack(own, [tight]))[:12]
    wide = network(pack(own, [Budget(n_nodes=900, n_edges=2000, n_graphs=40)]))[:12]
    np.testing.assert_allclose(wide, expected, rtol=1e-5)
    alone = [network(pack([graph], [Budget(160, 320, 2)]))[0] for graph in own]
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
    # The network does tell molecules apart.
    assert len(np.unique(np.round(expected, 4))) == len(own)


def test_indices_lie_within_the_batch(graphs):
    batch = pack(graphs[:50], budgets_for(sizes_of(graphs), batch_size=50))
    for ends in (batch.senders, batch.receivers):
        assert ends is not None
        assert 0 <= ends.min() <= ends.max() < len(jax.tree.leaves(batch.nodes)[0])


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
def test_any_batch_of_a_data_set_fits_and_few_shapes_do(graphs, batch_size):
    sizes = sizes_of(graphs)
    budgets = budgets_for(sizes, batch_size=batch_size)
    assert len(budgets) <= 3
    n = min(batch_size, len(graphs))
    largest = np.argsort(sizes[:, 0])[-n:]
    assert choose_budget(sizes[largest], budgets) in budgets
    rng = np.random.default_rng(0)
    chosen = [choose_budget(sizes[rng.permutation(len(sizes))[:n]], budgets) for _ in range(200)]
    assert np.mean([budget in budgets[:2] for budget in chosen]) > 0.85
    if batch_size == 64:  # few of the atoms that are computed on are padding
        assert np.mean([budget.n_nodes for budget in chosen]) < 1.1 * n * sizes[:, 0].mean()


def test_an_epoch_compiles_at_most_four_times(graphs):
    """By count of jit's traces, over batches drawn at random and the short last one."""
    traces = []

    @jax.jit
    def atoms(batch: jraph.GraphsTuple) -> jax.Array:
        traces.append(jax.tree.map(jnp.shape, batch))
        return batch.n_node.sum()

    budgets = budgets_for(sizes_of(graphs), batch_size=16)
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(graphs))
        for start in range(0, len(order), 16):
            batch = pack([graphs[row] for row in order[start : start + 16]], budgets)
            assert atoms(batch) == jax.tree.leaves(batch.nodes)[0].shape[0]
    by_size = np.argsort(sizes_of(graphs)[:, 0])
    for rows in (by_size[:16], by_size[-16:]):
        atoms(pack([graphs[row] for row in rows], budgets))
    assert 2 <= len(traces) <= 4


def test_devices_share_one_shape_and_count_for_themselves(graphs):
    own = graphs[:30]
    budgets = budgets_for(sizes_of(graphs), batch_size=8)
    labels = np.arange(30, dtype=np.float32)
    stacked = pack_devices(own, budgets, n_devices=4, extra={"label": labels})
    assert stacked.n_node.shape == (4, 9)
    shape = Budget(stacked.nodes["codes"].shape[1], 10**4, 9)
    for device, rows in enumerate([slice(0, 8), slice(8, 16), slice(16, 24), slice(24, 30)]):
        single = jax.tree.map(lambda x, d=device: x[d], stacked)
        n = len(own[rows])
        expected = network(pack(own[rows], [shape]))[:n]
        np.testing.assert_allclose(network(single)[:n], expected, rtol=1e-5)
        np.testing.assert_array_equal(single.globals["label"][:n], labels[rows])


def test_devices_without_molecules_are_padding(graphs):
    budgets = budgets_for(sizes_of(graphs), batch_size=4)
    stacked = pack_devices(graphs[:1], budgets, n_devices=2)
    masks = [
        jraph.get_graph_padding_mask(jax.tree.map(lambda x, d=d: x[d], stacked)) for d in (0, 1)
    ]
    assert np.asarray(masks).sum() == 1


def test_packing_all_takes_each_molecule_once(graphs):
    budget = Budget(n_nodes=512, n_edges=1100, n_graphs=33)
    rows = np.concatenate([rows for rows, _ in pack_all(graphs, budget)])
    assert sorted(rows.tolist()) == list(range(len(graphs)))


def test_what_does_not_fit_is_refused(graphs):
    with pytest.raises(ValueError, match="fit into none of"):
        pack(graphs[:3], [Budget(8, 8, 8)])
    with pytest.raises(ValueError, match="fit into none of"):
        list(pack_all(graphs, Budget(8, 8, 8)))
    with pytest.raises(ValueError, match="label has 2 rows for 3"):
        pack(graphs[:3], [Budget(500, 900, 8)], extra={"label": np.zeros(2)})
    with pytest.raises(ValueError, match="need molecules"):
        budgets_for(sizes_of([]), batch_size=4)
    with pytest.raises(ValueError, match="n_devices"):
        pack_devices(graphs[:3], [Budget(500, 900, 8)], n_devices=0)
