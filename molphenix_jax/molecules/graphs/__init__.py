"""SMILES to molecular graphs, their cache, and (in `packing`) batches for the molecule encoder.

    graphs, rejected = featurise_graphs(smiles)          # list of MolecularGraph, None if rejected
    graphs = prepare_graphs(smiles, cache=folder).load() # the same, computed once, resumable
    budgets = packing.budgets_for(packing.sizes_of(graphs), batch_size=128)
    batch = packing.pack(graphs[:128], budgets)          # jraph.GraphsTuple of a static shape

A graph has n atoms, codes uint8 [n, 9] (`NODE_COLUMNS`), e directed bonds, codes uint8 [e, 3]
(`EDGE_COLUMNS`), and positional encodings of the atoms; see `MolecularGraph`, and `packing` for the
arrays of a batch. `NODE_SIZES` and `EDGE_SIZES` tell a model how many values each code can take.

`packing` is not imported here: it needs JAX, and the processes that featurise should not wait for
that.
"""

from molphenix_jax.molecules.graphs.cache import GraphCacheError, prepare_graphs
from molphenix_jax.molecules.graphs.featurise import MAX_ATOMS, featurise_graphs
from molphenix_jax.molecules.graphs.record import MolecularGraph
from molphenix_jax.molecules.graphs.vocabulary import (
    CONVENTIONS,
    EDGE_COLUMNS,
    EDGE_SIZES,
    NODE_COLUMNS,
    NODE_SIZES,
    Column,
    graphs_version,
)

__all__ = [
    "CONVENTIONS",
    "EDGE_COLUMNS",
    "EDGE_SIZES",
    "MAX_ATOMS",
    "NODE_COLUMNS",
    "NODE_SIZES",
    "Column",
    "GraphCacheError",
    "MolecularGraph",
    "featurise_graphs",
    "graphs_version",
    "prepare_graphs",
]
