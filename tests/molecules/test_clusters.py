import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.ML.Cluster import Butina

from molphenix_jax.molecules import cluster_butina, featurise, shipped_smiles, tanimoto


@pytest.fixture(scope="module")
def smiles() -> list[str]:
    return list(dict.fromkeys(shipped_smiles()))[:300]


@pytest.mark.parametrize("cutoff", [0.3, 0.4, 0.7])
def test_partition_is_that_of_rdkit(smiles, cutoff):
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    vectors = [morgan.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    distances = []
    for i in range(1, len(vectors)):
        distances += DataStructs.BulkTanimotoSimilarity(
            vectors[i], vectors[:i], returnDistance=True
        )
    expected = Butina.ClusterData(distances, len(vectors), 1 - cutoff + 1e-9, isDistData=True)
    ids = cluster_butina(smiles, cutoff=cutoff)
    found = {frozenset(np.flatnonzero(ids == cluster)) for cluster in np.unique(ids)}
    assert found == {frozenset(members) for members in expected}
    assert 1 < len(found) < len(smiles)


def test_every_member_is_near_its_centre(smiles):
    ids = cluster_butina(smiles, cutoff=0.35)
    near = tanimoto(*[featurise(smiles, "morgan_r2")] * 2) >= np.float32(0.35)
    for cluster in range(ids.max() + 1):
        members = np.flatnonzero(ids == cluster)
        assert near[np.ix_(members, members)].all(axis=1).any()


def test_same_molecules_together_and_the_rest_alone():
    ids = cluster_butina(["CCO", "c1ccccc1", "OCC", "CCO"], cutoff=1.0)
    assert ids[0] == ids[2] == ids[3] == 0
    assert ids[1] == 1
    assert ids.dtype == np.int64


def test_empty_and_bad_cutoff():
    assert cluster_butina([], cutoff=0.4).shape == (0,)
    for cutoff in (0.0, 1.5, -1.0, float("nan")):
        with pytest.raises(ValueError, match="similarity in"):
            cluster_butina(["CCO"], cutoff=cutoff)
