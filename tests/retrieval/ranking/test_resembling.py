"""Molecules against profiles: the profiles that they are like, and their onset."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.errors import InputError
from molphenix_jax.molecules.files import Molecules
from molphenix_jax.retrieval.ranking.activity import activity_rule, best_cut, centre_of_controls
from molphenix_jax.retrieval.ranking.queries import Reading, read_queries
from molphenix_jax.retrieval.ranking.resembling import (
    names_of,
    onset,
    resemble,
)
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.wells.inputs.sources import Sources
from tests.retrieval.ranking import made

# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]


def of(smiles, **others) -> Molecules:
    rows = list(range(1, len(smiles) + 1))
    return Molecules(rows, smiles, [""] * len(smiles), pd.DataFrame(others, index=range(len(rows))))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model = made.load(made.write_run(folder / "run", train=["CC(=O)Nc1ccc(O)cc1"]))
    effects = {(f"g{i}", "", np.nan): np.eye(made.WIDTH)[i] * 9 for i in range(made.WIDTH)}
    made.plates(effects).to_csv(folder / "wells.csv", index=False)
    return model, read_queries(Sources.of(folder / "wells.csv"), model, Reading())


def test_profiles_come_by_their_cosine_at_the_best_dose(world):
    model, queries = world
    smiles = ["CC(=O)Nc1ccc(O)cc1", "nonsense", "c1ccncc1CCN"]
    found = resemble(
        of(smiles, name=["a", "b", "c"]), queries, model, doses_um=[10, 1], top=3, conditions={}
    )
    assert found.molecules["id"].tolist() == ["a", "c"]
    assert found.molecules["trained_on"].tolist() == [True, False]
    assert found.rejected["row"].tolist() == [2]
    assert found.rejected["value"].tolist() == ["nonsense"]
    z_x = model.embed_profiles(queries.profiles, corrected=True)
    for name, text in (("a", smiles[0]), ("c", smiles[2])):
        z = np.stack([model.embed_molecules(text, concentration_um=d)[0] for d in (1.0, 10.0)])
        score = z_x @ z.T
        rows = found.profiles[found.profiles["id"] == name]
        order = np.argsort(-score.max(axis=1))[:3]
        assert rows["query"].tolist() == queries.table["query"].iloc[order].tolist()
        np.testing.assert_allclose(rows["cosine"], score.max(axis=1)[order], atol=1e-5)
        assert rows["best_dose_um"].tolist() == [(1.0, 10.0)[k] for k in score.argmax(1)[order]]
        assert rows["rank"].tolist() == [1, 2, 3]
        assert ((rows["p_value"] > 0) & (rows["p_value"] <= 1)).all()


def test_onset_is_the_dose_from_which_on_all_are_active():
    doses = np.array([0.1, 1.0, 10.0])
    active = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal(onset(active, doses), [10, 1, 0.1, 10, np.nan, np.nan])


def test_the_cut_parts_active_from_inactive_best():
    cosine = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    active = np.array([1, 1, 0, 1, 0, 0], bool)
    assert 0.2 < best_cut(cosine, active) < 0.5
    assert best_cut(cosine, np.array([1, 1, 1, 0, 0, 0], bool)) == pytest.approx(0.35)
    assert (cosine < best_cut(cosine, np.ones(6, bool))).all()
    assert not (cosine < best_cut(cosine, np.zeros(6, bool))).any()


def test_the_rule_is_learned_from_held_out_perturbations(tmp_path, world):
    """Those of low cosine to the control profiles are active: told right, each unseen molecule."""
    bare, table = world[0], made.molecules(40)
    centre = centre_of_controls(bare, {})
    z = bare.embed_molecules(table["smiles"], concentration_um=10.0)
    active = z @ centre < np.median(z @ centre)
    held = HeldOut(
        profile=np.zeros((40, made.WIDTH), np.float32),
        smiles=table["smiles"].to_numpy(str),
        inchikey=table["inchikey"].to_numpy(str),
        concentration_um=np.full(40, 10.0),
        condition=np.zeros(40, np.int64),
        replicates=np.full(40, 4),
        p_value=np.where(active, 0.001, 0.5),
        activity_p=np.full(40, np.nan),
    )
    model = made.load(made.write_run(tmp_path / "run", held_out=held))
    rule, why = activity_rule(model)
    assert rule is not None, why
    assert rule.balanced > 0.85
    np.testing.assert_array_equal(rule.cosine(z, {}) < rule.cut, active)
    assert "40 molecules" in rule.described
    few = dataclasses.replace(held, p_value=np.where(np.arange(40) < 3, 0.001, 0.5))
    none, why = activity_rule(made.load(made.write_run(tmp_path / "few", held_out=few)))
    assert none is None
    assert "3 held-out molecules are active" in why
    assert activity_rule(bare)[0] is None


def test_molecules_are_called_by_their_column_of_names():
    assert names_of(of(["C"], mass=["1"], Name=["x"])) == ["x"]
    assert names_of(of(["C", "C"], name=["", "y"])) == ["row 1", "y"]
    assert names_of(of(["C"], mass=["1"])) == ["row 1"]
    assert names_of(of(["C"] * 3, name=["x", "x", "y"])) == ["x (row 1)", "x (row 2)", "y"]


def test_a_file_without_a_molecule_ends_in_a_sentence(world):
    model, queries = world
    with pytest.raises(InputError, match="none of 2 molecules can be used; the first, row 1, 'x'"):
        resemble(of(["x", "y"]), queries, model, doses_um=[1], top=3, conditions={})
