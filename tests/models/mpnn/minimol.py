"""Golden molecules of `tests/golden/minimol` as graphs, and its random weights."""

import importlib.util
import pathlib
from typing import Any

import numpy as np

from molphenix_jax.bench.minimol import as_graphs
from molphenix_jax.molecules.graphs import MolecularGraph

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "golden" / "minimol"


def random_weights(depth: int = 16) -> dict[str, np.ndarray]:
    """Under the names of MiniMol's; with fewer layers they compile sooner."""
    spec = importlib.util.spec_from_file_location("minimol_weights", FOLDER / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_weights(depth)


def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "outputs.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def graphs(arrays: dict[str, np.ndarray]) -> list[MolecularGraph]:
    """The golden features as graphs, atoms in their order and not the SMILES'."""
    return as_graphs(arrays)
