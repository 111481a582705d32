"""What a report says of the screen, of each molecule, and of what to do next."""

import types

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.evaluation import Candidates, Ranks, evaluate
from molphenix_jax.molecules import featurise, tanimoto
from molphenix_jax.tasks.align import answers
from molphenix_jax.tasks.align.answers import molecule_table, next_steps, with_neighbours
from molphenix_jax.tasks.align.config import default_config

SMILES = ["CCO", "CCCO", "c1ccccc1", "Cc1ccccc1", "CC(=O)O", "CCC(=O)O"]
DOSES = (1.0, 10.0)


@pytest.fixture(scope="module")
def screen():
    """Six molecules at two doses in two wells each; unseen are the first of each pair."""
    n = len(SMILES) * len(DOSES)
    x = np.random.default_rng(0).normal(size=(2 * n, 5)).astype(np.float32)
    x[1] = x[0]  # the first perturbation's wells agree
    block = featurise(SMILES, "morgan")
    return types.SimpleNamespace(
        molecules=pd.DataFrame({"smiles": SMILES, "inchikey": [f"KEY{k}" for k in range(6)]}),
        molecule=np.repeat(np.arange(len(SMILES)), len(DOSES)),
        concentration_um=np.tile(DOSES, len(SMILES)),
        condition=np.zeros(n, int),
        conditions=types.SimpleNamespace(labels=["24 h"]),
        p_value=np.linspace(0.001, 0.5, n),
        n_replicates=np.full(n, 2),
        n_wells=2 * n,
        offsets=np.arange(0, 2 * n + 1, 2),
        replicates=x,
        blocks={"morgan": block},
    )


def fold(screen, molecules) -> tuple[Ranks, types.SimpleNamespace]:
    test = np.flatnonzero(np.isin(screen.molecule, molecules))
    candidates = Candidates(
        split="unseen_molecules",
        molecule=screen.molecules["inchikey"].to_numpy(str)[screen.molecule[test]],
        concentration_um=screen.concentration_um[test],
        condition=np.full(len(test), "24 h"),
        p_value=screen.p_value[test],
        profile=np.eye(len(test)),
    )
    z = np.eye(len(test))
    z[0], z[1] = z[1].copy(), z[0].copy()  # the first two are taken for each other
    ranks = evaluate(candidates, {"molphenix": (np.eye(len(test)), z, "cosine")})
    split = types.SimpleNamespace(test=test, train=np.setdiff1d(np.arange(12), test))
    return ranks, split


def test_each_unseen_perturbation_has_its_rank_and_its_nearest_molecule_of_training(
    screen, monkeypatch
):
    monkeypatch.setattr(answers, "_CHUNK", 2)
    ranks, splits = zip(*(fold(screen, [0, 2]), fold(screen, [1])), strict=True)
    table = with_neighbours(molecule_table(screen, ranks), screen, splits)
    assert table["perturbation"].tolist() == [0, 1, 4, 5, 2, 3]
    assert table["gallery"].tolist() == [4] * 4 + [2] * 2
    assert (table["rank"].iloc[:2] > 1).all()
    assert table["rank"].iloc[2:4].tolist() == [1, 1]
    np.testing.assert_allclose(table["p_value"], screen.p_value[table["perturbation"]])
    assert table["replicate_cosine"].iloc[0] == pytest.approx(1.0)
    assert (table["replicate_cosine"].iloc[1:] < 0.999).all()
    # Ethanol is unseen in one fold, and trained on in the other.
    near = dict(zip(table["smiles"], table["nearest_smiles"], strict=True))
    assert near == {"CCO": "CCCO", "c1ccccc1": "Cc1ccccc1", "CCCO": "CCO"}
    bits = featurise(["CCO", "CCCO"], "morgan")
    assert table["nearest_tanimoto"].iloc[0] == pytest.approx(tanimoto(bits, bits)[0, 1])


def test_nothing_ranked_gives_no_rows(screen):
    assert len(molecule_table(screen, [Ranks((), ())])) == 0


def test_what_to_do_next_follows_from_the_data(screen):
    config = default_config()
    said = " ".join(next_steps(screen, config, {}, rejected=5))
    assert "6 molecules: too few" in said
    assert "--config.data.folds=5" in said
    assert "5 rows could not be used" in said
    assert "no replicate p-value" not in said
    unknown = types.SimpleNamespace(**vars(screen))
    unknown.p_value = np.full(12, np.nan)
    assert "no replicate p-value" in " ".join(next_steps(unknown, config, {}, rejected=0))
    many = types.SimpleNamespace(**vars(screen))
    many.molecules, many.p_value = range(10_000), np.zeros(12)
    assert next_steps(many, config, {}, rejected=0)[0].startswith("Nothing in the data limits")
    row = {"split": "unseen_molecules", "metric": "top_1pct", "gallery": "full", "subset": "all"}
    row |= {"direction": "profile_to_molecule", "baseline": "ridge", "better": False}
    (sentence,) = next_steps(many, config, {"comparisons": [row]}, rejected=0)
    assert "not certainly better than ridge" in sentence
    assert "size=few" not in sentence  # ten thousand molecules
    assert "molphenix pretrained minimol" in sentence
    told = default_config()
    told.molecules.blocks = "physchem,minimol"
    assert "MiniMol" not in " ".join(next_steps(many, told, {"comparisons": [row]}, rejected=0))
    asked = {"comparisons": [row]}
    assert "compare size=few" in (said := " ".join(next_steps(screen, config, asked, rejected=0)))
    assert "MiniMol" not in said  # six molecules
    few = default_config(size="few")
    assert "size=few" not in " ".join(next_steps(screen, few, asked, rejected=0))
