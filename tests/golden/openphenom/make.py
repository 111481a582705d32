"""Records what a model of timm's own blocks puts out, with the weights of `weights.py`.

    python3.11 -m venv timm && timm/bin/pip install torch==2.13.0 numpy pyyaml safetensors \
        huggingface_hub && timm/bin/pip install --no-deps timm==0.9.7
    timm/bin/python tests/golden/openphenom/make.py

Needs no torchvision: timm imports it for its data pipeline alone, and gets an empty one here.
Independent of molphenix_jax: encoder blocks and decoder blocks are timm's, with torch's instance
norm, convolution and attention. What is around them is written from the model's description
(docs/method.md §9; Kraus et al. 2024).
"""

import importlib.machinery
import pathlib
import sys
import types
from functools import partial

import numpy as np
import torch
from torch import nn


class _Anything(type):
    """Of classes that have every attribute."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Empty(types.ModuleType):
    """A module whose every name is an empty class."""

    __path__: list[str] = []

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


for _name in (
    *("torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.ops"),
    *("torchvision.ops.misc", "torchvision.transforms", "torchvision.transforms.functional"),
    *("torchvision.models", "torchvision.models.feature_extraction"),
):
    _module = _Empty(_name)
    _module.__spec__ = importlib.machinery.ModuleSpec(_name, None)
    sys.modules[_name] = _module
    _parent, _, _child = _name.rpartition(".")
    if _parent:
        setattr(sys.modules[_parent], _child, _module)

from timm.models.vision_transformer import (  # noqa: E402
    Block,
    Mlp,
    ParallelScalingBlock,
    VisionTransformer,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from weights import OPENPHENOM, SMALL, Size, positions, random_weights, shapes  # noqa: E402

SEED = 0
NORM = partial(nn.LayerNorm, eps=1e-6)


class Encoder(nn.Module):
    """timm's ViT with one patch projection for all channels and tiled positions."""

    def __init__(self, s: Size):
        super().__init__()
        vit = VisionTransformer(
            img_size=s.patch * s.grid,
            patch_size=s.patch,
            in_chans=1,
            num_classes=0,
            embed_dim=s.width,
            depth=s.depth,
            num_heads=s.width // s.head_width,
            qkv_bias=False,
            qk_norm=True,
            init_values=1e-4,
            fc_norm=None,
            global_pool="avg",
            block_fn=ParallelScalingBlock,
        )
        table = torch.from_numpy(positions(s.width, s.grid, s.max_channels))
        vit.pos_embed = nn.Parameter(table, requires_grad=False)
        self.vit_backbone = vit

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch tokens with their positions, channel after channel; no class token yet."""
        channels = [
            self.vit_backbone.patch_embed.proj(pixels[:, c : c + 1]).flatten(2).transpose(1, 2)
            for c in range(pixels.shape[1])
        ]
        x = torch.cat(channels, dim=1)
        return x + self.vit_backbone.pos_embed[:, 1 : 1 + x.shape[1]]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Puts the class token first and runs timm's blocks and whatever norm timm has after."""
        vit = self.vit_backbone
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return vit.norm(vit.blocks(vit.norm_pre(torch.cat([first, tokens], dim=1))))


