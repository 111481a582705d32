"""One model on one split, with images for profiles."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from molphenix_jax.models import MolPhenix, joint_embedding
from molphenix_jax.models.resnet import RESNETS, ImageMolPhenix, ResNetConfig, augment
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.screens.sampling import uniform
from molphenix_jax.screens.screen import Screen
from molphenix_jax.screens.splits import Split
from molphenix_jax.tasks.align.training.assets import MoleculeInputs, SimilarAssets
from molphenix_jax.tasks.align.training.run import AlignRun
from molphenix_jax.tasks.align.training.tables import GIB, TABLE_SHARE, gather
from molphenix_jax.tasks.align_images.wells import ReplicateImages
from molphenix_jax.trained.alignment import Alignment
from molphenix_jax.trained.scaling import InputScaling
from molphenix_jax.trained.sides import ImageSide

# Stream of randomness beside those of the sampler: which image of a perturbation is seen.
_IMAGE = 101
# Images that statistics are computed from, and as many at once.
_STATISTICS, _CHUNK = 5_000, 64


class ImageAssets(NamedTuple):
    """`AlignAssets`, and the mean and standard deviation of each channel in training."""

    profile: InputScaling
    molecule: InputScaling
    dose_grid_log10: np.ndarray
    dose_mean_std: np.ndarray
    null_constant: np.ndarray | SimilarAssets
    image_mean: np.ndarray
    image_std: np.ndarray


class ImageBatch(NamedTuple):
    """A batch of the alignment run with an image for each pair: a row, or the pixels."""

    pairs: Any
    image: Any


class ImageTables(NamedTuple):
    """Tables of the alignment run; and the images, or nothing where they stream."""

    pairs: Any
    images: Any


class ImageAlignRun(AlignRun):
    """An alignment run whose phenomic tower sees images; everything else is shared."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        split: Split,
        mesh: jax.sharding.Mesh,
        *,
        stack: UInt8[np.ndarray, "f c h w"],
        images: ReplicateImages,
        molecules: MoleculeInputs | None = None,
    ):
        """Sets up the run.

        Args:
            config: Of the run.
            screen: See `AlignRun`.
            split: See `AlignRun`.
            mesh: Devices.
            stack: All images.
            images: Which of them each replicate has.
            molecules: See `AlignRun`.
        """
        super().__init__(config, screen, split, mesh, molecules=molecules)
        self.stack, self.images = stack, images
        self.seen = images.seen(~split.withheld)
        order = np.argsort(self.seen.of_perturbation, kind="stable")
        self._rows_by_pair = self.seen.rows[order]
        self._first = np.concatenate([[0], np.cumsum(self.seen.counts)])
        mean, std = self._channel_statistics()
        self._use(ImageAssets(**self.assets._asdict(), image_mean=mean, image_std=std))
        memory = config.data.device_memory_gib * GIB or meshes.memory_per_device(mesh)
        wanted = config.images.placement
        fits = stack.nbytes <= TABLE_SHARE * memory
        self.on_device = wanted == "device" or (wanted == "auto" and fits)
        where = "live on each device" if self.on_device else "stream from the host"
        self.notes = (
            *self.notes,
            f"{len(self._rows_by_pair):,} training images of {stack.shape[1:]}; "
            f"{stack.nbytes / GIB:.3g} GiB {where}",
        )

    def _make_model(self) -> MolPhenix:
        h = self.config.model
        size = RESNETS[h.resnet]
        images = ResNetConfig(size.blocks, size.bottleneck, h.resnet_width)
        return self._network(ImageMolPhenix, images=images)

    def _use(self, assets: Any) -> None:
        super()._use(assets)
        if isinstance(assets, ImageAssets):
            self.image_side = ImageSide(self.model, assets.image_mean, assets.image_std)

    def _channel_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel over the images that training visits.

        CLOOME's published code passes the means for both; these are really standard deviations.
        """
        visited = np.isin(self.seen.of_perturbation, self.visited)
        rows = np.sort(self.seen.rows[visited])
        if len(rows) > _STATISTICS:
            rng = np.random.default_rng(self.config.seed)
            rows = np.sort(rng.choice(rows, _STATISTICS, replace=False))
        n, total, squares = 0, np.zeros(self.stack.shape[1]), np.zeros(self.stack.shape[1])
        for start in range(0, len(rows), _CHUNK):
            x = self.stack[rows[start : start + _CHUNK]].astype(np.float64) / 255
            n += x.shape[0] * x.shape[2] * x.shape[3]
            total = total + x.sum((0, 2, 3))
            squares = squares + np.square(x).sum((0, 2, 3))
        mean = total / n
        std = np.sqrt(np.maximum(squares / n - mean**2, 0))
        # A channel of one value says nothing; it becomes zeros.
        return mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)

    # What the training loop asks for.

    def init(self, key: jax.Array) -> Any:
        """Initial parameters of one member."""
        images = jnp.zeros((2, *self.stack.shape[1:]))
        molecules = jnp.zeros((2, self.molecule_side.width))
        return self.model.init(key, images, molecules)

    def adopt(self, assets: Any) -> None:
        """Takes the scaling of a checkpoint.

        Raises:
            ConfigError: Wells or images are not those that it was trained on.
        """
        for ours, theirs in (
            (self.assets.image_mean, assets.image_mean),
            (self.assets.image_std, assets.image_std),
        ):
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-3, atol=1e-5):
                raise ConfigError(
                    "the images changed since this run began; put the old ones back, or train in "
                    "a new --workdir"
                )
        super().adopt(assets)

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> Any:
        """The batch of one step: pairs, and for each one of its perturbation's images."""
        pairs = super().batch(step, rows)
        chosen = self.sampler.batch(step, rows).perturbation
        place = np.arange(len(chosen)) if rows is None else rows
        share = uniform(self.config.seed, _IMAGE, step, place)
        nth = np.floor(share * self.seen.counts[chosen]).astype(np.int64)
        row = self._rows_by_pair[self._first[chosen] + nth]
        return ImageBatch(pairs, row.astype(np.int32) if self.on_device else self.stack[row])

    @property
    def tables(self) -> Any:
        """What a batch of indices points into, as NumPy arrays for one device."""
        return ImageTables(super().tables, np.asarray(self.stack) if self.on_device else ())

    def place_tables(self, mesh: jax.sharding.Mesh) -> Any:
        """The tables on the devices, the images whole on each."""
        images = self.stack if self.on_device else ()
        return ImageTables(
            super().place_tables(mesh), jax.device_put(images, meshes.replicated(mesh))
        )

    def table_shapes(self, mesh: jax.sharding.Mesh) -> Any:
        """What `place_tables` gives, as shapes and placement alone."""
        images = self.stack if self.on_device else ()
        whole = meshes.abstract(images, meshes.replicated(mesh))
        return ImageTables(super().table_shapes(mesh), whole)

    def loss(
        self, params: Any, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Standardises and turns the images, embeds both sides, applies the configured loss."""
        turn, dropout = jax.random.split(key)
        images = tables.images[batch.image] if self.on_device else batch.image
        images = self.image_side.standardised(images)
        if self.config.images.augment:
            images = augment(images, turn)
        pairs = gather(batch.pairs, tables.pairs, self.mesh)
        return self.loss_of_pairs(params, images, pairs, dropout)

    # Embeddings.

    def trained(self, params: Any, *, splits: Any, about: Any) -> Alignment:
        """The model with these parameters as it is used without its screen."""
        i = self.config.images
        images = {name: i[name] for name in ("core", "downsample", "standardise", "channels")}
        images["shape"] = list(self.stack.shape[1:])
        found = super().trained(params, splits=splits, about={**about, "images": images})
        return dataclasses.replace(found, phenomic=self.image_side, held_out=None)

    def embed_queries(
        self,
        params: Any,
        profiles: Float[np.ndarray, "n d"],
        *,
        ids: Int[np.ndarray, " n"],
        wells: Bool[np.ndarray, " w"] | None,
    ) -> Float[np.ndarray, "n e"]:
        """z_x of perturbations: mean over the unit vectors of their images, of length one again."""
        del profiles
        position = np.full(self.screen.n_perturbations, -1)
        position[ids] = np.arange(len(ids))
        images = self.images.seen(wells)
        of_query = position[images.of_perturbation]
        rows, of_query = images.rows[of_query >= 0], of_query[of_query >= 0]
        z = self.image_side.embed(params, lambda k: self.stack[rows[k]], len(rows))
        # Rows are sorted by replicate and so by perturbation; queries may come in any order.
        order = np.argsort(of_query, kind="stable")
        first = np.searchsorted(of_query[order], np.arange(len(ids)))
        sums = np.add.reduceat(z[:, order].astype(np.float64), first, axis=1)
        unit = sums / np.maximum(np.linalg.norm(sums, axis=2, keepdims=True), 1e-12)
        return np.asarray(joint_embedding(jnp.asarray(unit, jnp.float32)))
