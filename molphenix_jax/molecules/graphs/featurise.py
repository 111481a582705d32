"""SMILES to graphs, in processes where there are many."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float16, Int, Int16, UInt8
from rdkit import Chem, rdBase

from molphenix_jax.molecules.graphs.encodings import encode_positions
from molphenix_jax.molecules.graphs.minimol import encode_minimol
from molphenix_jax.molecules.graphs.record import MolecularGraph, encode
from molphenix_jax.molecules.graphs.vocabulary import (
    BOND_TYPE_CODES,
    EDGE_COLUMNS,
    ELEMENT_CODES,
    N_EIGENVECTORS,
    NODE_COLUMNS,
    RANDOM_WALK_STEPS,
    STEREO_CODES,
)
from molphenix_jax.molecules.parallel import map_distinct

MAX_ATOMS = 128
_PLACEHOLDER = Chem.MolFromSmarts("[#0]")
_INDEX_LIMIT = np.iinfo(np.int16).max
# The columns that are numbers, and their limits.
_NUMBERS = NODE_COLUMNS[4:]
_LOWEST = np.array([column.lowest for column in _NUMBERS])
_LAST = np.array([column.size - 1 for column in _NUMBERS])
_VALENCE = NODE_COLUMNS[3]
# Columns of random walks, eigenvectors and eigenvalues in the positional encodings.
_WALKS_END, _VECTORS_END = RANDOM_WALK_STEPS, RANDOM_WALK_STEPS + N_EIGENVECTORS
_WIDTH = _VECTORS_END + N_EIGENVECTORS
_COLUMNS = slice(0, _WALKS_END), slice(_WALKS_END, _VECTORS_END), slice(_VECTORS_END, _WIDTH)


def featurise_graphs(
    smiles: Sequence[str], *, max_atoms: int = MAX_ATOMS, convention: str = "mpnn++"
) -> tuple[list[MolecularGraph | None], pd.DataFrame]:
    """The graph of each molecule.

    Args:
        smiles: n SMILES, repeats welcome (equal ones share their graph). They are taken as they
            are: pass the `smiles` column of `standardise` to have salts and charges settled.
        max_atoms: Molecules with more (hydrogens not counted) are rejected.
        convention: The network that they are for, of `CONVENTIONS`. Positions of "minimol" are
            those of `graphs.minimol`, and a number that the codes cannot hold is rejected there.

    Returns:
        n graphs, None for a rejected row; and one row per rejected one: row, field, value, reason.

    Raises:
        ValueError: `max_atoms` is not from 1 to 32,767.
    """
    return _mapped(graphs_of_chunk, smiles, max_atoms, convention)


def featurise_records(
    smiles: Sequence[str], *, max_atoms: int = MAX_ATOMS, convention: str = "mpnn++"
) -> tuple[list[bytes | None], pd.DataFrame]:
    """As `featurise_graphs`, with graphs as the bytes of `encode`."""
    return _mapped(_records, smiles, max_atoms, convention)


def _mapped(
    work: Callable[..., Sequence[Any]], smiles: Sequence[str], max_atoms: int, convention: str
) -> tuple[list[Any], pd.DataFrame]:
    """Results of the work, None for a rejected row, and the rejected rows."""
    if not 1 <= max_atoms <= _INDEX_LIMIT:
        raise ValueError(f"max_atoms is from 1 to {_INDEX_LIMIT}, not {max_atoms}")
    texts = [text if isinstance(text, str) else "" for text in smiles]
    results: list[Any] = []
    rows = []
    work = functools.partial(work, max_atoms=max_atoms, convention=convention)
    for row, result in enumerate(map_distinct(work, texts)):
        rejected = isinstance(result, str)
        results.append(None if rejected else result)
        if rejected:
            rows.append((row, "smiles", smiles[row], result))
    return results, pd.DataFrame(rows, columns=["row", "field", "value", "reason"])


def _records(smiles: Sequence[str], *, max_atoms: int, convention: str) -> list[bytes | str]:
    results = graphs_of_chunk(smiles, max_atoms=max_atoms, convention=convention)
    return [each if isinstance(each, str) else encode(each) for each in results]


def graphs_of_chunk(
    smiles: Sequence[str], *, max_atoms: int = MAX_ATOMS, convention: str = "mpnn++"
) -> list[MolecularGraph | str]:
    """The graph of each molecule, or why it is rejected; in this process, all together."""
    with rdBase.BlockLogs():
        read = [_read(text, max_atoms) for text in smiles]
        if convention == "minimol":
            read = [each if isinstance(each, str) else _if_held(each) for each in read]
    graphs = iter(_graphs([each for each in read if not isinstance(each, str)], convention))
    return [each if isinstance(each, str) else next(graphs) for each in read]


def _read(text: str, max_atoms: int) -> Chem.Mol | str:
    if not text.strip():
        return "no SMILES"
    mol = Chem.MolFromSmiles(text)
    if mol is None:
        return "not a valid SMILES"
    n_atoms = mol.GetNumAtoms()
    if n_atoms == 0:
        return "no atoms"
    if n_atoms > max_atoms:
        return f"{n_atoms} atoms, more than the {max_atoms} allowed"
    # "*" and "[#0]" are the two ways to write one.
    if ("*" in text or "#0" in text) and mol.HasSubstructMatch(_PLACEHOLDER):
        return "has a placeholder atom (*): a fragment or polymer, not a molecule"
    return mol


def _if_held(mol: Chem.Mol) -> Chem.Mol | str:
    """The molecule, or which of its numbers the codes would clip: MiniMol was fed the number."""
    for atom in mol.GetAtoms():
        numbers = (atom.GetTotalDegree(), atom.GetFormalCharge(), atom.GetNumRadicalElectrons())
        for column, number, less in zip(_NUMBERS, numbers, (2, 0, 0), strict=False):
            if not 0 <= number - less - column.lowest < column.size:
                name = column.name.replace("_", " ")
                return f"an atom {atom.GetSymbol()} has {name} {number}, beyond this encoder's"
    return mol


def _graphs(mols: Sequence[Chem.Mol], convention: str) -> list[MolecularGraph]:
    """Asks RDKit atom by atom and bond by bond, then computes with the arrays of all molecules."""
    if not mols:
        return []
    n_nodes = np.array([mol.GetNumAtoms() for mol in mols])
    n_bonds = np.array([mol.GetNumBonds() for mol in mols])
    nodes = _split(_node_codes(mols), n_nodes)
    ends, codes = _bonds(mols)
    # Two directed bonds for each: (a, b) and (b, a), next to one another.
    both_ways = np.stack([ends, ends[:, ::-1]], axis=1).reshape(-1, 2)
    directed = _split(both_ways, 2 * n_bonds)
    edges = _split(np.repeat(codes, 2, axis=0), 2 * n_bonds)
    graphs = []
    each = zip(nodes, edges, directed, _positions(mols, directed, convention), strict=True)
    for mol_nodes, mol_edges, pairs, position in each:
        rwse, vectors, values = (position[:, columns] for columns in _COLUMNS)
        graphs.append(
            MolecularGraph(mol_nodes, mol_edges, pairs[:, 0], pairs[:, 1], rwse, vectors, values)
        )
    return graphs


def _split(rows: np.ndarray, lengths: Int[np.ndarray, " m"]) -> list[np.ndarray]:
    ends = np.cumsum(lengths).tolist()
    return [rows[start:end] for start, end in itertools.pairwise([0, *ends])]


def _node_codes(mols: Sequence[Chem.Mol]) -> UInt8[np.ndarray, "n c"]:
    # RDKit's own iterators over atoms and bonds cost more than all that is asked of these.
    facts = np.array(
        [
            (
                atom.GetAtomicNum(),
                atom.GetTotalValence(),
                atom.GetTotalDegree(),
                atom.GetFormalCharge(),
                atom.GetNumRadicalElectrons(),
                atom.GetIsAromatic(),
                atom.IsInRing(),
            )
            for mol in mols
            for atom in map(mol.GetAtomWithIdx, range(mol.GetNumAtoms()))
        ],
        np.int32,
    )
    number, valence, numbers = facts[:, 0], facts[:, 1], facts[:, 2:]
    numbers[:, 0] -= 2  # degree, less that of a carbon in a chain
    codes = np.empty((len(facts), len(NODE_COLUMNS)), np.uint8)
    codes[:, :3] = ELEMENT_CODES[number]
    codes[:, 3] = np.minimum(valence, _VALENCE.size - 1)
    codes[:, 4:] = np.clip(numbers - _LOWEST, 0, _LAST)
    return codes


def _bonds(
    mols: Sequence[Chem.Mol],
) -> tuple[Int16[np.ndarray, "b 2"], UInt8[np.ndarray, "b d"]]:
    """Both ends and codes of each bond."""
    other_type, other_stereo = (column.size - 1 for column in EDGE_COLUMNS[:2])
    facts = [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            BOND_TYPE_CODES.get(bond.GetBondType(), other_type),
            STEREO_CODES.get(bond.GetStereo(), other_stereo),
            bond.IsInRing(),
        )
        for mol in mols
        for bond in map(mol.GetBondWithIdx, range(mol.GetNumBonds()))
    ]
    array = np.array(facts, np.int16).reshape(-1, 2 + len(EDGE_COLUMNS))
    return array[:, :2], array[:, 2:].astype(np.uint8)


def _positions(
    mols: Sequence[Chem.Mol], directed: Sequence[Int16[np.ndarray, "_ 2"]], convention: str
) -> list[Float16[np.ndarray, "_ p"]]:
    """Positional encodings, by connected component.

    Eigenvectors of a repeated eigenvalue (two methyls on one carbon, twice in a molecule, suffice)
    are any basis of their space: which one, depends on the order of the rows. So they are computed
    in RDKit's canonical order, and come out the same however the SMILES was written.
    """
    encodings = [np.empty((mol.GetNumAtoms(), _WIDTH), np.float16) for mol in mols]
    places: list[tuple[int, np.ndarray]] = []
    adjacency = []
    for i, (mol, pairs) in enumerate(zip(mols, directed, strict=True)):
        rank = np.array(Chem.CanonicalRankAtoms(mol))
        order = np.argsort(rank)
        whole = np.zeros((len(rank), len(rank)), np.float32)
        whole[rank[pairs[:, 0]], rank[pairs[:, 1]]] = 1.0
        for part in Chem.GetMolFrags(mol):
            if len(part) == len(rank):
                places.append((i, order))
                adjacency.append(whole)
            else:
                ranks = np.sort(rank[list(part)])
                places.append((i, order[ranks]))
                adjacency.append(whole[np.ix_(ranks, ranks)])
    encode = encode_minimol if convention == "minimol" else encode_positions
    for (i, atoms), rows in zip(places, encode(adjacency), strict=True):
        encodings[i][atoms] = rows
        if convention == "minimol" and len(atoms) == 1 < len(encodings[i]):
            # graphium's walks stay at the only atom of a molecule, and die on a lone ion of a salt.
            encodings[i][atoms, :_WALKS_END] = 0
    return encodings