class CrossAttention(nn.Module):
    """Multi-head attention of x to a context, by torch's own attention; 8 heads."""

    def __init__(self, width: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """What x reads from the context."""
        split = lambda a: a.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        k, v = self.kv(context).chunk(2, dim=-1)
        out = nn.functional.scaled_dot_product_attention(split(self.q(x)), split(k), split(v))
        return self.proj(out.transpose(1, 2).flatten(2))


class Decoder(nn.Module):
    """One cross-attention for all channels, then blocks of each channel's own."""

    def __init__(self, s: Size):
        super().__init__()
        d = s.decoder_width
        self.per_channel = s.grid**2
        self.mask_token = nn.Parameter(torch.zeros(1, 1, d))
        self.placeholder = nn.Parameter(torch.zeros(1, 1, d), requires_grad=False)
        table = torch.from_numpy(positions(d, s.grid, s.channels))
        self.pos_embeddings = nn.Parameter(table, requires_grad=False)
        self.modality_tokens = nn.ParameterList(
            [nn.Parameter(torch.zeros(1, 1, d)) for _ in range(s.channels)]
        )
        self.cross_attention = CrossAttention(d)
        self.mlp = Mlp(d, hidden_features=4 * d)
        self.decoders = nn.ModuleList(
            nn.Sequential(
                *[
                    Block(d, num_heads=16, mlp_ratio=4, qkv_bias=True, norm_layer=NORM)
                    for _ in range(s.decoder_depth)
                ]
            )
            for _ in range(s.channels)
        )
        self.context_norm, self.query_norm, self.out_norm = NORM(d), NORM(d), NORM(d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All patch tokens, hidden ones as mask tokens, to what the predictor reads."""
        p, outputs = self.per_channel, []
        x = x + self.pos_embeddings[:, 1:]
        x = x + torch.cat([t.expand(1, p, -1) for t in self.modality_tokens], dim=1)
        context = self.context_norm(x)
        for m, blocks in enumerate(self.decoders):
            own = self.cross_attention(self.query_norm(x[:, m * p : (m + 1) * p]), context)
            outputs.append(blocks(own + self.mlp(self.out_norm(own))))
        return torch.cat(outputs, dim=1)


class Autoencoder(nn.Module):
    """The whole model; its state dict has the names of the published one."""

    def __init__(self, s: Size):
        super().__init__()
        self.encoder, self.decoder = Encoder(s), Decoder(s)
        self.encoder_decoder_proj = nn.Linear(s.width, s.decoder_width)
        self.decoder_pred = nn.Linear(s.decoder_width, s.patch**2)

    def forward(self, pixels: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Painted patches [n, t, patch²], from the visible ones [n, k]."""
        tokens = self.encoder.tokens(pixels)
        index = visible[..., None]
        seen = self.encoder(tokens.gather(1, index.expand(-1, -1, tokens.shape[-1])))[:, 1:]
        seen = self.encoder_decoder_proj(seen)
        x = self.decoder.mask_token.expand(*tokens.shape[:2], -1).clone()
        x = x.scatter(1, index.expand(-1, -1, x.shape[-1]), seen)
        return self.decoder_pred(self.decoder(x))


def build(s: Size) -> Autoencoder:
    """The model with random weights; its state dict must be what `shapes` says."""
    model = Autoencoder(s).eval()
    theirs = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert theirs == shapes(s), set(theirs.items()) ^ set(shapes(s).items())
    weights = random_weights(s, seed=SEED)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model


def standardised(images: np.ndarray) -> torch.Tensor:
    """8-bit images through torch's instance norm."""
    return nn.InstanceNorm2d(images.shape[1])(torch.from_numpy(images).float() / 255.0)


@torch.no_grad()
def main() -> None:
    """Writes `outputs.npz` beside this file."""
    s = SMALL
    model = build(s)
    rng = np.random.default_rng(1)
    side = s.patch * s.grid
    images = rng.integers(0, 256, (2, s.channels, side, side), dtype=np.uint8)
    more = rng.integers(0, 256, (2, s.max_channels, side, side), dtype=np.uint8)
    n_tokens = s.channels * s.grid**2
    order = np.argsort(rng.random((2, n_tokens)), axis=1)
    visible = order[:, : n_tokens // 4]
    found = {"images": images, "more_channels": more, "order": order}
    for name, pixels in (("images", images), ("more_channels", more)):
        tokens = model.encoder(model.encoder.tokens(standardised(pixels)))
        found[f"tokens_of_{name}"] = tokens.numpy()
        per_channel = tokens[:, 1:].unflatten(1, (pixels.shape[1], -1)).mean(2)
        found[f"embedding_of_{name}"] = per_channel.mean(1).numpy()
        found[f"channelwise_of_{name}"] = per_channel.flatten(1).numpy()
    pixels = standardised(images)
    found["painted"] = model(pixels, torch.from_numpy(visible)).numpy()
    target = nn.functional.unfold(
        pixels.flatten(0, 1)[:, None], kernel_size=s.patch, stride=s.patch
    )
    target = target.transpose(1, 2).reshape(2, n_tokens, -1)
    hidden = torch.ones(2, n_tokens).scatter(1, torch.from_numpy(visible), 0.0)
    square = ((torch.from_numpy(found["painted"]) - target) ** 2).mean(-1)
    found["mse_of_hidden"] = ((square * hidden).sum() / hidden.sum()).numpy()
    path = pathlib.Path(__file__).with_name("outputs.npz")
    np.savez_compressed(path, **found)
    whole = sum(value.numel() for value in Autoencoder(OPENPHENOM).state_dict().values())
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes; OpenPhenom has {whole:,} numbers\n")


if __name__ == "__main__":
    main()
