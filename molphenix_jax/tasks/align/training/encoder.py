"""Alignment with a molecule encoder that learns: its graphs go into every batch.

The encoder's embedding stands beside the feature blocks and the dose, at the molecule head's first
layer. It starts at random or from a pretrained run; either way the contrastive loss trains it.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from molphenix_jax.models import Embeddings, row_norm
from molphenix_jax.models.mpnn import molecule_encoder
from molphenix_jax.molecules.graphs import MolecularGraph, packing
from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.sampling import Batch
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.splits import Split
from molphenix_jax.storage import cache_folder
from molphenix_jax.tasks.align.training.assets import AlignAssets, MoleculeInputs
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.tasks.align.training.tables import Pairs, gather
from molphenix_jax.tasks.molecule_encoder import (
    encoder_of,
    graphs_of,
    load_encoder,
    take_weights,
)
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.sides import MoleculeRows

_EMBED_BATCH = 256


class GraphBatch(NamedTuple):
    """A batch of alignment and, for each device, the graphs of its different molecules.

    Attributes:
        pairs: The batch.
        graphs: Packed for each device, [devices, …].
        graph: Which graph of its device each row has, [devices, rows of a device].
    """

    pairs: Batch | Pairs
    graphs: Any
    graph: Int[np.ndarray | Array, "v r"]


class EncoderAlignRun(AlignRun):
    """One model on one split, whose molecule encoder is trained with the heads."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        split: Split,
        mesh: jax.sharding.Mesh,
        *,
        molecules: MoleculeInputs | None = None,
    ):
        """Sets up the run; arguments and errors are those of `AlignRun`."""
        self.mpnn = encoder_of(config, max_atoms=config.molecules.max_atoms)
        super().__init__(config, screen, split, mesh, molecules=molecules)
        # Graphs are packed by device, not by row: every process packs the whole batch.
        self.batch_rows = None
        self._graphs: dict[str, list[MolecularGraph]] = {}
        own = self.graphs(screen)
        self._n_devices = mesh.devices.size
        # A molecule is encoded once for all its doses in a batch.
        trained = np.unique(screen.molecule[self.visited])
        self._budgets = packing.budgets_for(
            packing.sizes_of([own[i] for i in trained]),
            batch_size=min(self.sampler.batch_size // self._n_devices, len(trained)),
        )
        self.encoder = molecule_encoder(self.mpnn, jnp.dtype(config.train.compute_dtype))
        example = packing.pack([own[trained[0]]], self._budgets)
        self._example = jax.tree.map(jnp.asarray, example)
        self._pretrained = None
        if config.molecules.pretrained:
            source = pathlib.Path(config.molecules.pretrained)
            ours = jax.eval_shape(self.encoder.init, jax.random.key(0), self._example)
            theirs = load_encoder(source).params
            self._pretrained = take_weights(ours, theirs, source=str(source))

    def _use(self, assets: AlignAssets) -> None:
        super()._use(assets)
        self.molecule_side = dataclasses.replace(self.molecule_side, encoder=self.mpnn)

    def graphs(self, screen: Screen) -> list[MolecularGraph]:
        """The graph of each molecule of a screen.

        Raises:
            ScreenError: A molecule has none.
        """
        if screen.name not in self._graphs:
            found, without = graphs_of(
                screen.molecules["smiles"].tolist(),
                max_atoms=self.config.molecules.max_atoms,
                convention=self.mpnn.network,
                cache=cache_folder(self.config.data.cache),
            )
            if len(without):
                first = without.iloc[0]
                raise ScreenError(
                    f"screen {screen.name}: {len(without)} molecules have no graph, the first "
                    f"{first['value']!r}: {first['reason']}; raise molecules.max_atoms or leave "
                    "them out of the wells file"
                )
            self._graphs[screen.name] = cast(list[MolecularGraph], found)
        return self._graphs[screen.name]

    def init(self, key: jax.Array) -> Any:
        """Initial parameters of one member: the heads and, under `encoder`, the encoder."""
        profiles = jnp.zeros((2, self.assets.profile.width))
        molecules = jnp.zeros((2, self.mpnn.out_width + self.molecule_side.width))
        params = self.model.init(key, profiles, molecules)
        encoder = self._pretrained or self.encoder.init(key, self._example)
        return {"params": {**params["params"], "encoder": encoder["params"]}}

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> Any:
        """The batch of one step with its packed molecules."""
        if rows is not None:
            raise ValueError("graphs are packed for whole batches")
        drawn = self.sampler.batch(step)
        molecule = self.screen.molecule[self.feed.partner[drawn.perturbation]]
        own = self.graphs(self.screen)
        parts, places = [], []
        for share in np.split(molecule, self._n_devices):
            distinct, place = np.unique(share, return_inverse=True)
            parts.append([own[i] for i in distinct])
            places.append(place.astype(np.int32))
        graphs = packing.pack_parts(parts, self._budgets)
        return GraphBatch(self.feed.batch(drawn), graphs, np.stack(places))

    def loss(
        self, params: Any, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Embeds profiles and graphs of a batch and applies the configured loss."""
        pairs = gather(batch.pairs, tables, self.mesh)
        sample = jnp.einsum("br,brd->bd", pairs.weight, pairs.replicates)
        blocks = {name: self.feed.unpack(name, block) for name, block in pairs.blocks.items()}
        dropout, encoding = jax.random.split(key)
        encoded = self._encode(params, batch, encoding)
        told = jnp.asarray(self.conditions)[pairs.condition]
        plain = self.molecule_side.inputs(blocks, pairs.concentration_um, told)
        out = self.model.apply(
            params,
            self.phenomic_side.scaling(sample),
            jnp.concatenate([encoded, plain], axis=1),
            train=True,
            rngs={"dropout": dropout},
        )
        return self.loss_of(cast(Embeddings, out), pairs)

    def _encode(self, params: Any, batch: Any, key: jax.Array) -> Float[Array, "n k"]:
        weights = {"params": params["params"]["encoder"]}

        def encode(graphs: Any, graph: Array, key: jax.Array) -> Array:
            out: Any = self.encoder.apply(weights, graphs, train=True, rngs={"dropout": key})
            return out.graphs[graph]

        if self._n_devices == 1:
            graphs = jax.tree.map(lambda a: a[0], batch.graphs)
            return row_norm(encode(graphs, batch.graph[0], key))
        keys = jax.random.split(key, self._n_devices)
        encoded = jax.vmap(encode)(batch.graphs, batch.graph, keys)
        return row_norm(encoded.reshape(-1, encoded.shape[-1]))

    def embed_perturbations(
        self, params: Any, screen: Screen, ids: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n e"]:
        """z_m of perturbations of a screen with the same blocks."""
        distinct, position = np.unique(screen.molecule[ids], return_inverse=True)
        # Of the whole screen, so that every part of it goes through one compiled shape.
        embedder = GraphEmbedder(self.mpnn, self.graphs(screen), batch_size=_EMBED_BATCH)
        encoded = embedder({"params": params["params"]["encoder"]}, ("graph",), distinct)
        plain_of = self._rows_of(screen)

        def rows_of(places: np.ndarray) -> MoleculeRows:
            return plain_of(ids[places])._replace(encoded=encoded[:, position[places]])

        return self.molecule_side.embed(params, rows_of, len(ids))
