"""MiniMol's weights laid into our parameters, by strict rules.

`state_dict.pth` of the package `minimol` (Graphcore, MIT licence; arXiv 2404.14986) has the network
and the heads that it was pretrained with; the heads are left out. Read it by
`conversion.read_state`.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

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
from molphenix_jax.models.mpnn.config import MPNNConfig
from molphenix_jax.models.mpnn.first_states import POSITIONAL_WIDTH
from molphenix_jax.models.mpnn.graphs import GraphsTuple
from molphenix_jax.models.mpnn.networks import molecule_encoder

CHECKPOINT = "minimol/ckpts/minimol_v1/state_dict.pth"
# graphium's dropout when MiniMol was trained; it counts where it is trained on.
_DROPOUT = 0.02
# muP: what a molecule tells its atoms is divided by its width over that of graphium's base model.
_BASE_WIDTH = 168


class CodeColumn(Protocol):
    """What is asked of a column of codes: see `molecules.graphs.Column`."""

    @property
    def size(self) -> int:
        """How many values there are."""
        ...

    @property
    def lowest(self) -> int:
        """The number that code 0 stands for."""
        ...

    @property
    def has_unknown(self) -> bool:
        """Whether it is a choice, and no number."""
        ...


class ConvertedMiniMol(NamedTuple):
    """Sizes and parameters, and the entries of the file that the network does not read."""

    config: MPNNConfig
    params: dict[str, Any]
    unused: tuple[str, ...]


def _scalar(a: np.ndarray) -> np.ndarray:
    return a.reshape(())


def _dense(theirs: str, ours: str) -> list[Rule]:
    return [
        (theirs + r"\.weight", ours + "/kernel", matrix),
        (theirs + r"\.bias", ours + "/bias", same),
    ]


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [
        (theirs + r"\.weight", ours + "/scale", same),
        (theirs + r"\.bias", ours + "/bias", same),
    ]


_POSITIONS = r"model\.encoder_manager\.pe_encoders\."
_LAPLACIAN, _WALKS = _POSITIONS + r"la_pos\.", _POSITIONS + r"rw_pos\."
_LAYER = r"model\.gnn\.layers\.(?P<i>\d+)\."
_STATE = r"model\.gnn\.virtual_node_layers\.(?P<i>\d+)\."
_RULES: list[Rule] = [
    *_dense(_LAPLACIAN + r"linear_in\.linear", "laplacian/pair"),
    *_dense(_LAPLACIAN + r"pe_encoder\.fully_connected\.0\.linear", "laplacian/hidden"),
    *_dense(_LAPLACIAN + r"pe_encoder\.fully_connected\.1\.linear", "laplacian/out"),
    *_dense(_LAPLACIAN + r"post_mlp\.fully_connected\.0\.linear", "laplacian/post"),
    *_norm(_WALKS + r"pe_encoder\.first_normalization", "rwse/norm_in"),
    *_dense(_WALKS + r"pe_encoder\.fully_connected\.0\.linear", "rwse/hidden"),
    *_norm(_WALKS + r"pe_encoder\.fully_connected\.0\.normalization", "rwse/norm"),
    *_dense(_WALKS + r"pe_encoder\.fully_connected\.1\.linear", "rwse/out"),
    *_norm(_WALKS + r"pe_encoder\.fully_connected\.1\.normalization", "rwse/norm_out"),
    *(
        rule
        for theirs, ours in (
            (r"model\.pre_nn\.", "nodes_in"),
            (r"model\.pre_nn_edges\.", "edges_in"),
        )
        for rule in (
            (theirs + r"layers\.0\.linear\.weight", ours + "/first", matrix),
            (theirs + r"layers\.0\.linear\.bias", ours + "/bias", same),
            *_norm(theirs + r"layers\.0\.normalization", ours + "/norm"),
            *_dense(theirs + r"layers\.1\.linear", ours + "/out"),
            *_norm(theirs + r"layers\.1\.normalization", ours + "/norm_out"),
        )
    ),
    (_LAYER + r"model\.eps", "layer_{i}/eps", _scalar),
    *_dense(_LAYER + r"model\.lin", "layer_{i}/bond"),
    *_dense(_LAYER + r"model\.nn\.fully_connected\.0\.linear", "layer_{i}/hidden"),
    *_norm(_LAYER + r"model\.nn\.fully_connected\.0\.normalization", "layer_{i}/norm_hidden"),
    *_dense(_LAYER + r"model\.nn\.fully_connected\.1\.linear", "layer_{i}/out"),
    *_norm(_LAYER + r"norm_layer", "layer_{i}/norm"),
    *_dense(_STATE + r"fc_layer\.linear", "molecule_{i}/state"),
    *_norm(_STATE + r"fc_layer\.normalization", "molecule_{i}/norm"),
    *_dense(_STATE + r"node_projection", "molecule_{i}/told"),
    # graphium makes this norm, and its encoder's MLP has another that is called.
    (_WALKS + r"first_normalization\.(weight|bias)", None, same),
    (r"model\.task_heads\..*", None, same),
]


def convert(
    state: StateDict, *, atoms: Sequence[CodeColumn], bonds: Sequence[CodeColumn]
) -> ConvertedMiniMol:
    """Lays the arrays of MiniMol's checkpoint into our parameters.

    Args:
        state: Name → array.
        atoms: Columns of the atoms' codes (`molecules.graphs.NODE_COLUMNS`): choices, then numbers.
        bonds: Columns of the bonds' codes.

    Raises:
        EncoderFileError: An entry that no rule knows, a parameter that no entry fills, or a shape
            that does not fit; each is named.
    """
    laid = lay(state, _RULES, whose="MiniMol")
    unused = tuple(each.name for each in laid if each.target is None)
    found = {each.target: each.value for each in laid if each.target is not None}
    layers = [int(m[1]) for name in found if (m := re.fullmatch(r"layer_(\d+)/eps", name))]
    sized = (
        "layer_0/norm/scale",
        f"layer_{max(layers, default=0)}/norm/scale",
        "edges_in/out/bias",
    )
    refuse("the file lacks", [name for name in sized if name not in found])
    width, out_width, edge_width = (len(found[name]) for name in sized)
    if edge_width * 2 != width:
        refuse("bonds are half as wide as atoms", [f"{edge_width} beside {width}"])
    config = MPNNConfig(
        node_codes=tuple(column.size for column in atoms),
        edge_codes=tuple(column.size for column in bonds),
        width=width,
        depth=max(layers) + 1,
        out_width=out_width,
        dropout=_DROPOUT,
        network="minimol",
    )
    for name, columns, n_before in (("nodes_in", atoms, POSITIONAL_WIDTH), ("edges_in", bonds, 0)):
        kernel = found.pop(f"{name}/first", np.zeros((0, 0)))
        n_inputs = n_before + sum(c.size if c.has_unknown else 1 for c in columns)
        if len(kernel) != n_inputs:
            refuse(
                "the first layer takes other features", [f"{name}: {len(kernel)}, not {n_inputs}"]
            )
        if n_before:
            found[f"{name}/position/kernel"] = kernel[:n_before]
        # graphium has the numbers of atoms before the choices, and those of bonds behind.
        found[f"{name}/codes/kernel"] = _codes_kernel(
            kernel[n_before:], columns, numbers_first=name == "nodes_in"
        )
    for i in range(config.depth - 1):
        told = f"molecule_{i}/told/kernel"
        if told in found:
            found[told] = found[told] * np.float32(_BASE_WIDTH / width)
    need_same_shapes(found, traverse_util.flatten_dict(_shapes(config)["params"], sep="/"))
    params = {"params": traverse_util.unflatten_dict(found, sep="/")}
    return ConvertedMiniMol(config, params, unused)


def _codes_kernel(
    kernel: Float[np.ndarray, "k h"], columns: Sequence[CodeColumn], *, numbers_first: bool
) -> Float[np.ndarray, "s h"]:
    """Rows for each code: of a choice the file's own, of a number its row times the number."""
    n_numbers = sum(not column.has_unknown for column in columns)
    cut = n_numbers if numbers_first else len(kernel) - n_numbers
    first, second = np.split(kernel, [cut])
    numbers, choices = (first, second) if numbers_first else (second, first)
    values = [
        np.arange(column.size, dtype=np.float32) + np.float32(column.lowest)
        for column in columns
        if not column.has_unknown
    ]
    rows = [value[:, None] * row[None, :] for value, row in zip(values, numbers, strict=True)]
    return np.concatenate([choices, *rows])


def _shapes(config: MPNNConfig) -> Any:
    """Our parameters as shapes, from one atom beside padding."""
    floats = {"rwse": 16, "lap_vectors": 8, "lap_values": 8}
    nodes = {name: jnp.zeros((2, width)) for name, width in floats.items()}
    nodes["codes"] = jnp.zeros((2, len(config.node_codes)), jnp.uint8)
    graph = GraphsTuple(
        nodes=nodes,
        edges={"codes": jnp.zeros((1, len(config.edge_codes)), jnp.uint8)},
        senders=jnp.ones(1, jnp.int32),
        receivers=jnp.ones(1, jnp.int32),
        n_node=jnp.ones(2, jnp.int32),
        n_edge=jnp.asarray([0, 1], jnp.int32),
        globals={},
    )
    model = molecule_encoder(config)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), graph))
