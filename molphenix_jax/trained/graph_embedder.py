"""A molecule encoder applied to any number of graphs."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from molphenix_jax.models.mpnn import MoleculeEncoder, MPNNConfig
from molphenix_jax.molecules.graphs import MolecularGraph, packing


class GraphEmbedder:
    """Applies an encoder's weights to any number of molecules, in one compiled shape.

    Weights have a leading axis [members].
    """

    def __init__(self, config: MPNNConfig, graphs: Sequence[MolecularGraph], *, batch_size: int):
        """Chooses the shape for the molecules that will be embedded."""
        self._graphs = graphs
        sizes = packing.sizes_of(graphs)
        self._budget = packing.budgets_for(sizes, batch_size=min(batch_size, len(graphs)))[-1]
        model = MoleculeEncoder(config)

        def layers(params: Any, graphs: Any) -> dict[str, jax.Array]:
            encoded: Any = model.apply(params, graphs)
            return encoded.layers

        self._apply = jax.jit(jax.vmap(layers, (0, None)))

    def __call__(self, params: Any, layers: Sequence[str]) -> Float[np.ndarray, "members n k"]:
        """Embeddings of all molecules: the chosen layers side by side."""
        n_members = jax.tree.leaves(params)[0].shape[0]
        result: np.ndarray | None = None
        for rows, batch in packing.pack_all(self._graphs, self._budget):
            out = self._apply(params, batch)
            joined = np.concatenate([np.asarray(out[name]) for name in layers], axis=-1)
            if result is None:
                result = np.zeros((n_members, len(self._graphs), joined.shape[-1]), np.float32)
            result[:, rows] = joined[:, : len(rows)]
        return np.zeros((n_members, 0, 0), np.float32) if result is None else result
