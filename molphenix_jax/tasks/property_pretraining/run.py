"""One model on one split: what the training loop asks of a property-pretraining run."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from molphenix_jax.evaluation import PROPERTY_METRICS
from molphenix_jax.losses import PROPERTY_LOSSES
from molphenix_jax.models.mpnn import HeadConfig, PropertyModel
from molphenix_jax.molecules.graphs import MolecularGraph, packing
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.run import Run
from molphenix_jax.screens.sampling import permute
from molphenix_jax.tasks.molecule_encoder import encoder_config, load_encoder, take_weights
from molphenix_jax.tasks.property_pretraining.labels import LabelGroup, Labels
from molphenix_jax.trained.scaling import InputScaling, fit_scaling

# Labels stay within this many standard deviations in training: a descriptor's outlier is no lesson.
_CLIP_SD = 5.0
# Molecules that a validation looks at, at most.
_VALIDATION_LIMIT = 8_192
_ORDER = 10  # stream of randomness, see data.sampling


class PropertySplit(NamedTuple):
    """Molecules of each side."""

    train: Int[np.ndarray, " a"]
    validation: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]


class PropertyBatch(NamedTuple):
    """A packed batch for each device, [devices, …]; labels of molecules are in `globals`."""

    graphs: Any
    node_labels: dict[str, Float[np.ndarray, "d n k"]]


class PropertyAssets(NamedTuple):
    """What the model needs beside its weights; saved in every checkpoint."""

    label_mean: dict[str, np.ndarray]
    label_std: dict[str, np.ndarray]
    blocks: InputScaling


class PropertyRun(Run):
    """One model on one split; what `train.fit` asks for, and predictions for the evaluation."""

    def __init__(
        self,
        config: Config,
        labels: Labels,
        graphs: Sequence[MolecularGraph],
        blocks: Sequence[np.ndarray],
        split: PropertySplit,
        mesh: jax.sharding.Mesh,
    ):
        """Sets up a run.

        Args:
            config: The whole config.
            labels: Of m molecules.
            graphs: Of the same molecules.
            blocks: Features [m, k] that the heads see beside the graphs, if any.
            split: Sides of the molecules.
            mesh: Devices.
        """
        self.config, self.labels, self.graphs, self.split = config, labels, graphs, split
        self._blocks = tuple(blocks)
        self._n_devices = mesh.devices.size
        self.batch_size = min(config.train.batch_size, len(split.train))
        self.batch_size -= self.batch_size % self._n_devices
        self._budgets = packing.budgets_for(
            packing.sizes_of(graphs), batch_size=max(self.batch_size // self._n_devices, 1)
        )
        self.assets = self._fit_assets()
        h = config.model
        self.model = PropertyModel(
            encoder_config(h.encoder, max_atoms=config.data.max_atoms),
            tuple(
                HeadConfig(
                    g.name, g.level, len(g.columns) * g.n_classes, h.head_width, h.head_dropout
                )
                for g in labels.groups
            ),
            jnp.dtype(config.train.compute_dtype),
        )
        self._pretrained = None
        if source := config.model.pretrained:
            ours = self.shapes["params"]["encoder"]
            theirs = load_encoder(pathlib.Path(source)).params["params"]
            self._pretrained = take_weights(ours, theirs, source=source)
        self._predict = jax.jit(
            jax.vmap(lambda p, graphs: self.model.apply(p, self._scaled(graphs))[1], (0, None))
        )

    def _fit_assets(self) -> PropertyAssets:
        mean, std = {}, {}
        for g in self.labels.groups:
            values = _rows_of(g, self.split.train)
            n = len(g.columns)
            mean[g.name], std[g.name] = np.zeros(n, np.float32), np.ones(n, np.float32)
            if g.loss == "mae":
                known = np.isfinite(values)
                count = np.maximum(known.sum(0), 1)
                centre = np.where(known, values, 0).sum(0) / count
                spread = np.sqrt((np.where(known, values - centre, 0) ** 2).sum(0) / count)
                mean[g.name] = centre.astype(np.float32)
                std[g.name] = np.where(spread > 1e-6, spread, 1).astype(np.float32)
        blocks = [block[self.split.train] for block in self._blocks]
        # Without any, the scaling of one column that nothing has: a checkpoint needs an array.
        nothing = np.zeros((len(self.split.train), 1), np.float32)
        return PropertyAssets(mean, std, fit_scaling(blocks or [nothing], components=0, whiten=0.0))

    # What the training loop asks for.

    def init(self, key: jax.Array) -> Any:
        """Initial parameters of one member."""
        params = self.model.init(key, self._pack(self.split.train[:1], n_devices=0).graphs)
        encoder = self._pretrained or params["params"]["encoder"]
        return {"params": {**params["params"], "encoder": encoder}}

    def adopt(self, assets: PropertyAssets) -> None:
        """Takes the label statistics of a checkpoint in place of the recomputed ones.

        Raises:
            ConfigError: The labels are not those that the checkpoint was trained on.
        """
        ours, theirs = jax.tree.leaves(self.assets), jax.tree.leaves(assets)
        if not all(
            np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-3, atol=1e-5)
            for a, b in zip(ours, theirs, strict=True)
        ):
            raise ConfigError(
                "the labels changed since this run began: put the old tables back, train in a new "
                "--workdir, or, where an earlier version took columns that are left out now, name "
                "all of them with data.columns"
            )
        self.assets = assets

    def batch(self, step: int) -> PropertyBatch:
        """The packed molecules of one step."""
        train = self.split.train
        epoch, position = divmod(step, len(train) // self.batch_size)
        places = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        rows = permute(places, len(train), self.config.seed, _ORDER, epoch)
        return self._pack(train[rows], n_devices=self._n_devices)

    def _pack(self, ids: Int[np.ndarray, " b"], *, n_devices: int) -> PropertyBatch:
        """Packs molecules, labels standardised; 0 devices gives no device axis."""
        extra = {
            g.name: self._standardised(g, g.values[ids])
            for g in self.labels.groups
            if g.level == "graph"
        }
        if self._blocks:
            columns = [block[ids].astype(np.float32) for block in self._blocks]
            extra["blocks"] = np.concatenate(columns, axis=1)
        chosen = [self.graphs[i] for i in ids]
        graphs: Any = packing.pack_devices(
            chosen, self._budgets, n_devices=max(n_devices, 1), extra=extra
        )
        n_nodes = graphs.nodes["codes"].shape[1]
        share = -(-len(ids) // max(n_devices, 1))
        node_labels = {}
        for g in self.labels.groups:
            if g.level == "graph":
                continue
            packed = np.full((max(n_devices, 1), n_nodes, len(g.columns)), np.nan, np.float32)
            for device in range(len(packed)):
                part = ids[share * device : share * (device + 1)]
                values = self._standardised(g, self._of_atoms(g, part))
                packed[device, : len(values)] = values
            node_labels[g.name] = packed
        batch = PropertyBatch(graphs, node_labels)
        return batch if n_devices else jax.tree.map(lambda a: a[0], batch)

    def labels_of(self, g: LabelGroup, ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
        """Labels as `predict` lays its predictions out."""
        return g.values[ids] if g.level == "graph" else self._of_atoms(g, ids)

    def _of_atoms(self, g: LabelGroup, ids: Int[np.ndarray, " b"]) -> Float[np.ndarray, "a k"]:
        parts = [
            np.full((self.graphs[i].n_nodes, len(g.columns)), np.nan, np.float32)
            if g.values[i] is None
            else g.values[i]
            for i in ids
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(g.columns)), np.float32)

    def _standardised(self, g: LabelGroup, values: np.ndarray) -> Float[np.ndarray, "n k"]:
        if g.loss != "mae":
            return np.asarray(values, np.float32)
        scaled = (values - self.assets.label_mean[g.name]) / self.assets.label_std[g.name]
        return np.clip(scaled, -_CLIP_SD, _CLIP_SD).astype(np.float32)

    def loss(
        self, params: Any, batch: PropertyBatch, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Mean over the label groups of each group's loss."""
        del tables

        def forward(graphs: Any, key: jax.Array) -> Any:
            graphs = self._scaled(graphs)
            encoded, out = self.model.apply(params, graphs, train=True, rngs={"dropout": key})
            return out, encoded.graph_mask, encoded.node_mask

        n = batch.graphs.n_node.shape[0]
        if n == 1:
            first = jax.tree.map(lambda a: a[0], batch.graphs)
            out, of_graph, of_node = jax.tree.map(lambda a: a[None], forward(first, key))
        else:
            out, of_graph, of_node = jax.vmap(forward)(batch.graphs, jax.random.split(key, n))
        losses = {}
        for g in self.labels.groups:
            of_molecule = g.level == "graph"
            labels = batch.graphs.globals[g.name] if of_molecule else batch.node_labels[g.name]
            prediction = out[g.name].reshape(-1, len(g.columns), g.n_classes)
            losses[g.name] = PROPERTY_LOSSES[g.loss](
                prediction if g.loss == "hybrid_ce" else prediction[..., 0],
                labels.reshape(-1, len(g.columns)),
                (of_graph if of_molecule else of_node).reshape(-1),
            )
        total = sum(losses.values()) / len(losses)
        return jnp.asarray(total), {f"loss_{name}": value for name, value in losses.items()}

    def _scaled(self, graphs: Any) -> Any:
        """The batch with its blocks scaled as the heads take them."""
        if not self._blocks:
            return graphs
        blocks = self.assets.blocks(graphs.globals["blocks"])
        return graphs._replace(globals={**graphs.globals, "blocks": blocks})

    def validate(self, params: Any) -> dict[str, float]:
        """Mean over the labels of each group's first metric, on validation molecules."""
        ids = self.split.validation[:_VALIDATION_LIMIT]
        predictions = self.predict(params, ids)
        result = {}
        for g in self.labels.groups:
            metric, function = next(iter(PROPERTY_METRICS[g.loss].items()))
            labels = self.labels_of(g, ids)
            found = []
            for k in range(len(g.columns)):
                known = np.isfinite(labels[:, k])
                if known.sum() > 1:
                    found.append(function(labels[known, k], predictions[g.name][known, k]))
            found = [value for value in found if np.isfinite(value)]
            mean = float(np.mean(found)) if found else float("nan")
            result[f"validation_{metric}_{g.name}"] = mean
        return result

    # Predictions.

    def predict(self, params: Any, ids: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Predictions for some molecules, the members' mean, in the units of the labels.

        Returns:
            Group → [n, k]: logits for bce, values for mae, expected classes for hybrid_ce; for the
            node level [atoms, k], molecule after molecule.
        """
        rows: dict[str, Any] = {g.name: [None] * len(ids) for g in self.labels.groups}
        for places, batch in self._batches(ids):
            out = {name: np.asarray(v) for name, v in self._predict(params, batch).items()}
            ends = np.cumsum([self.graphs[int(i)].n_nodes for i in ids[places]])
            starts = np.concatenate([[0], ends[:-1]])
            for g in self.labels.groups:
                value = self._in_units(g, out[g.name])
                for i, place in enumerate(places):
                    at = slice(i, i + 1) if g.level == "graph" else slice(starts[i], ends[i])
                    rows[g.name][place] = value[at]
        return {
            g.name: np.concatenate(rows[g.name])
            if len(ids)
            else np.zeros((0, len(g.columns)), np.float32)
            for g in self.labels.groups
        }

    def _batches(self, ids: Int[np.ndarray, " n"]) -> Iterator[tuple[np.ndarray, Any]]:
        size = max(self.batch_size // self._n_devices, 1)
        # By size, so that a batch pads little; every batch in the smallest shape that holds it.
        n_nodes = np.array([self.graphs[int(i)].n_nodes for i in ids])
        order = np.argsort(-n_nodes, kind="stable")
        for start in range(0, len(ids), size):
            places = order[start : start + size]
            yield places, self._pack(ids[places], n_devices=0).graphs

    def _in_units(self, g: LabelGroup, out: Float[np.ndarray, "m n o"]) -> np.ndarray:
        values = out.reshape(*out.shape[:2], len(g.columns), g.n_classes)
        if g.loss == "hybrid_ce":
            classes = np.exp(values - values.max(-1, keepdims=True))
            return (classes / classes.sum(-1, keepdims=True) @ np.arange(g.n_classes)).mean(0)
        mean = values[..., 0].mean(axis=0)
        return mean * self.assets.label_std[g.name] + self.assets.label_mean[g.name]


def _rows_of(g: LabelGroup, ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
    """Labels of some molecules; for the node level of all their atoms that have any."""
    if g.level == "graph":
        return g.values[ids]
    parts = [g.values[i] for i in ids if g.values[i] is not None]
    return np.concatenate(parts) if parts else np.zeros((0, len(g.columns)), np.float32)
