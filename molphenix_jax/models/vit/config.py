"""Sizes of the channel-agnostic ViT and its masked autoencoder, by name (docs/method.md §9)."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Size of the encoder.

    Attributes:
        width: Of the tokens; a multiple of 4 (the position encoding) and of `heads`.
        depth: Number of blocks.
        heads: Attention heads.
        patch: Side of a patch in pixels.
        expansion: Hidden width of a block's MLP over `width`.
        drop_path: Share of samples that skip the last block in training; rises from 0 with depth.
        scale_init: Of the factor on each block's output (LayerScale); OpenPhenom's lets the first
            thousands of updates pass the blocks by, so what trains briefly takes more.
        remat: Recompute activations in the backward pass in place of keeping them.
    """

    width: int
    depth: int
    heads: int
    patch: int
    expansion: int = 4
    drop_path: float = 0.0
    scale_init: float = 1e-4
    remat: bool = False


@dataclasses.dataclass(frozen=True)
class MAEConfig:
    """Size of the masked autoencoder.

    Attributes:
        encoder: The encoder.
        channels: Channels of the images; each has a decoder of its own.
        width: Of the decoder tokens; a multiple of 4, of `heads` and of the 8 cross-attention
            heads.
        depth: Blocks of each channel's decoder.
        heads: Attention heads of the decoders.
        mask_ratio: Share of the tokens that the encoder does not see.
        fourier_weight: Weight of the Fourier loss; the squared error has 1 minus this.
    """

    encoder: EncoderConfig
    channels: int
    width: int
    depth: int
    heads: int
    mask_ratio: float = 0.75
    fourier_weight: float = 0.01


# "openphenom" has the weights of recursionpharma/OpenPhenom, 178,045,568 numbers with the fixed
# ones; "vit_b8" and "vit_l8" have the encoders of the Phenom1 family (drop path as in its code).
# "small" trains on a CPU, "tiny" is for tests; patches of 16 are larger than a nucleus in the small
# images that a CPU can train on, and hardly anything is learned in as many updates.
PRESETS: Mapping[str, MAEConfig] = MappingProxyType(
    {
        "tiny": MAEConfig(
            EncoderConfig(64, 2, 2, 8, scale_init=0.3), channels=5, width=64, depth=1, heads=2
        ),
        "small": MAEConfig(
            EncoderConfig(96, 4, 4, 8, scale_init=0.3), channels=5, width=64, depth=1, heads=2
        ),
        "openphenom": MAEConfig(
            EncoderConfig(384, 12, 6, 16, drop_path=0.1), channels=6, width=512, depth=8, heads=16
        ),
        "vit_b8": MAEConfig(
            EncoderConfig(768, 12, 12, 8, drop_path=0.1, remat=True),
            channels=6,
            width=512,
            depth=8,
            heads=16,
        ),
        "vit_l8": MAEConfig(
            EncoderConfig(1024, 24, 16, 8, drop_path=0.3, remat=True),
            channels=6,
            width=512,
            depth=8,
            heads=16,
        ),
    }
)
