"""One molecule as a graph of compact arrays, and the bytes that it is stored and sent as."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float16, Int16, UInt8

from molphenix_jax.molecules.graphs.vocabulary import (
    EDGE_COLUMNS,
    N_EIGENVECTORS,
    NODE_COLUMNS,
    RANDOM_WALK_STEPS,
)


@dataclasses.dataclass(frozen=True, slots=True)
class MolecularGraph:
    """A molecule of n atoms and e directed bonds (two for each bond, next to one another).

    Atoms are in the order of the SMILES, hydrogens are not atoms unless the SMILES insists on them.

    Attributes:
        nodes: Codes of each atom, columns as in `NODE_COLUMNS`.
        edges: Codes of each bond, columns as in `EDGE_COLUMNS`; rows 2k and 2k + 1 are equal.
        senders: Atom that the directed bond leaves; `senders[2k] == receivers[2k + 1]`.
        receivers: Atom that it reaches.
        rwse: Probability that a random walk is back at its atom after 1 to k steps. An atom
            without bonds is always back (for MiniMol: if it is the only one, else never).
        lap_vectors: Components of each atom in the k lowest eigenvectors of the Laplacian of its
            connected component, unit length, sign and (in degenerate spaces) basis arbitrary but
            the same for any order of the atoms. Column 0 is constant; columns that the component
            is too small for are 0.
        lap_values: The eigenvalues that belong to them, repeated for each atom of the component.
            Column 0 is 0, as are missing ones: a column is an eigenvector that tells something
            exactly where its value is above 0.
    """

    nodes: UInt8[np.ndarray, "n c"]
    edges: UInt8[np.ndarray, "e d"]
    senders: Int16[np.ndarray, " e"]
    receivers: Int16[np.ndarray, " e"]
    rwse: Float16[np.ndarray, "n w"]
    lap_vectors: Float16[np.ndarray, "n k"]
    lap_values: Float16[np.ndarray, "n k"]

    @property
    def n_nodes(self) -> int:
        """Atoms."""
        return len(self.nodes)

    @property
    def n_edges(self) -> int:
        """Directed bonds."""
        return len(self.senders)


# Field, dtype, width (0: one number a row), whether a row is an atom.
_FIELDS: tuple[tuple[str, Any, int, bool], ...] = (
    ("senders", np.int16, 0, False),
    ("receivers", np.int16, 0, False),
    ("rwse", np.float16, RANDOM_WALK_STEPS, True),
    ("lap_vectors", np.float16, N_EIGENVECTORS, True),
    ("lap_values", np.float16, N_EIGENVECTORS, True),
    ("nodes", np.uint8, len(NODE_COLUMNS), True),
    ("edges", np.uint8, len(EDGE_COLUMNS), False),
)


def encode(graph: MolecularGraph) -> bytes:
    """The graph as bytes: numbers of atoms and directed bonds, then the arrays (little-endian)."""
    sizes = np.array([graph.n_nodes, graph.n_edges], "<i4")
    arrays = (getattr(graph, name).astype(_little(kind)) for name, kind, _, _ in _FIELDS)
    return b"".join([sizes.tobytes(), *(array.tobytes() for array in arrays)])


def decode(record: bytes) -> MolecularGraph:
    """The graph of some bytes; its arrays are read-only views of them.

    Raises:
        ValueError: The bytes are not a graph of this layout, or a bond names an atom that is not
            there.
    """
    if len(record) < 8:
        raise ValueError(f"a molecular graph has more than {len(record)} bytes")
    n_nodes, n_edges = np.frombuffer(record, "<i4", 2).tolist()
    arrays, start = {}, 8
    for name, kind, width, of_atom in _FIELDS:
        rows = n_nodes if of_atom else n_edges
        flat = np.frombuffer(record, _little(kind), rows * max(width, 1), start)
        arrays[name] = flat.reshape(rows, width) if width else flat
        start += flat.nbytes
    if start != len(record):
        raise ValueError(f"a graph of {n_nodes} atoms and {n_edges} bonds has {start} bytes")
    graph = MolecularGraph(**arrays)
    check_indices(graph)
    return graph


def check_indices(graph: MolecularGraph) -> None:
    """Refuses bonds to atoms that are not there: `jraph.segment_sum` would silently drop them.

    Raises:
        ValueError: There is one.
    """
    for ends in (graph.senders, graph.receivers):
        if len(ends) and not 0 <= ends.min() <= ends.max() < graph.n_nodes:
            raise ValueError(f"a bond names an atom outside 0 to {graph.n_nodes - 1}")


def _little(kind: Any) -> np.dtype:
    return np.dtype(kind).newbyteorder("<")
