"""Masked autoencoder over channels: three quarters of the patches are hidden and painted in.

As in CA-MAE (Kraus et al. 2024; docs/method.md §9): the encoder sees the visible patches only. For
the decoders the hidden ones are mask tokens, and every token is told its place and its channel; the
tokens of each channel read from all channels and pass through that channel's own blocks.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from molphenix_jax.models.vit.config import MAEConfig
from molphenix_jax.models.vit.encoder import Encoder
from molphenix_jax.models.vit.layers import MLP, Block, CrossAttention, layer_norm
from molphenix_jax.models.vit.tokens import patchify, position_encoding, standardise_channels


class Mask(NamedTuple):
    """Which patches are hidden.

    Attributes:
        visible: Patch tokens that the encoder sees.
        restore: Place of each patch in (visible, hidden).
        hidden: True where a patch is hidden.
    """

    visible: Int[Array, "n k"]
    restore: Int[Array, "n t"]
    hidden: Bool[Array, "n t"]


class Reconstruction(NamedTuple):
    """What the decoders painted, what was there, and which patches were hidden."""

    predicted: Float[Array, "n t p"]
    target: Float[Array, "n t p"]
    hidden: Bool[Array, "n t"]


def random_mask(key: Array, *, n: int, tokens: int, ratio: float) -> Mask:
    """Hides a share of the tokens of n images, another choice in each.

    Args:
        key: Of the choice.
        n: Images.
        tokens: Patch tokens of an image, all channels together.
        ratio: Share that is hidden; int(tokens · (1 - ratio)) stay visible.
    """
    keep = int(tokens * (1.0 - ratio))
    order = jnp.argsort(jax.random.uniform(key, (n, tokens)), axis=1)
    restore = jnp.argsort(order, axis=1)
    return Mask(order[:, :keep], restore, restore >= keep)


class _ChannelDecoder(nn.Module):
    """The blocks of one channel."""

    width: int
    heads: int
    depth: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n t w"]) -> Float[Array, "n t w"]:
        for i in range(self.depth):
            x = Block(self.width, self.heads, self.dtype, name=f"block_{i}")(x)
        return x


class MAE(nn.Module):
    """Encoder and decoders.

    Attributes:
        config: Sizes.
        dtype: Computation type; parameters stay float32.
    """

    config: MAEConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "n c h w"], mask: Mask, *, train: bool = False
    ) -> Reconstruction:
        """Hides patches of images (intensities 0 to 255) and paints them in."""
        c = self.config
        n, channels, height, width = images.shape
        if channels != c.channels:
            raise ValueError(f"{channels} channels for decoders of {c.channels}")
        pixels = standardise_channels(images)
        target = patchify(pixels, patch=c.encoder.patch)
        seen = Encoder(c.encoder, self.dtype, name="encoder")(pixels, mask.visible, train=train)
        x = nn.Dense(c.width, dtype=self.dtype, name="project")(seen)

        token = self.param("mask_token", nn.initializers.normal(0.02), (c.width,))
        n_hidden = target.shape[1] - mask.visible.shape[1]
        hidden = jnp.broadcast_to(token.astype(self.dtype), (n, n_hidden, c.width))
        x = jnp.concatenate([x[:, 1:], hidden], axis=1)  # without the class token
        x = jnp.take_along_axis(x, mask.restore[..., None], axis=1)

        place = position_encoding(c.width, height // c.encoder.patch, width // c.encoder.patch)
        channel = self.param("channel_tokens", nn.initializers.normal(0.02), (channels, c.width))
        told = jnp.asarray(place)[None] + channel[:, None, :]
        x = x + told.reshape(1, -1, c.width).astype(self.dtype)

        context = layer_norm("context_norm", self.dtype)(x)
        # Queries are tokens like any other: asked all at once, channels need no loop here.
        x = CrossAttention(c.width, dtype=self.dtype, name="cross_attention")(
            layer_norm("query_norm", self.dtype)(x), context
        )
        x = x + MLP(c.width, self.dtype, name="mlp")(layer_norm("out_norm", self.dtype)(x))
        decoders = nn.vmap(
            _ChannelDecoder,
            in_axes=1,
            out_axes=1,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )(c.width, c.heads, c.depth, self.dtype, name="decoders")
        x = decoders(x.reshape(n, channels, -1, c.width)).reshape(n, -1, c.width)
        predicted = nn.Dense(c.encoder.patch**2, dtype=self.dtype, name="predict")(x)
        return Reconstruction(predicted.astype(jnp.float32), target, mask.hidden)


def mae_loss(
    r: Reconstruction, *, fourier_weight: float
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """(1 - f)·MSE + f·L1 of the patches' Fourier magnitudes, both over hidden patches.

    The Fourier part is that of docs/method.md §9.

    Args:
        r: Patches, painted and true.
        fourier_weight: f.

    Returns:
        The loss, and the two parts as metrics.
    """
    weight = r.hidden / jnp.maximum(r.hidden.sum(), 1)
    square = jnp.sum(weight * jnp.square(r.predicted - r.target).mean(-1))
    side = round(r.target.shape[-1] ** 0.5)

    def magnitude(patches: Array) -> Array:
        spectrum = jnp.fft.fft2(patches.reshape(*patches.shape[:-1], side, side))
        # |z| has no gradient at 0, where a painted patch of one value is nearly everywhere.
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        return jnp.sqrt(power + 1e-12)

    difference = jnp.abs(magnitude(r.predicted) - magnitude(r.target)).mean((-2, -1))
    fourier = jnp.sum(weight * difference)
    loss = (1.0 - fourier_weight) * square + fourier_weight * fourier
    return loss, {"mse": square, "fourier_l1": fourier}
