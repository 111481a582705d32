"""Sizes of the molecule encoder, and what muP (Yang et al., arXiv 2203.03466) asks of each.

Width is what grows. With Adam, under muP, every activation and every update of it keeps its size
whatever the width, so a learning rate that was tuned at `BASE_WIDTH` holds at every other:

- kernels whose inputs and outputs both grow ("hidden"): variance 1 / fan-in, learning rate divided
  by width / BASE_WIDTH. `mup_lr_rules` gives the patterns for `train.lr_rules`.
- kernels from a fixed input (atom codes, positional encodings), biases, norms: as usual.
- readouts: the output is divided by width / BASE_WIDTH, `layers.Readout`.
- attention: logits are divided by the head's width and not by its root, as in graphium.
"""

import dataclasses

BASE_WIDTH = 128

# Parameters of the layers, all of them hidden kernels.
LAYER_RULE = r"/layer_\d+/.*kernel$"

NETWORKS = ("mpnn++", "minimol")
ACTIVATIONS = ("relu", "gelu")
NORMS = ("layer", "graph")
POOLINGS = ("sum", "mean")


@dataclasses.dataclass(frozen=True)
class MPNNConfig:
    """An encoder of molecular graphs.

    Attributes:
        node_codes: How many values each atom code can take (the featuriser's vocabulary).
        edge_codes: The same of the bond codes.
        width: Channels of an atom; a bond has half.
        depth: Message passing layers.
        out_width: Size of a molecule's embedding.
        expansion: Hidden over outer width of the MLPs within a layer.
        activation: relu or gelu.
        norm: layer (each row for itself) or graph (over the atoms or bonds of a molecule).
        virtual_node: Whether each molecule has a state of its own that all its atoms and bonds read
            and write, layer by layer (the global update of GPS++).
        attention_heads: Heads of the attention between all atoms of a molecule; 0 leaves it out.
        attention_max_nodes: Atoms of the largest molecule, with attention.
        pooling: Atoms to molecule: sum or mean.
        dropout: Of each layer's node update and of the output MLP.
        edge_dropout: Of each layer's edge update.
        positional: Which positional encodings are read, of rwse and laplacian.
        remat: Whether layers are computed again in the backward pass to save memory.
        network: mpnn++, or minimol, for which only sizes, activation, dropout and remat
            count; graphs are those of the convention of the same name.
    """

    node_codes: tuple[int, ...]
    edge_codes: tuple[int, ...]
    width: int
    depth: int
    out_width: int
    expansion: int = 4
    activation: str = "gelu"
    norm: str = "layer"
    virtual_node: bool = True
    attention_heads: int = 0
    attention_max_nodes: int = 128
    pooling: str = "sum"
    dropout: float = 0.1
    edge_dropout: float = 0.0035
    positional: tuple[str, ...] = ("rwse", "laplacian")
    remat: bool = False
    network: str = "mpnn++"

    @property
    def edge_width(self) -> int:
        """Channels of a bond."""
        return self.width // 2

    @property
    def width_ratio(self) -> float:
        """Width over the width that learning rates are given for."""
        return self.width / BASE_WIDTH


# Name → width, depth, size of the embedding. MolGPS grew by width from a 10M model that was tuned
# once; "10m" has width and depth of graphium's 16-layer config (docs/method.md §10), "1m" is for
# laptops, "tiny" for tests.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 16, "depth": 2, "out_width": 16},
    "1m": {"width": 80, "depth": 4, "out_width": 256},
    "10m": {"width": 128, "depth": 16, "out_width": 512},
    "30m": {"width": 224, "depth": 16, "out_width": 512},
    "100m": {"width": 400, "depth": 16, "out_width": 1024},
    "300m": {"width": 704, "depth": 16, "out_width": 1024},
    "1b": {"width": 1280, "depth": 16, "out_width": 2048},
}


def mup_lr_rules(width: int, *, prefix: str = "") -> tuple[tuple[str, float], ...]:
    """Patterns and learning-rate factors of an encoder of this width, for `train.lr_rules`.

    Args:
        width: Channels of an atom.
        prefix: Pattern of the path above the encoder's parameters.
    """
    factor = BASE_WIDTH / width
    return (
        (prefix + LAYER_RULE, factor),
        (prefix + r"/(nodes_in|edges_in)/out/kernel$", factor),
        (prefix + r"/graph_out/(hidden|out)/kernel$", factor),
    )
