"""One MAE run: what the training loop asks for, and what the evaluation needs."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Shaped

from molphenix_jax.models.vit import (
    MAE,
    MAEConfig,
    Reconstruction,
    embed_crops,
    mae_loss,
    random_mask,
)
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.run import Run
from molphenix_jax.runtime.step import make_init
from molphenix_jax.tasks.mae_pretraining.config import model_config
from molphenix_jax.tasks.mae_pretraining.images import grid_crops, random_crops

# Crops that the validation paints; the same at every step, as are the patches that it hides.
VALIDATION_CROPS = 32
_BATCH_STREAM, _VALIDATION_STREAM = 0, 1
_EMBED_BATCH = 64


class MaeAssets(NamedTuple):
    """What a checkpoint says of the data that it was trained on."""

    channels: np.ndarray
    pixel_sum: np.ndarray


class MAERun(Run):
    """A masked autoencoder on the images of one fold."""

    def __init__(
        self,
        config: Config,
        pixels: Shaped[np.ndarray, "n c h w"],
        held: Bool[np.ndarray, " n"],
        mesh: jax.sharding.Mesh,
        *,
        fold: int,
    ):
        d = config.data
        self.config, self.pixels, self.held, self.fold = config, pixels, held, fold
        self.sizes: MAEConfig = model_config(config, channels=pixels.shape[1])
        self.model = MAE(self.sizes, dtype=jnp.dtype(config.train.compute_dtype))
        self.tokens = pixels.shape[1] * (d.crop // self.sizes.encoder.patch) ** 2
        if int(self.tokens * (1 - self.sizes.mask_ratio)) < 1:
            raise ConfigError(
                f"model.mask_ratio={self.sizes.mask_ratio} leaves none of {self.tokens} patches "
                "to see; lower it or raise data.crop"
            )
        n_devices = mesh.devices.size
        self.batch_size = config.train.batch_size - config.train.batch_size % n_devices
        if self.batch_size < 1:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size} is below the {n_devices} devices; "
                "raise it or set train.devices"
            )
        self.train_rows = np.flatnonzero(~held)
        self.assets = MaeAssets(
            np.asarray(pixels.shape[1], np.int32),
            np.asarray(pixels[self.train_rows].sum(dtype=np.float64), np.float32),
        )
        self._judge = jax.jit(self._painted_and_judged)
        self._embed = jax.jit(
            functools.partial(embed_crops, self.sizes.encoder, channelwise=config.eval.channelwise)
        )

    # What the training loop asks for.

    def init(self, key: jax.Array) -> Any:
        """Initial parameters; each fold has others."""
        key = jax.random.fold_in(key, self.fold)
        crop = self.config.data.crop
        images = jnp.zeros((1, self.sizes.channels, crop, crop))
        mask = random_mask(key, n=1, tokens=self.tokens, ratio=self.sizes.mask_ratio)
        return self.model.init(key, images, mask)

    def adopt(self, assets: MaeAssets) -> None:
        """Accepts a checkpoint of the same images.

        Raises:
            ConfigError: The checkpoint was trained on others.
        """
        if not all(np.allclose(a, b, rtol=1e-5) for a, b in zip(self.assets, assets, strict=True)):
            raise ConfigError(
                f"the images in {self.config.data.images} changed since this run began; put the "
                "old file back, or train in a new --workdir"
            )

    def batch(self, step: int) -> Shaped[np.ndarray, "b c s s"]:
        """Crops of one step."""
        d = self.config.data
        return random_crops(
            self.pixels,
            self.train_rows,
            count=self.batch_size,
            crop=d.crop,
            augment=d.augment,
            seed=(self.config.seed, self.fold, _BATCH_STREAM, step),
        )

    def loss(
        self, params: Any, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Hides patches of a batch, paints them in, compares."""
        mask_key, drop_key = jax.random.split(key)
        mask = random_mask(mask_key, n=len(batch), tokens=self.tokens, ratio=self.sizes.mask_ratio)
        out: Any = self.model.apply(params, batch, mask, train=True, rngs={"dropout": drop_key})
        return mae_loss(out, fourier_weight=self.sizes.fourier_weight)

    def validate(self, params: Any) -> dict[str, float]:
        """The same loss on crops of the held-back images; painting nothing has an MSE near 1."""
        return self.paint(_only(params))[1]

    # What the evaluation needs.

    def paint(self, params: Any) -> tuple[Reconstruction, dict[str, float]]:
        """Crops of held-back images, always the same with the same patches hidden, painted in.

        Args:
            params: Of one member.

        Returns:
            The reconstruction, and what it is worth.
        """
        crops = random_crops(
            self.pixels,
            np.flatnonzero(self.held),
            count=VALIDATION_CROPS,
            crop=self.config.data.crop,
            augment=False,
            seed=(self.config.seed, self.fold, _VALIDATION_STREAM),
        )
        painted, metrics = self._judge(params, crops, jax.random.key(self.config.seed))
        return painted, {name: float(value) for name, value in metrics.items()}

    def _painted_and_judged(
        self, params: Any, crops: jax.Array, key: jax.Array
    ) -> tuple[Reconstruction, dict[str, jax.Array]]:
        mask = random_mask(key, n=len(crops), tokens=self.tokens, ratio=self.sizes.mask_ratio)
        out: Any = self.model.apply(params, crops, mask)
        loss, parts = mae_loss(out, fourier_weight=self.sizes.fourier_weight)
        nothing = mae_loss(out._replace(predicted=0.0 * out.predicted), fourier_weight=0.0)[0]
        return out, {
            "validation_loss": loss,
            "validation_mse": parts["mse"],
            "validation_mse_of_nothing": nothing,
        }

    def untrained(self) -> Any:
        """The parameters that this run's training began with."""
        init = make_init(self, optax.identity(), members=1, seed=self.config.seed)
        return _only(jax.jit(init)().params)

    def embed(self, params: Any) -> Float[np.ndarray, "n d"]:
        """Embedding of every image: the mean over its grid of crops."""
        e, crop = self.config.eval, self.config.data.crop
        encoder = {"params": params["params"]["encoder"]}
        pieces = np.concatenate(
            [grid_crops(p, crop=crop, per_side=e.crops_per_side) for p in self.pixels]
        )
        found = []
        for start in range(0, len(pieces), _EMBED_BATCH):
            part = pieces[start : start + _EMBED_BATCH]
            # One shape, so that it compiles once.
            short = _EMBED_BATCH - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            found.append(np.asarray(self._embed(encoder, padded))[: len(part)])
        z = np.concatenate(found)
        return z.reshape(len(self.pixels), -1, z.shape[1]).mean(1)


def _only(params: Any) -> Any:
    """Parameters of the one member."""
    return jax.tree.map(lambda leaf: leaf[0], params)
