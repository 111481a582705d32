"""`molphenix bench library`: ranks by the formula, and the rows that it writes."""

import json

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.bench import library as bench
from molphenix_jax.errors import InputError
from tests.retrieval.ranking import made
from tests.retrieval.ranking.test_calibration import H, held_out

# Each model that is loaded has the programs of the one before.
pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.slow]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model with held-out profiles of 30 molecules; a library of other 50 and 10 of them."""
    folder, table = tmp_path_factory.mktemp("library"), made.molecules(80)
    run = made.write_run(
        folder / "run", train=table["smiles"][70:], held_out=held_out(table, inactive=6)
    )
    smiles = [*table["smiles"][20:], "no molecule", *table["smiles"][40:44]]
    pd.DataFrame({"smiles": smiles}).to_csv(folder / "library.csv", index=False)
    return folder, table, made.load(run)


def test_ranks_are_those_of_the_formula(world, monkeypatch):
    folder, table, model = world
    monkeypatch.setattr(bench, "CHUNK_ROWS", 7)
    setting = bench.LibraryCase(folder / "run", folder / "library.csv", made.DOSES, top=5)
    found, _, spent = bench.ranked(setting)
    assert spent.rows == 65
    assert min(spent.standard, spent.features, spent.ranking) > 0
    z_x = model.embed_profiles(model.held_out.profile, corrected=True)
    score = np.einsum("qe,mke->qmk", z_x, made.embedded(model, table)).max(axis=2)
    of = np.arange(H) // 2
    own = score[np.arange(H), of]
    in_library = np.arange(80) >= 20
    for row in range(H):
        others = score[row][in_library & (np.arange(80) != of[row])]
        assert found["rank"][row] == 1 + (others > own[row]).sum()
        assert found["gallery"][row] == 1 + len(others)
        best = np.sort(np.append(others, own[row]))[::-1]
        assert found["drop"][row] == pytest.approx(best[0] - best[4], abs=1e-5)
    assert (found["inchikey"] == table["inchikey"].to_numpy()[of]).all()


def test_it_runs(world, tmp_path):
    folder = world[0]
    words = f"--concentrations=1,10 --top=5 --percent=10 --table={tmp_path / 'ranks.csv'}"
    given = [str(folder / "run"), f"--library={folder / 'library.csv'}", *words.split()]
    assert cli.main(["bench", "library", *given, f"--json={tmp_path / 'rows.json'}"]) == 0
    rows = {row["case"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    ranks = pd.read_csv(tmp_path / "ranks.csv")
    every = rows["true molecule in the top 10% of 61, all profiles"]
    within = np.ceil(0.1 * ranks["gallery"])
    assert every["ours"] == pytest.approx(100 * (ranks["rank"] <= within).mean())
    assert 9 < every["other"] < 13
    assert "60 profiles of 30 molecules" in every["note"]
    loss = rows["log loss of the chance of a list of 5"]
    assert loss["ours"] <= loss["other"]
    assert "54 active profiles" in loss["note"]
    said = [row for case, row in rows.items() if case.startswith("chance said")]
    assert said
    assert ranks["top"].tolist() == [5] * 60
    assert ranks["doses"].tolist() == ["1,10"] * 60
    # Nothing is in control wells of noise: about as many are called active as the level says.
    for what in ("one control well", "2 control wells"):
        assert rows[f"called active: {what}"]["ours"] < 15
    speed = next(row for row in rows.values() if row["unit"] == "molecules/s")
    assert "65 in" in speed["note"]
    assert "features" in speed["note"]


def test_a_run_that_holds_nothing_back_ends_in_a_sentence(world, tmp_path):
    run = made.write_run(tmp_path / "run", train=["CCO"])
    setting = bench.LibraryCase(run, world[0] / "library.csv", (1.0,))
    with pytest.raises(InputError, match="keeps no held-out profiles"):
        bench.ranked(setting)
