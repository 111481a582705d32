"""Random weights under the names of an OpenPhenom checkpoint; numpy alone, no torch.

`make.py` loads them into a model of timm's blocks and records what it puts out; the tests convert
them with our rules and compare. So the recorded file needs no weights.
"""

import zlib
from typing import NamedTuple

import numpy as np


class Size(NamedTuple):
    """Of an OpenPhenom model; `max_channels` is how often its encoder's positions are tiled."""

    width: int
    depth: int
    patch: int
    grid: int
    head_width: int
    max_channels: int
    channels: int
    decoder_width: int
    decoder_depth: int


# recursionpharma/OpenPhenom; the same in small, for the recorded numbers.
OPENPHENOM = Size(384, 12, 16, 16, 64, 11, 6, 512, 8)
SMALL = Size(32, 3, 4, 4, 16, 5, 3, 64, 2)


def shapes(s: Size) -> dict[str, tuple[int, ...]]:
    """Name → shape of every entry of the checkpoint, in its order."""
    found: dict[str, tuple[int, ...]] = {}
    backbone = "encoder.vit_backbone."
    found[backbone + "cls_token"] = (1, 1, s.width)
    found[backbone + "pos_embed"] = (1, 1 + s.max_channels * s.grid**2, s.width)
    found[backbone + "patch_embed.proj.weight"] = (s.width, 1, s.patch, s.patch)
    found[backbone + "patch_embed.proj.bias"] = (s.width,)
    for i in range(s.depth):
        block = f"{backbone}blocks.{i}."
        found[block + "mlp_bias"] = (4 * s.width,)
        found |= _norm(block + "in_norm", s.width)
        found[block + "in_proj.weight"] = (7 * s.width, s.width)
        found |= _norm(block + "q_norm", s.head_width)
        found |= _norm(block + "k_norm", s.head_width)
        found |= _linear(block + "attn_out_proj", s.width, s.width)
        found |= _linear(block + "mlp_out_proj", 4 * s.width, s.width)
        found[block + "ls.gamma"] = (s.width,)
    found |= _norm(backbone + "fc_norm", s.width)
    d = s.decoder_width
    found["decoder.mask_token"] = (1, 1, d)
    found["decoder.placeholder"] = (1, 1, d)
    found["decoder.pos_embeddings"] = (1, 1 + s.channels * s.grid**2, d)
    for m in range(s.channels):
        found[f"decoder.modality_tokens.{m}"] = (1, 1, d)
    found["decoder.cross_attention.q.weight"] = (d, d)
    found["decoder.cross_attention.kv.weight"] = (2 * d, d)
    found |= _linear("decoder.cross_attention.proj", d, d)
    found |= _linear("decoder.mlp.fc1", d, 4 * d) | _linear("decoder.mlp.fc2", 4 * d, d)
    for m in range(s.channels):
        for i in range(s.decoder_depth):
            block = f"decoder.decoders.{m}.{i}."
            found |= _norm(block + "norm1", d) | _linear(block + "attn.qkv", d, 3 * d)
            found |= _linear(block + "attn.proj", d, d) | _norm(block + "norm2", d)
            found |= _linear(block + "mlp.fc1", d, 4 * d) | _linear(block + "mlp.fc2", 4 * d, d)
    for name in ("context_norm", "query_norm", "out_norm"):
        found |= _norm(f"decoder.{name}", d)
    found |= _linear("encoder_decoder_proj", s.width, d)
    return found | _linear("decoder_pred", d, s.patch**2)


def random_weights(s: Size, *, seed: int) -> dict[str, np.ndarray]:
    """A value for each entry, from a generator of its own: [seed, crc32(name)].

    Matrices are normal with variance 1/inputs; norms lie around 1; biases, tokens and the residual
    scales are large, so that a bias in a wrong place or a forgotten scale shows.
    """
    values = {}
    for name, shape in shapes(s).items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        noise = rng.standard_normal(shape)
        if name.endswith(("pos_embed", "pos_embeddings")):
            values[name] = positions(shape[-1], s.grid, (shape[1] - 1) // s.grid**2)
            continue
        if name == "decoder.placeholder":  # fixed at zero
            noise = np.zeros(shape)
        elif name.endswith("norm.weight") or name.endswith(("norm1.weight", "norm2.weight")):
            noise = 1.0 + 0.2 * noise
        elif name.endswith("ls.gamma"):
            noise = 0.5 + 0.2 * noise
        elif name.endswith("weight"):
            noise /= np.sqrt(np.prod(shape[1:]))
        else:
            noise *= 0.5
        values[name] = noise.astype(np.float32)
    return values


def positions(width: int, grid: int, channels: int) -> np.ndarray:
    """The fixed position table [1, 1 + channels·grid², width]; zeros for the class token."""
    rows = []
    for y in range(grid):
        for x in range(grid):
            angle = [v / 10_000.0 ** (i / (width // 4)) for v in (y, x) for i in range(width // 4)]
            dy, dx = np.split(np.asarray(angle), 2)
            rows.append(np.concatenate([np.sin(dy), np.cos(dy), np.sin(dx), np.cos(dx)]))
    table = np.concatenate([np.zeros((1, width)), np.tile(np.stack(rows), (channels, 1))])
    return table[None].astype(np.float32)


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
