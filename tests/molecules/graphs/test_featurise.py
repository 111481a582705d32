import numpy as np
import pytest
from rdkit import Chem

from molphenix_jax.molecules.graphs import (
    EDGE_COLUMNS,
    EDGE_SIZES,
    NODE_COLUMNS,
    NODE_SIZES,
    MolecularGraph,
    featurise_graphs,
)
from molphenix_jax.molecules.graphs.record import decode, encode

DRUGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)(C)c1cc(C(C)(C)C)c(O)c(C(C)(C)C)c1",
    "C[C@@H](O)/C=C/C#N",
    "C12C3C4C1C5C2C3C45",  # cubane: every eigenvalue but two is repeated
    "C1C2CC3CC1CC(C2)C3",
)


def one(smiles: str) -> MolecularGraph:
    graphs, rejected = featurise_graphs([smiles])
    assert not len(rejected)
    assert graphs[0] is not None
    return graphs[0]


def node(graph: MolecularGraph, name: str) -> list[int]:
    """A column as the numbers that its codes stand for."""
    i = [column.name for column in NODE_COLUMNS].index(name)
    return (graph.nodes[:, i].astype(int) + NODE_COLUMNS[i].lowest).tolist()


def edge(graph: MolecularGraph, name: str) -> list[int]:
    return graph.edges[:, [column.name for column in EDGE_COLUMNS].index(name)].tolist()


def test_codes_of_a_small_molecule():
    graph = one("C[C@H](F)/C=C/[O-]")
    assert node(graph, "atomic_number") == [0, 0, 4, 0, 0, 2]
    assert node(graph, "group") == [14, 14, 17, 14, 14, 16]
    assert node(graph, "period") == [2] * 6
    assert node(graph, "valence") == [4, 4, 1, 4, 4, 1]
    assert node(graph, "degree") == [2, 2, -1, 1, 1, -1]
    assert node(graph, "charge") == [0, 0, 0, 0, 0, -1]
    assert edge(graph, "bond_type") == [0, 0, 0, 0, 0, 0, 1, 1, 0, 0]
    assert edge(graph, "stereo") == [0, 0, 0, 0, 0, 0, 3, 3, 0, 0]
    assert graph.senders.tolist() == [0, 1, 1, 2, 1, 3, 3, 4, 4, 5]
    assert graph.receivers.tolist() == [1, 0, 2, 1, 3, 1, 4, 3, 5, 4]


def test_rings_are_told():
    graph = one("Cc1ccccc1")
    assert node(graph, "aromatic") == node(graph, "in_ring") == [0] + [1] * 6
    assert edge(graph, "bond_type") == [0, 0] + [3] * 12
    assert edge(graph, "in_ring") == [0, 0] + [1] * 12


@pytest.mark.parametrize(
    ("smiles", "column", "values"),
    [
        ("[CH3]", "radical_electrons", [1]),
        ("[13CH4]", "atomic_number", [0]),
        ("[2H]C", "atomic_number", [29, 0]),
        ("[U]", "atomic_number", [43]),
        ("[U]", "group", [19]),
        ("[La]", "group", [3]),
        ("[Og]", "group", [18]),
        ("[He]", "period", [1]),
        ("[Fe+3]", "charge", [3]),
        ("[Os+8]", "charge", [4]),  # clipped
        ("O=[Os](=O)(=O)=O", "valence", [2, 7, 2, 2, 2]),  # 7: "more than 6"
    ],
)
def test_unusual_atoms(smiles, column, values):
    assert node(one(smiles), column) == values


def test_codes_stay_in_their_columns():
    smiles = [*DRUGS, "[U]", "[Og]", "O=[Os](=O)(=O)=O", "[Os+8]", "[NH3]->[Fe]", "[C-4]"]
    graphs, rejected = featurise_graphs(smiles)
    assert not len(rejected)
    for graph in graphs:
        assert graph is not None
        assert (graph.nodes < NODE_SIZES).all()
        assert (graph.edges < EDGE_SIZES).all()
    assert edge(one("[NH3]->[Fe]"), "bond_type") == [4, 4]  # a dative bond is none of the four


