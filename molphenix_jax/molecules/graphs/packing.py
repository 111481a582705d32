"""Graphs to batches of few static shapes; the one file of this room that imports jraph (and JAX).

A batch is a `jraph.GraphsTuple` as `jraph.pad_with_graphs` makes it: the g molecules, then padding
graphs, the first of which owns all padding atoms and bonds. Its arrays are NumPy's:

    nodes     {"codes": uint8 [N, 9], "rwse": float32 [N, 16],
               "lap_vectors": float32 [N, 8], "lap_values": float32 [N, 8]}
    edges     {"codes": uint8 [E, 3]}
    senders, receivers    int32 [E], rows of `nodes`; padding bonds run within padding atoms
    n_node, n_edge        int32 [G]
    globals   whatever was given for each molecule, [G, ...], zeros for padding graphs

with (N, E, G) = (n_nodes, n_edges, n_graphs) of the `Budget`. Masks are those of
`jraph.get_node_padding_mask`, `get_edge_padding_mask` and `get_graph_padding_mask`. `pack_devices`
gives every array a leading axis of devices, and indices count within a device.

JAX compiles once for each shape. `budgets_for` makes three for a data set: two that nearly all
batches fit into, and one that any batch does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jraph
import numpy as np
from jaxtyping import Int, Shaped

from molphenix_jax.molecules.graphs.record import MolecularGraph
from molphenix_jax.molecules.graphs.vocabulary import (
    EDGE_COLUMNS,
    N_EIGENVECTORS,
    NODE_COLUMNS,
    RANDOM_WALK_STEPS,
)

# Standard deviations of a batch's size above its mean: were sizes normal, about one batch in 3
# would exceed the first, one in 45 the second. At 64 molecules that pads 6% on average.
_MARGINS = (0.5, 2.0)
_ROUND_TO = 32
# Width of each array, None for one number a row.
_WIDTHS = {
    "nodes": len(NODE_COLUMNS),
    "rwse": RANDOM_WALK_STEPS,
    "lap_vectors": N_EIGENVECTORS,
    "lap_values": N_EIGENVECTORS,
    "edges": len(EDGE_COLUMNS),
    "senders": None,
    "receivers": None,
}


class Budget(NamedTuple):
    """A static shape, padding included: at least one graph and one atom of it are padding.

    Attributes:
        n_nodes: Atoms.
        n_edges: Directed bonds.
        n_graphs: Molecules.
    """

    n_nodes: int
    n_edges: int
    n_graphs: int

    def fits(self, n_nodes: int, n_edges: int, n_graphs: int) -> bool:
        """Whether so much can be packed into it."""
        return n_nodes < self.n_nodes and n_edges <= self.n_edges and n_graphs < self.n_graphs


def sizes_of(graphs: Sequence[MolecularGraph]) -> Int[np.ndarray, "m 2"]:
    """Numbers of atoms and of directed bonds of each graph."""
    return np.array([(g.n_nodes, g.n_edges) for g in graphs], np.int64).reshape(-1, 2)


def budgets_for(sizes: Int[np.ndarray, "m 2"], *, batch_size: int) -> tuple[Budget, ...]:
    """Shapes for batches of at most `batch_size` different molecules drawn from a data set.

    Args:
        sizes: Numbers of atoms and of directed bonds of all m molecules, as `sizes_of` gives them.
        batch_size: Molecules in a batch, of one device.

    Returns:
        One to three budgets, smallest first. The last fits the largest molecules together.

    Raises:
        ValueError: There is no molecule, or the batch size is not positive.
    """
    if len(sizes) == 0 or batch_size < 1:
        raise ValueError(
            f"budgets need molecules and a positive batch size, have {len(sizes)}, {batch_size}"
        )
    largest = np.sort(sizes, axis=0)[-batch_size:].sum(axis=0)
    mean = batch_size * sizes.mean(axis=0)
    deviation = np.sqrt(batch_size) * sizes.std(axis=0)
    levels = [np.minimum(mean + margin * deviation, largest) for margin in _MARGINS]
    shapes = [(_round(nodes + 1), _round(edges), batch_size + 1) for nodes, edges in levels]
    shapes.append((_round(largest[0] + 1), _round(largest[1]), batch_size + 1))
    return tuple(Budget(*shape) for shape in dict.fromkeys(shapes))


def _round(number: float) -> int:
    return max(int(np.ceil(number / _ROUND_TO)), 1) * _ROUND_TO


def choose_budget(sizes: Int[np.ndarray, "m 2"], budgets: Sequence[Budget]) -> Budget:
    """The first budget that molecules of these sizes fit into together.

    Raises:
        ValueError: None does.
    """
    n_nodes, n_edges = (int(total) for total in sizes.sum(axis=0))
    for budget in budgets:
        if budget.fits(n_nodes, n_edges, len(sizes)):
            return budget
    raise ValueError(
        f"{len(sizes)} molecules of {n_nodes} atoms and {n_edges} directed bonds fit into none of "
        f"{', '.join(str(tuple(budget)) for budget in budgets)}; make budgets_for the data set "
        "that they come from"
    )


def pack(
    graphs: Sequence[MolecularGraph],
    budgets: Sequence[Budget],
    *,
    extra: Mapping[str, Shaped[np.ndarray, "g ..."]] | None = None,
) -> jraph.GraphsTuple:
    """One padded batch, molecules in the order given, in the first budget that they fit into.

    Args:
        graphs: g molecules; none at all give a batch of padding.
        budgets: Smallest first, as `budgets_for` makes them.
        extra: Arrays with a row for each molecule; they become `globals`.

    Raises:
        ValueError: The molecules fit into no budget, or `extra` has not one row for each.
    """
    sizes = sizes_of(graphs)
    return _fill(graphs, sizes, choose_budget(sizes, budgets), extra or {})


def pack_devices(
    graphs: Sequence[MolecularGraph],
    budgets: Sequence[Budget],
    *,
    n_devices: int,
    extra: Mapping[str, Shaped[np.ndarray, "g ..."]] | None = None,
) -> jraph.GraphsTuple:
    """A padded batch for each device, [n_devices, ...], all of one shape.

    Molecules go to devices in order, ceil(g / n_devices) to each; the last may get fewer or none.

    Args:
        graphs: g molecules.
        budgets: For the share of one device, smallest first.
        n_devices: Devices.
        extra: As for `pack`.

    Raises:
        ValueError: As `pack`, or `n_devices` is not positive.
    """
    if n_devices < 1:
        raise ValueError(f"n_devices is positive, not {n_devices}")
    share = -(-len(graphs) // n_devices)
    parts = [slice(share * i, share * (i + 1)) for i in range(n_devices)]
    return pack_parts(
        [graphs[part] for part in parts],
        budgets,
        extra=[{name: array[part] for name, array in (extra or {}).items()} for part in parts],
    )


def pack_parts(
    parts: Sequence[Sequence[MolecularGraph]],
    budgets: Sequence[Budget],
    *,
    extra: Sequence[Mapping[str, Shaped[np.ndarray, "_ ..."]]] = (),
) -> jraph.GraphsTuple:
    """A padded batch for each part, [parts, ...], all of one shape.

    Args:
        parts: Molecules of each; a part may have none.
        budgets: For a part, smallest first.
        extra: As for `pack`, for each part.

    Raises:
        ValueError: As `pack`.
    """
    sizes = [sizes_of(part) for part in parts]
    budget = budgets[max(budgets.index(choose_budget(each, budgets)) for each in sizes)]
    batches = [
        _fill(part, own, budget, more)
        for part, own, more in zip(parts, sizes, extra or [{}] * len(parts), strict=True)
    ]
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)


def pack_all(
    graphs: Sequence[MolecularGraph], budget: Budget
) -> Iterator[tuple[Int[np.ndarray, " g"], jraph.GraphsTuple]]:
    """Packs many molecules into batches of one shape, each as full as their order allows.

    Molecules are taken by size, so that a batch pads little: for embedding, where order is free.

    Yields:
        The rows of `graphs` that a batch holds, in its order, and the batch.

    Raises:
        ValueError: One molecule alone exceeds the budget.
    """
    sizes = sizes_of(graphs)
    order = np.argsort(-sizes[:, 0], kind="stable")
    start = 0
    while start < len(order):
        totals = np.cumsum(sizes[order[start : start + budget.n_graphs - 1]], axis=0)
        fits = (totals[:, 0] < budget.n_nodes) & (totals[:, 1] <= budget.n_edges)
        rows = order[start : start + max(int(fits.sum()), 1)]
        yield rows, pack([graphs[row] for row in rows], [budget])
        start += len(rows)


def _fill(
    graphs: Sequence[MolecularGraph],
    sizes: Int[np.ndarray, "g 2"],
    budget: Budget,
    extra: Mapping[str, np.ndarray],
) -> jraph.GraphsTuple:
    n_graphs = len(graphs)
    n_nodes, n_edges = (int(total) for total in sizes.sum(axis=0))

    def filled(name: str, rows: int, dtype: type[np.generic]) -> np.ndarray:
        parts = [getattr(graph, name) for graph in graphs]
        width = _WIDTHS[name]
        array = np.zeros((rows, width) if width else rows, dtype)
        if parts:
            np.concatenate(parts, out=array[: sum(map(len, parts))], casting="same_kind")
        return array

    counts: Any = np.zeros((budget.n_graphs, 2), np.int32)
    counts[:n_graphs] = sizes
    counts[n_graphs] = budget.n_nodes - n_nodes, budget.n_edges - n_edges
    starts = np.repeat(np.cumsum(sizes[:, 0]) - sizes[:, 0], sizes[:, 1])
    ends = []
    for name in ("senders", "receivers"):
        index = filled(name, budget.n_edges, np.int32)
        index[:n_edges] += starts.astype(np.int32)
        index[n_edges:] = n_nodes
        ends.append(index)
    for name, array in extra.items():
        if len(array) != n_graphs:
            raise ValueError(f"{name} has {len(array)} rows for {n_graphs} molecules")
    n_padding = budget.n_graphs - n_graphs
    return jraph.GraphsTuple(
        nodes={
            "codes": filled("nodes", budget.n_nodes, np.uint8),
            **{
                name: filled(name, budget.n_nodes, np.float32)
                for name in ("rwse", "lap_vectors", "lap_values")
            },
        },
        edges={"codes": filled("edges", budget.n_edges, np.uint8)},
        senders=ends[0],
        receivers=ends[1],
        n_node=counts[:, 0],
        n_edge=counts[:, 1],
        globals={
            name: np.concatenate([array, np.zeros((n_padding, *array.shape[1:]), array.dtype)])
            for name, array in extra.items()
        },
    )
