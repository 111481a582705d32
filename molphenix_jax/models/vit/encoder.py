"""Channel-agnostic ViT encoder (CA-MAE; OpenPhenom, Phenom1 family; docs/method.md §9).

Each channel is cut into patches by one shared projection, and all tokens attend to each other; no
token is told its channel. So an encoder takes any number of channels, and images of any size that
its patches divide.

    embed = jax.jit(functools.partial(embed_crops, config))
    z = embed(params, images)                       # uint8 [n, c, h, w] -> [n, width]
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from molphenix_jax.models.vit.config import EncoderConfig
from molphenix_jax.models.vit.layers import ParallelBlock
from molphenix_jax.models.vit.tokens import (
    Positions,
    patchify,
    standardise_channels,
    token_positions,
)


class Encoder(nn.Module):
    """The encoder: standardised images to tokens.

    Attributes:
        config: Sizes.
        dtype: Computation type; parameters stay float32.
        positions: What tokens are told of their place (`token_positions`).
    """

    config: EncoderConfig
    dtype: Any = jnp.float32
    positions: Positions = "computed"

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "n c h w"],
        visible: Int[Array, "n k"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "n t d"]:
        """Tokens of the last block, the class token first.

        OpenPhenom pools the mean of the patch tokens and puts no norm after the last block, so
        there is none here (docs/method.md §9, "second trap").

        Args:
            images: Standardised images.
            visible: Patch tokens that the blocks see, for each image; None means all.
            train: Whether blocks are dropped at random; needs the rng "dropout" then.
        """
        c = self.config
        n, channels, height, width = images.shape
        tokens = nn.Dense(c.width, dtype=self.dtype, name="patch_embed")(
            patchify(images, patch=c.patch)
        )
        place = token_positions(
            self.positions,
            c.width,
            patch=c.patch,
            channels=channels,
            rows=height // c.patch,
            columns=width // c.patch,
        )
        tokens += jnp.asarray(place, self.dtype)[None]
        if visible is not None:
            tokens = jnp.take_along_axis(tokens, visible[..., None], axis=1)
        first = self.param("class_token", nn.initializers.normal(0.02), (c.width,))
        first = jnp.broadcast_to(first.astype(self.dtype), (n, 1, c.width))
        x = jnp.concatenate([first, tokens], axis=1)
        block = nn.remat(ParallelBlock, static_argnums=(2,)) if c.remat else ParallelBlock
        for i in range(c.depth):
            rate = c.drop_path * i / max(c.depth - 1, 1)
            x = block(
                c.width, c.heads, c.expansion, rate, c.scale_init, self.dtype, name=f"block_{i}"
            )(x, train)
        return x


def embed_crops(
    config: EncoderConfig,
    params: Any,
    images: Shaped[Array, "n c h w"],
    *,
    channelwise: bool = False,
    positions: Positions = "computed",
    dtype: Any = jnp.float32,
) -> Float[Array, "n d"]:
    """Embeddings of images: the mean of their patch tokens.

    Args:
        config: Sizes of the encoder.
        params: Its parameters, as `Encoder.init` or `load_encoder` gives them.
        images: Intensities on the 8-bit scale, 0 to 255, uint8 or float; standardised here.
        channelwise: Means of each channel's tokens side by side, [n, c·width], instead of the mean
            over all, [n, width].
        positions: `slice` for those of Recursion's code, where images are not 256 pixels a side.
        dtype: Computation type; embeddings leave as float32.

    Raises:
        ValueError: Height or width is no multiple of the patch size.
    """
    n, channels = images.shape[:2]
    out: Any = Encoder(config, dtype, positions).apply(params, standardise_channels(images))
    tokens = out[:, 1:].astype(jnp.float32)
    if channelwise:
        return tokens.reshape(n, channels, -1, config.width).mean(2).reshape(n, -1)
    return tokens.mean(1)
