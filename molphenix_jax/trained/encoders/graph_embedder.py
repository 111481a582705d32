"""A molecule encoder applied to any number of graphs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.models.mpnn import MPNNConfig, molecule_encoder
from molphenix_jax.molecules.graphs import MolecularGraph, packing
from molphenix_jax.trained.sides import padded_size


class GraphEmbedder:
    """Applies an encoder's weights to any number of molecules, in one compiled shape.

    Weights have a leading axis [members].
    """

    def __init__(
        self,
        config: MPNNConfig,
        graphs: Sequence[MolecularGraph],
        *,
        batch_size: int,
        few_shapes: bool = False,
    ):
        """Chooses the shape for the molecules that will be embedded.

        Args:
            config: Of the encoder.
            graphs: Those molecules.
            batch_size: Molecules embedded at once.
            few_shapes: The shape is one of a few, so that embedders of other molecules share it;
                up to half of it is padding.
        """
        self._graphs = graphs
        sizes = packing.sizes_of(graphs)
        n = padded_size(len(graphs), batch_size) if few_shapes else min(batch_size, len(graphs))
        budget = packing.budgets_for(sizes, batch_size=n)[-1]
        if few_shapes:
            largest = np.maximum(sizes.max(axis=0), np.ceil(n * sizes.mean(axis=0))).astype(int)
            nodes, edges = (1 << int(each).bit_length() for each in largest)
            budget = packing.Budget(nodes, edges, n + 1)
        self._budget = budget
        self._apply = _program(config)

    def __call__(
        self, params: Any, layers: Sequence[str], rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "members n k"]:
        """Embeddings of molecules, of all unless `rows` chooses: the layers side by side."""
        graphs = self._graphs if rows is None else [self._graphs[i] for i in rows]
        n_members = jax.tree.leaves(params)[0].shape[0]
        result: np.ndarray | None = None
        for places, batch in packing.pack_all(graphs, self._budget):
            out = self._apply(params, batch)
            joined = np.concatenate([np.asarray(out[name]) for name in layers], axis=-1)
            if result is None:
                result = np.zeros((n_members, len(graphs), joined.shape[-1]), np.float32)
            result[:, places] = joined[:, : len(places)]
        return np.zeros((n_members, 0, 0), np.float32) if result is None else result


@functools.cache
def _program(config: MPNNConfig) -> Callable[[Any, Any], dict[str, jax.Array]]:
    """Layers by name of the members' encoders; compiled once for each shape in a process."""
    model = molecule_encoder(config)

    def layers(params: Any, graphs: Any) -> dict[str, jax.Array]:
        encoded: Any = model.apply(params, graphs)
        return encoded.layers

    return jax.jit(jax.vmap(layers, (0, None)))
