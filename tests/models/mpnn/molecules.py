"""Random molecules for the tests of the encoder: graphs as the featuriser lays them out."""

import jraph
import numpy as np

from molphenix_jax.models.mpnn import GraphsTuple, MPNNConfig

NODE_CODES = (10, 4, 6)
EDGE_CODES = (5, 3)


def config(**changes) -> MPNNConfig:
    """A tiny encoder without dropout."""
    fields = {
        "node_codes": NODE_CODES,
        "edge_codes": EDGE_CODES,
        "width": 16,
        "depth": 2,
        "out_width": 8,
        "dropout": 0.0,
        "edge_dropout": 0.0,
    }
    return MPNNConfig(**{**fields, **changes})


def molecule(n_atoms: int, rng: np.random.Generator) -> GraphsTuple:
    """A random tree with one ring closed where there is room for one."""
    bonds = [(int(rng.integers(0, i)), i) for i in range(1, n_atoms)]
    if n_atoms > 4 and (0, n_atoms - 1) not in bonds:
        bonds.append((0, n_atoms - 1))
    adjacency = np.zeros((n_atoms, n_atoms))
    for a, b in bonds:
        adjacency[a, b] = adjacency[b, a] = 1
    degree = adjacency.sum(1)
    walk = adjacency / np.maximum(degree, 1)[:, None]
    steps, power = [], np.eye(n_atoms)
    for _ in range(16):
        power = power @ walk
        steps.append(np.diag(power))
    values, vectors = np.linalg.eigh(np.diag(degree) - adjacency)
    values, vectors = values[1:9], vectors[:, 1:9]
    missing = 8 - len(values)
    senders = np.array([x for a, b in bonds for x in (a, b)], np.int32)
    receivers = np.array([x for a, b in bonds for x in (b, a)], np.int32)
    bond_codes = np.stack([rng.integers(0, k, len(bonds)) for k in EDGE_CODES], 1)
    return GraphsTuple(
        nodes={
            "codes": np.stack([rng.integers(0, k, n_atoms) for k in NODE_CODES], 1).astype(
                np.uint8
            ),
            "rwse": np.stack(steps, 1).astype(np.float32),
            "lap_vectors": np.pad(vectors, ((0, 0), (0, missing))).astype(np.float32),
            "lap_values": np.tile(np.pad(values, (0, missing)), (n_atoms, 1)).astype(np.float32),
        },
        edges={"codes": np.repeat(bond_codes, 2, 0).astype(np.uint8)},
        senders=senders,
        receivers=receivers,
        globals=None,
        n_node=np.array([n_atoms], np.int32),
        n_edge=np.array([len(senders)], np.int32),
    )


def reordered(graph: GraphsTuple, rng: np.random.Generator) -> GraphsTuple:
    """The same molecule with its atoms and bonds in another order, eigenvector signs flipped."""
    n, e = int(graph.n_node[0]), int(graph.n_edge[0])
    order, bonds = rng.permutation(n), rng.permutation(e)
    place = np.argsort(order).astype(np.int32)
    nodes = {name: value[order] for name, value in graph.nodes.items()}
    nodes["lap_vectors"] = nodes["lap_vectors"] * rng.choice([-1.0, 1.0], (1, 8)).astype(np.float32)
    return graph._replace(
        nodes=nodes,
        edges={name: value[bonds] for name, value in graph.edges.items()},
        senders=place[graph.senders][bonds],
        receivers=place[graph.receivers][bonds],
    )


def batch(graphs: list[GraphsTuple], *, nodes: int, edges: int, n_graphs: int) -> GraphsTuple:
    """Several molecules padded to a shape."""
    return jraph.pad_with_graphs(jraph.batch_np(graphs), nodes, edges, n_graphs)
