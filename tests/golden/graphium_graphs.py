"""Makes `graphium_graphs.npz`: what graphium's own featuriser gives for 200 molecules.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torch-geometric "torchmetrics<0.11"
        "setuptools<80" omegaconf pyyaml mup loguru pandas scipy lightning fastparquet networkx
        rdkit datamol hydra-core
    venv/bin/pip install --no-deps graphium==2.4.7
    venv/bin/python tests/golden/graphium_graphs.py

One-hot columns are kept as the place of their 1, to be compact. Molecules: every 15th of those that
come with datamol, and some with a metal, a charge, a radical, an isotope or one atom. Graphium
imports torch_scatter and such at the top; these are stubbed, but for the one function that it calls
here, which PyTorch has under another name. It keeps adjacency as float16 by default, which SciPy no
longer takes: float32 is asked for.
"""

import functools
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

    def attribute(wanted: str) -> object:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return type(wanted, (), {})

    module.__getattr__ = attribute
    sys.modules[name] = module


for stubbed in ("torch_scatter", "torch_sparse", "torch_cluster", "ogb"):
    _stub(stubbed)

import datamol as dm  # noqa: E402
import torch  # noqa: E402


def _scatter_add(src, index, dim, dim_size):
    return torch.zeros(dim_size, dtype=src.dtype).index_add(dim, index, src)


sys.modules["torch_scatter"].scatter_add = _scatter_add
from graphium.features import featurizer  # noqa: E402

featurizer.mol_to_adj_and_features = functools.partial(
    featurizer.mol_to_adj_and_features, dtype=np.float32
)
UNUSUAL = (
    *("C", "[13CH4]", "[CH3]", "[NH4+]", "[U]", "[La]", "N[Pt](N)(Cl)Cl", "O=[Os](=O)(=O)=O"),
    *("CCO.c1ccccc1", "C[N+](C)(C)C", "C/C=C/C", r"C/C=C\C", "CC=CC", "[O-][n+]1ccccc1", "[2H]C"),
    *("C[Si](C)(C)C", "OB(O)c1ccccc1", "C[Se]C", "[Fe+3]", "C#N", "[H][H]", "CC(=O)[O-].[Na+]"),
)
_LAPLACIAN = {
    "pos_level": "node",
    "num_pos": 8,
    "normalization": "none",
    "disconnected_comp": True,
}
# Graphium names its arrays after the type. Ours → graphium's.
NAMES = {
    "vectors": "laplacian_eigvec",
    "values": "laplacian_eigval",
    "walks": "rw_return_probs",
}
POSITIONS = {
    "pos_types": {
        "vectors": {"pos_type": NAMES["vectors"], **_LAPLACIAN},
        "values": {"pos_type": NAMES["values"], **_LAPLACIAN},
        "walks": {"pos_level": "node", "pos_type": NAMES["walks"], "ksteps": 16},
    }
}
ONE_HOT = ("atomic-number", "group", "period", "total-valence")
ONE_HOT_SIZES = (44, 20, 8, 8)
FLOATS = ("degree", "formal-charge", "radical-electron", "aromatic", "in-ring")
BONDS = ("bond-type-onehot", "stereo", "in-ring")
BOND_SIZES = (5, 7, 1)


def _codes(one_hot: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The place of each 1; a column of one number stays as it is."""
    parts = np.split(one_hot, np.cumsum(sizes)[:-1], axis=1)
    columns = [part[:, 0] if part.shape[1] == 1 else part.argmax(axis=1) for part in parts]
    return np.stack(columns, axis=1).astype(np.int8)


def main() -> None:
    shipped = [*dm.data.chembl_drugs()["smiles"], *dm.data.chembl_samples()["smiles"]]
    smiles = [*UNUSUAL, *map(str, shipped[::15])]
    arrays: dict[str, list[np.ndarray]] = {}
    used = []
    for text in smiles:
        if len(used) == 200:
            break
        graph = featurizer.mol_to_graph_dict(
            dm.to_mol(text, ordered=False),
            atom_property_list_onehot=list(ONE_HOT),
            atom_property_list_float=list(FLOATS),
            edge_property_list=list(BONDS),
            pos_encoding_as_features=POSITIONS,
            dtype=np.float32,
            on_error="raise",
            mask_nan=0.0,
        )
        if graph.num_nodes > 100:
            continue
        used.append(text)
        floats, one_hot = np.split(graph["feat"], [len(FLOATS)], axis=1)
        edges = graph["edge_feat"].reshape(-1, sum(BOND_SIZES))
        for name, array in {
            "one_hot": _codes(one_hot, ONE_HOT_SIZES),
            "floats": floats.astype(np.int8),
            "edges": _codes(edges, BOND_SIZES),
            "senders": graph.adj.row.astype(np.int16),
            "receivers": graph.adj.col.astype(np.int16),
            "n_node": np.array([graph.num_nodes], np.int16),
            "n_edge": np.array([len(edges)], np.int16),
            **{name: graph[theirs].astype(np.float16) for name, theirs in NAMES.items()},
        }.items():
            arrays.setdefault(name, []).append(array)
    path = pathlib.Path(__file__).with_suffix(".npz")
    together = {name: np.concatenate(each) for name, each in arrays.items()}
    np.savez_compressed(path, smiles=np.array(used, np.str_), **together)


if __name__ == "__main__":
    main()
