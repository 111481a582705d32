"""OpenPhenom's weights: read from its file and laid into our parameters, by strict rules.

The published `model.safetensors` (recursionpharma/OpenPhenom, non-commercial licence) is a torch
pickle `{"state_dict": …}`; it is read by `storage.tensors`, which runs no code of the file.
Names and shapes: docs/method.md §9.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from molphenix_jax.models.conversion import (
    Rule,
    StateDict,
    lay,
    matrix,
    need_same_shapes,
    refuse,
    same,
)
from molphenix_jax.models.vit.config import PRESETS, EncoderConfig, MAEConfig
from molphenix_jax.models.vit.mae import MAE, random_mask
from molphenix_jax.models.vit.tokens import position_encoding


class Converted(NamedTuple):
    """Sizes and parameters, and the entries of the file that no forward pass uses."""

    config: MAEConfig
    params: dict[str, Any]
    unused: tuple[str, ...]


def _patches(a: np.ndarray) -> np.ndarray:
    """A convolution of one channel with stride = kernel is a matrix on flattened patches."""
    return a.reshape(len(a), -1).T


def _token(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1)


# A group `channel` says at which place of the parameter's first axis the array stands.
_VIT = r"encoder\.vit_backbone\."
_BLOCK = _VIT + r"blocks\.(?P<i>\d+)\."
_CHANNEL = r"decoder\.decoders\.(?P<channel>\d+)\.(?P<i>\d+)\."
_ENCODER, _DECODER = "encoder/block_{i}/", "decoders/block_{i}/"
_RULES: list[Rule] = [
    (_VIT + r"cls_token", "encoder/class_token", _token),
    (_VIT + r"patch_embed\.proj\.weight", "encoder/patch_embed/kernel", _patches),
    (_VIT + r"patch_embed\.proj\.bias", "encoder/patch_embed/bias", same),
    (_BLOCK + r"(?P<norm>in|q|k)_norm\.weight", _ENCODER + "{norm}_norm/scale", same),
    (_BLOCK + r"(?P<norm>in|q|k)_norm\.bias", _ENCODER + "{norm}_norm/bias", same),
    (_BLOCK + r"in_proj\.weight", _ENCODER + "in_proj/kernel", matrix),
    (_BLOCK + r"mlp_bias", _ENCODER + "mlp_bias", same),
    (_BLOCK + r"(?P<part>attn|mlp)_out_proj\.weight", _ENCODER + "{part}_out/kernel", matrix),
    (_BLOCK + r"(?P<part>attn|mlp)_out_proj\.bias", _ENCODER + "{part}_out/bias", same),
    (_BLOCK + r"ls\.gamma", _ENCODER + "scale", same),
    (r"encoder_decoder_proj\.weight", "project/kernel", matrix),
    (r"encoder_decoder_proj\.bias", "project/bias", same),
    (r"decoder\.mask_token", "mask_token", _token),
    (r"decoder\.modality_tokens\.(?P<channel>\d+)", "channel_tokens", _token),
    (r"decoder\.cross_attention\.(?P<part>q|kv)\.weight", "cross_attention/{part}/kernel", matrix),
    (r"decoder\.cross_attention\.proj\.weight", "cross_attention/out/kernel", matrix),
    (r"decoder\.cross_attention\.proj\.bias", "cross_attention/out/bias", same),
    (r"decoder\.mlp\.fc1\.weight", "mlp/up/kernel", matrix),
    (r"decoder\.mlp\.fc1\.bias", "mlp/up/bias", same),
    (r"decoder\.mlp\.fc2\.weight", "mlp/down/kernel", matrix),
    (r"decoder\.mlp\.fc2\.bias", "mlp/down/bias", same),
    (r"decoder\.(?P<norm>context|query|out)_norm\.weight", "{norm}_norm/scale", same),
    (r"decoder\.(?P<norm>context|query|out)_norm\.bias", "{norm}_norm/bias", same),
    (_CHANNEL + r"norm(?P<k>[12])\.weight", _DECODER + "norm{k}/scale", same),
    (_CHANNEL + r"norm(?P<k>[12])\.bias", _DECODER + "norm{k}/bias", same),
    (_CHANNEL + r"attn\.qkv\.weight", _DECODER + "qkv/kernel", matrix),
    (_CHANNEL + r"attn\.qkv\.bias", _DECODER + "qkv/bias", same),
    (_CHANNEL + r"attn\.proj\.weight", _DECODER + "attn_out/kernel", matrix),
    (_CHANNEL + r"attn\.proj\.bias", _DECODER + "attn_out/bias", same),
    (_CHANNEL + r"mlp\.fc1\.weight", _DECODER + "mlp/up/kernel", matrix),
    (_CHANNEL + r"mlp\.fc1\.bias", _DECODER + "mlp/up/bias", same),
    (_CHANNEL + r"mlp\.fc2\.weight", _DECODER + "mlp/down/kernel", matrix),
    (_CHANNEL + r"mlp\.fc2\.bias", _DECODER + "mlp/down/bias", same),
    (r"decoder_pred\.weight", "predict/kernel", matrix),
    (r"decoder_pred\.bias", "predict/bias", same),
    # Fixed positions, which we compute: `_check_positions`.
    (_VIT + r"pos_embed", None, same),
    (r"decoder\.pos_embeddings", None, same),
    # timm makes this norm for a pooled head that OpenPhenom does not call (docs/method.md §9).
    (_VIT + r"fc_norm\.(weight|bias)", None, same),
    # Channel token of the class token, which no output reads.
    (r"decoder\.placeholder", None, same),
]


def convert(state: StateDict) -> Converted:
    """Lays the arrays of an OpenPhenom checkpoint into our parameters.

    Sizes are read off the shapes; only the decoder's heads do not show there and are OpenPhenom's.

    Raises:
        EncoderFileError: An entry that no rule knows, a parameter that no entry fills, a shape that
            does not fit, or positions that are not ours; each is named.
    """
    found: dict[str, np.ndarray] = {}
    stacked: dict[str, dict[int, np.ndarray]] = {}
    unused = []
    for each in lay(state, _RULES, whose="OpenPhenom"):
        if each.target is None:
            unused.append(each.name)
        elif "channel" in each.groups:
            stacked.setdefault(each.target, {})[int(each.groups["channel"])] = each.value
        else:
            found[each.target] = each.value
    config = _sizes(state)
    wrong = []
    for target, parts in stacked.items():
        if sorted(parts) != list(range(config.channels)):
            wrong.append(f"{target} for channels {sorted(parts)} of {config.channels}")
        elif len({part.shape for part in parts.values()}) > 1:
            wrong.append(f"{target}, whose shape differs from channel to channel")
        else:
            found[target] = np.stack([parts[channel] for channel in range(config.channels)])
    refuse("the file does not hold whole decoders", wrong)
    expected: dict[str, Any] = dict(traverse_util.flatten_dict(_shapes(config)["params"], sep="/"))
    need_same_shapes(found, expected)
    _check_positions(state, config)
    params = {"params": traverse_util.unflatten_dict(found, sep="/")}
    return Converted(config, params, tuple(unused))


def _sizes(state: StateDict) -> MAEConfig:
    needed = {
        "patch": "encoder.vit_backbone.patch_embed.proj.weight",
        "head": "encoder.vit_backbone.blocks.0.q_norm.weight",
        "mlp": "encoder.vit_backbone.blocks.0.mlp_bias",
        "decoder": "decoder.mask_token",
        "channel": "decoder.modality_tokens.0",
        "decoder_block": "decoder.decoders.0.0.norm1.weight",
    }
    refuse("the file lacks", [name for name in needed.values() if name not in state])
    width, _, patch, _ = state[needed["patch"]].shape
    decoder_heads = PRESETS["openphenom"].heads

    def count(pattern: str) -> int:
        return 1 + max(int(m[1]) for name in state if (m := re.match(pattern, name)))

    return MAEConfig(
        EncoderConfig(
            width=width,
            depth=count(r"encoder\.vit_backbone\.blocks\.(\d+)\."),
            heads=width // state[needed["head"]].shape[0],
            patch=patch,
            expansion=state[needed["mlp"]].shape[0] // width,
            drop_path=PRESETS["openphenom"].encoder.drop_path,
        ),
        channels=count(r"decoder\.modality_tokens\.(\d+)"),
        width=state[needed["decoder"]].shape[-1],
        depth=count(r"decoder\.decoders\.0\.(\d+)\."),
        heads=decoder_heads,
    )


def _shapes(config: MAEConfig) -> Any:
    """Our parameters as shapes."""
    side, key = config.encoder.patch * 2, jax.random.key(0)
    images = jnp.zeros((1, config.channels, side, side))
    mask = random_mask(key, n=1, tokens=4 * config.channels, ratio=config.mask_ratio)
    return jax.eval_shape(lambda: MAE(config).init(key, images, mask))


def _check_positions(state: StateDict, config: MAEConfig) -> None:
    wrong = []
    for name, width in (
        ("encoder.vit_backbone.pos_embed", config.encoder.width),
        ("decoder.pos_embeddings", config.width),
    ):
        if name in state and not _is_our_table(state[name], width):
            wrong.append(f"{name} {state[name].shape}")
    refuse("these positions are not the fixed sines and cosines that are computed here", wrong)


def _is_our_table(table: Float[np.ndarray, "1 t w"], width: int) -> bool:
    """Zeros for the class token, then the table of a square grid, once for each channel."""
    if table.ndim != 3 or table.shape[::2] != (1, width):
        return False
    rows = table[0, 1:]
    # The sine of x's fastest angle is 0 in the first column of each row of patches.
    starts = np.flatnonzero(np.abs(rows[:, width // 2]) < 1e-6)
    side = int(starts[1]) if len(starts) > 1 else len(rows)
    if len(rows) % side**2:
        return False
    ours = np.tile(position_encoding(width, side, side), (len(rows) // side**2, 1))
    return bool(np.abs(table[0, 0]).max() < 1e-6 and np.abs(rows - ours).max() < 1e-4)