def test_an_atom_alone():
    graph = one("C")
    assert graph.edges.shape == (0, 3)
    assert graph.senders.shape == graph.receivers.shape == (0,)
    np.testing.assert_array_equal(graph.rwse, np.ones((1, 16)))
    np.testing.assert_array_equal(graph.lap_vectors, [[1] + [0] * 7])
    np.testing.assert_array_equal(graph.lap_values, np.zeros((1, 8)))


def test_components_do_not_see_each_other():
    together, alone = one("CCO.c1ccccc1.[Na+]"), one("c1ccccc1")
    for name in ("rwse", "lap_values"):
        np.testing.assert_array_equal(getattr(together, name)[3:9], getattr(alone, name))
    np.testing.assert_array_equal(together.rwse[9], np.ones(16))


@pytest.mark.parametrize("smiles", DRUGS)
def test_encodings_satisfy_their_definitions(smiles):
    graph = one(smiles)
    n = graph.n_nodes
    adjacency = np.zeros((n, n))
    adjacency[graph.senders, graph.receivers] = 1
    degree = adjacency.sum(axis=1)
    step = adjacency / degree[:, None]
    walks = [np.diag(np.linalg.matrix_power(step, k)) for k in range(1, 17)]
    np.testing.assert_allclose(graph.rwse, np.stack(walks, axis=1), atol=1e-3)

    laplacian = np.diag(degree) - adjacency
    vectors, values = graph.lap_vectors.astype(float), graph.lap_values.astype(float)
    np.testing.assert_allclose(laplacian @ vectors, vectors * values, atol=5e-3)
    kept = min(n, 8)
    expected = np.linalg.eigvalsh(laplacian)[:kept]
    np.testing.assert_allclose(values[0], [*expected, *[0] * (8 - kept)], atol=2e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.diag(np.arange(8) < kept), atol=2e-3)


@pytest.mark.parametrize("smiles", DRUGS)
def test_any_way_to_write_a_molecule_gives_the_same_graph(smiles):
    """Encodings included, where eigenvalues repeat: bonds are compared with their atoms."""

    def atoms(graph: MolecularGraph) -> np.ndarray:
        parts = (graph.nodes, graph.rwse, graph.lap_values, graph.lap_vectors)
        rows = np.concatenate([part.astype(np.float32) for part in parts], axis=1)
        ends = np.concatenate([rows[graph.senders], rows[graph.receivers], graph.edges], axis=1)
        return ends[np.lexsort(ends.T)]

    expected = atoms(one(smiles))
    mol = Chem.MolFromSmiles(smiles)
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(mol.GetNumAtoms()).tolist()
        written = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        np.testing.assert_array_equal(atoms(one(written)), expected)


def test_a_graph_does_not_depend_on_its_neighbours():
    together, _ = featurise_graphs(DRUGS)
    for smiles, graph in zip(DRUGS, together, strict=True):
        assert graph is not None
        assert encode(graph) == encode(one(smiles))


def test_rejected_rows_say_why():
    smiles = ["CCO", "", "C1CC", "C*", "C" * 9, None, "CCO"]
    graphs, rejected = featurise_graphs(smiles, max_atoms=8)
    assert [graph is None for graph in graphs] == [False, True, True, True, True, True, False]
    assert graphs[0] is graphs[-1]
    assert rejected["row"].tolist() == [1, 2, 3, 4, 5]
    reasons = rejected["reason"].tolist()
    assert reasons[0] == reasons[4] == "no SMILES"
    assert "not a valid SMILES" in reasons[1]
    assert "placeholder" in reasons[2]
    assert "9 atoms, more than the 8" in reasons[3]


@pytest.mark.parametrize("max_atoms", [0, 2**15])
def test_a_senseless_limit_is_refused(max_atoms):
    with pytest.raises(ValueError, match="max_atoms"):
        featurise_graphs(["C"], max_atoms=max_atoms)


def test_records_are_refused_where_they_are_no_graph():
    record = encode(one("CCO"))
    assert encode(decode(record)) == record
    for damaged in (b"", record[:-1], record + b"\0"):
        with pytest.raises(ValueError, match="bytes|buffer"):
            decode(damaged)
    senders = 8  # the first sender's two bytes
    with pytest.raises(ValueError, match="outside 0 to 2"):
        decode(record[:senders] + b"\3\0" + record[senders + 2 :])
