"""ResNets for microscope images (He et al. 2016), with GroupNorm (Wu and He 2018).

CLOOME's ResNet-50 has BatchNorm. GroupNorm in its place looks at one image alone, so an embedding
never depends on its neighbours in a batch, in training or after it, and there are no running
statistics beside the parameters.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from molphenix_jax.models.molphenix import MolPhenix, normalise


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Size of a ResNet.

    Attributes:
        blocks: Residual blocks of the four stages.
        bottleneck: 1x1, 3x3, 1x1 convolutions with 4-fold output, in place of two 3x3.
        width: Channels of the first stage; each further one has twice as many.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int = 64


RESNETS: Mapping[str, ResNetConfig] = MappingProxyType(
    {
        "resnet10": ResNetConfig((1, 1, 1, 1), bottleneck=False),
        "resnet18": ResNetConfig((2, 2, 2, 2), bottleneck=False),
        "resnet34": ResNetConfig((3, 4, 6, 3), bottleneck=False),
        "resnet50": ResNetConfig((3, 4, 6, 3), bottleneck=True),
    }
)


def _norm(channels: int, dtype: Any, name: str) -> nn.GroupNorm:
    # 16 channels or more in a group, one of the divisions that Wu and He compare: in the last stage
    # of a small image a group has few pixels, and the norm of two numbers leaves only their signs.
    return nn.GroupNorm(math.gcd(32, max(channels // 16, 1)), dtype=dtype, name=name)


class _Block(nn.Module):
    """Convolutions with norms, plus the input, projected where its shape changes."""

    channels: int
    stride: int
    bottleneck: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        out = 4 * self.channels if self.bottleneck else self.channels
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        # (channels, kernel, stride) of each convolution.
        plan = [(self.channels, 3, self.stride), (out, 3, 1)]
        if self.bottleneck:
            plan = [(self.channels, 1, 1), (self.channels, 3, self.stride), (out, 1, 1)]
        h = x
        for i, (channels, kernel, stride) in enumerate(plan):
            last = i == len(plan) - 1
            h = conv(channels, (kernel, kernel), (stride, stride), name=f"conv_{i}")(h)
            h = _norm(channels, self.dtype, f"norm_{i}")(h)
            h = h if last else nn.relu(h)
        if x.shape != h.shape:
            stride = (self.stride, self.stride)
            x = conv(out, (1, 1), stride, name="conv_project")(x)
            x = _norm(out, self.dtype, "norm_project")(x)
        return nn.relu(x + h)


class ResNet(nn.Module):
    """Images with any number of channels to one vector each, not yet projected.

    Attributes:
        config: Size.
        dtype: Computation type; parameters stay float32.
    """

    config: ResNetConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n c h w"]) -> Float[Array, "n d"]:
        """Standardised images to the mean over places of the last stage."""
        c = self.config
        x = jnp.moveaxis(images, 1, 3).astype(self.dtype)
        x = nn.Conv(c.width, (7, 7), (2, 2), use_bias=False, dtype=self.dtype, name="stem")(x)
        x = nn.relu(_norm(c.width, self.dtype, "stem_norm")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
        for stage, n_blocks in enumerate(c.blocks):
            for i in range(n_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                x = _Block(
                    c.width * 2**stage, stride, c.bottleneck, self.dtype, name=f"block_{stage}_{i}"
                )(x)
        return x.mean((1, 2)).astype(jnp.float32)


class ImageMolPhenix(MolPhenix):
    """The two-tower model with images for profiles: ResNet and a linear layer on their side.

    Attributes:
        images: Size of the ResNet.
    """

    images: ResNetConfig = RESNETS["resnet50"]

    def setup(self) -> None:
        """Makes the molecule head, the ResNet and the two scalars."""
        super().setup()
        self.resnet = ResNet(self.images, self.dtype)
        self.project_out = nn.Dense(self.dim)

    def embed_profiles(
        self, profiles: Float[Array, "n c h w"], *, train: bool = False
    ) -> Float[Array, "n d"]:
        """Standardised images to unit vectors z_x [n, dim]."""
        del train  # nothing is dropped
        return normalise(self.project_out(self.resnet(profiles)))


def augment(images: Float[Array, "n c h w"], key: jax.Array) -> Float[Array, "n c h w"]:
    """Turns and mirrors each image at random: one of eight ways, of four where h is not w.

    Wells have no up and down, so these are all symmetries of the assay.
    """
    n, _, h, w = images.shape
    ways = jax.random.bernoulli(key, shape=(3, n))
    down, right, turn = (way[:, None, None, None] for way in ways)
    images = jnp.where(down, images[:, :, ::-1], images)
    images = jnp.where(right, images[:, :, :, ::-1], images)
    return jnp.where(turn, jnp.swapaxes(images, 2, 3), images) if h == w else images
