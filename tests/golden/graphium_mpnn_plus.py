"""Makes `graphium_mpnn_plus.npz`: what graphium's own layers give for fixed weights and graphs.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torch-geometric "torchmetrics<0.11"
        "setuptools<80" omegaconf pyyaml mup loguru pandas scipy lightning fastparquet networkx
        rdkit datamol ogb hydra-core
    venv/bin/pip install --no-deps graphium==2.4.7
    venv/bin/python tests/golden/graphium_mpnn_plus.py

The layers are graphium's `MPNNPlusPyg` (GPS++) and its wrapper `GPSLayerPyg` without attention,
both in evaluation mode. They import torch_scatter, torch_sparse and torch_cluster at the top and
use none of them here, so these are stubbed. Weights are drawn at random, norms included: with
graphium's own initialisation (norms at 1 and 0, biases at 0) a swapped norm or a lost bias would
not show.
"""

import importlib.machinery
import pathlib
import sys
import types

import numpy as np


def _stub(name: str) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = "0"
    module.__file__ = f"{name}.py"
    module.SparseTensor = type("SparseTensor", (), {})

    def attribute(wanted: str) -> object:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return lambda *_, **__: None

    module.__getattr__ = attribute
    sys.modules[name] = module


for stubbed in ("torch_scatter", "torch_sparse", "torch_cluster"):
    _stub(stubbed)

import torch  # noqa: E402
from graphium.nn.pyg_layers import GPSLayerPyg, MPNNPlusPyg  # noqa: E402
from torch_geometric.data import Batch, Data  # noqa: E402

NODE_WIDTH, EDGE_WIDTH = 16, 8
# Atoms and bonds of ethanol, cyclopropane with a methyl, methane (no bond) and benzene.
MOLECULES = (
    (3, [(0, 1), (1, 2)]),
    (4, [(0, 1), (1, 2), (2, 0), (2, 3)]),
    (1, []),
    (6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]),
)


def _batch(generator: torch.Generator) -> Batch:
    graphs = []
    for n_atoms, bonds in MOLECULES:
        both = bonds + [(b, a) for a, b in bonds]
        index = torch.tensor(both, dtype=torch.long).reshape(-1, 2).T
        graphs.append(
            Data(
                feat=torch.randn(n_atoms, NODE_WIDTH, generator=generator),
                edge_feat=torch.randn(len(both), EDGE_WIDTH, generator=generator),
                edge_index=index,
                num_nodes=n_atoms,
            )
        )
    return Batch.from_data_list(graphs)


def _randomise(layer: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(0.3 * noise + (1.0 if "normalization.weight" in name else 0.0))


def main() -> None:
    """Runs both layers and writes inputs, weights and outputs beside this file."""
    generator = torch.Generator().manual_seed(0)
    batch = _batch(generator)
    mpnn = {
        "in_dim": NODE_WIDTH,
        "out_dim": NODE_WIDTH,
        "in_dim_edges": EDGE_WIDTH,
        "out_dim_edges": EDGE_WIDTH,
        "activation": "gelu",
        "normalization": "layer_norm",
        "dropout": 0.1,
    }
    layers = {
        "mpnn": MPNNPlusPyg(**mpnn),
        "gps": GPSLayerPyg(
            in_dim=NODE_WIDTH,
            out_dim=NODE_WIDTH,
            in_dim_edges=EDGE_WIDTH,
            out_dim_edges=EDGE_WIDTH,
            activation="gelu",
            normalization="layer_norm",
            dropout=0.1,
            node_residual=False,
            mpnn_type="pyg:mpnnplus",
            mpnn_kwargs=mpnn,
            attn_type="none",
        ),
    }
    arrays = {
        "nodes": batch.feat.numpy(),
        "edges": batch.edge_feat.numpy(),
        "senders": batch.edge_index[0].numpy().astype(np.int32),
        "receivers": batch.edge_index[1].numpy().astype(np.int32),
        "n_node": np.array([n for n, _ in MOLECULES], np.int32),
        "n_edge": np.array([2 * len(bonds) for _, bonds in MOLECULES], np.int32),
    }
    for name, layer in layers.items():
        _randomise(layer, generator)
        layer.eval()
        with torch.no_grad():
            out = layer(batch.clone())
        arrays[f"{name}/out/nodes"] = out.feat.numpy()
        arrays[f"{name}/out/edges"] = out.edge_feat.numpy()
        for key, value in layer.state_dict().items():
            arrays[f"{name}/weights/{key}"] = value.numpy()
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
