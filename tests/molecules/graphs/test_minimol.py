"""Graphs for MiniMol: codes and positions of graphium, vectors the same on any machine."""

import os
import subprocess
import sys

import numpy as np
import pytest
from rdkit import Chem

from molphenix_jax.molecules.graphs import NODE_COLUMNS, featurise_graphs
from molphenix_jax.molecules.graphs.minimol import eigenvectors
from tests import tiny
from tests.models.mpnn import minimol as made

# Same digits in float16, but where a number lies between two of them.
CLOSE = {"rtol": 2**-10, "atol": 1e-7}


def of(smiles):
    graphs, rejected = featurise_graphs(smiles, convention="minimol")
    assert not len(rejected)
    return [graph for graph in graphs if graph is not None]


@pytest.fixture(scope="module")
def pairs():
    """SMILES, ours with atoms in canonical order, graphium's."""
    golden = made.golden()
    smiles = golden["smiles"].tolist()
    found = []
    for text, ours, theirs in zip(smiles, of(smiles), made.graphs(golden), strict=True):
        order = np.argsort(Chem.CanonicalRankAtoms(Chem.MolFromSmiles(text)))
        found.append((text, order, ours, theirs))
    return found


def test_atoms_bonds_and_walks_are_minimols(pairs):
    for text, order, ours, theirs in pairs:
        np.testing.assert_array_equal(ours.nodes[order], theirs.nodes, err_msg=text)
        np.testing.assert_allclose(ours.rwse[order], theirs.rwse, err_msg=text, **CLOSE)
        np.testing.assert_allclose(ours.lap_values[order], theirs.lap_values, atol=1e-6, rtol=1e-3)
        place = np.argsort(order)
        mine = np.column_stack([place[ours.senders], place[ours.receivers], ours.edges])
        other = np.column_stack([theirs.senders, theirs.receivers, theirs.edges])
        assert sorted(mine.tolist()) == sorted(other.tolist()), text


def test_spaces_of_vectors_are_minimols(pairs):
    checked = 0
    for text, order, ours, theirs in pairs:
        if "." in text:
            continue
        values, a, b = ours.lap_values[0].astype(float), ours.lap_vectors[order], theirs.lap_vectors
        for value in np.unique(values):
            same = (values == value) & (np.abs(ours.lap_vectors).max(axis=0) > 0)
            if same[-1]:  # may go on beyond the eighth
                continue
            one, other = (x[:, same].astype(float) for x in (a, b))
            # LAPACK's general solver gives no right angles where eigenvalues are equal.
            np.testing.assert_allclose(one @ (one.T @ other), other, atol=3e-3, err_msg=text)
            checked += 1
    assert checked > 100


def test_signs_and_bases_follow_from_the_molecule():
    ring = np.zeros((1, 6, 6))
    for i in range(6):
        ring[0, i, (i + 1) % 6] = ring[0, (i + 1) % 6, i] = 1
    vectors, values = eigenvectors(ring)
    np.testing.assert_allclose(values[0], [0, 1, 1, 3, 3, 4, 0, 0], atol=1e-12)
    np.testing.assert_allclose(vectors[0, :, 0], 6**-0.5)
    # The projection of the first atom onto the space of eigenvalue 1.
    np.testing.assert_allclose(vectors[0, :, 1] * 3**0.5, [1, 0.5, -0.5, -1, -0.5, 0.5], atol=1e-12)
    own = vectors[0][:, :6]
    np.testing.assert_allclose(own.T @ own, np.eye(6), atol=1e-12)
    assert not vectors[0][:, 6:].any()


CODE = """
import sys
import numpy as np
from molphenix_jax.molecules.graphs import featurise_graphs
from molphenix_jax.molecules import shipped_smiles
graphs, _ = featurise_graphs(shipped_smiles()[::60], convention="minimol")
arrays = [getattr(g, n) for g in graphs if g for n in ("rwse", "lap_vectors", "lap_values")]
np.save(sys.argv[1], np.concatenate([a.reshape(-1) for a in arrays]))
"""


@pytest.mark.slow
def test_another_processor_gives_the_same_arrays(tmp_path):
    """LAPACK's own signs differ for two of three molecules between these."""
    found = []
    for name in ("Nehalem", "Haswell", ""):
        path = tmp_path / f"{name or 'own'}.npy"
        chosen = {"OPENBLAS_CORETYPE": name} if name else {}
        environment = {**os.environ, **chosen, "PYTHONPATH": str(tiny.REPOSITORY)}
        subprocess.run([sys.executable, "-c", CODE, str(path)], env=environment, check=True)
        found.append(np.load(path) + np.float16(0))  # one zero
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [("[U+6]", "charge 6"), ("[Os+8]", "charge 8"), ("[S-5]", "charge -5")],
)
def test_numbers_that_codes_cannot_hold_are_rejected(smiles, said):
    assert NODE_COLUMNS[5].name == "charge"
    graphs, rejected = featurise_graphs([smiles, "C"], convention="minimol")
    assert graphs[0] is None
    assert graphs[1] is not None
    assert said in rejected["reason"].iloc[0]
    assert featurise_graphs([smiles])[0][0] is not None  # our own network sees the nearest code


def test_a_lone_atom_walks_only_where_it_is_alone():
    alone, salt = of(["[Na+]", "[Na+].[Cl-]"])
    assert (alone.rwse == 1).all()
    assert not salt.rwse.any()
