"""`molphenix enrichment`: the table of hits, and the whole command on a tiny run."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli, train
from molphenix_jax.enrichment import folds
from molphenix_jax.enrichment.hits import read_hits
from molphenix_jax.enrichment.methods import scores as scores_of
from molphenix_jax.errors import InputError
from tests import tiny


@pytest.fixture(scope="module")
def screen(cache, tmp_path_factory):
    task, _ = tiny.make(tiny.config(cache), tmp_path_factory.mktemp("enrichment"))
    return task.screen


def table(screen) -> pd.DataFrame:
    """A row for each perturbation: kinds that structure, dose or nothing tells."""
    smiles = screen.molecules["smiles"].to_numpy(str)[screen.molecule]
    return pd.DataFrame(
        {
            "SMILES": smiles,
            "conc_nM": 1000 * screen.concentration_um.astype(float),
            "aromatic": 100.0 * pd.Series(smiles).str.contains("c1"),
            "rare": (np.arange(len(smiles)) < 4).astype(float),
            "class": np.where(screen.concentration_um > screen.concentration_um.min(), "b", "a"),
        }
    )


def test_values_belong_to_perturbations_by_molecule_and_dose(screen, tmp_path):
    given = table(screen)
    given.loc[3, "aromatic"] = np.nan
    again = given.iloc[[5]].assign(aromatic=50.0)  # a second row of a perturbation
    path = tmp_path / "hits.csv"
    pd.concat([given, again]).sample(frac=1.0, random_state=0).to_csv(path, index=False)
    hits = read_hits(path, screen, at_least=60.0)
    assert hits.names == ("aromatic", "rare")
    wanted = given["aromatic"].to_numpy(copy=True)
    wanted[5] = (wanted[5] + 50.0) / 2
    np.testing.assert_allclose(hits.value[:, 0], wanted)
    assert not hits.known[3, 0]
    assert hits.hit[:, 0].tolist() == (np.nan_to_num(wanted) >= 60).tolist()
    assert "'conc_nM' in nM" in hits.notes[0]


def test_without_doses_a_row_speaks_of_every_dose_and_words_are_kinds(screen, tmp_path):
    path = tmp_path / "hits.csv"
    first = screen.molecules.iloc[:2]
    pd.DataFrame({"inchikey": first["inchikey"], "class": ["x", "y"]}).to_csv(path, index=False)
    hits = read_hits(path, screen, at_least=0.5, columns="^class$")
    assert hits.names == ("x", "y")
    assert hits.hit[:, 0].tolist() == (screen.molecule == 0).tolist()
    assert hits.known[:, 0].tolist() == (screen.molecule < 2).tolist()


@pytest.mark.parametrize(
    ("change", "columns", "said"),
    [
        ({"SMILES": "who"}, "", "no column names molecules"),
        ({}, "(", "no regular expression"),
        ({}, "^gone$", "no column of .* matches"),
        ({"aromatic": "word", "rare": ""}, "", "no column of hits with numbers"),
        ({"conc_nM": 1e-3}, "", "no row is of a molecule at a concentration of the screen"),
    ],
)
def test_tables_that_cannot_be_used_are_named_with_a_remedy(
    screen, tmp_path, change, columns, said
):
    given = table(screen)
    for name, value in change.items():
        given = (
            given.rename(columns={name: value}) if value == "who" else given.assign(**{name: value})
        )
    path = tmp_path / "hits.csv"
    given.to_csv(path, index=False)
    with pytest.raises(InputError, match=said):
        read_hits(path, screen, at_least=0.5, columns=columns)


@pytest.mark.parametrize("told", [True, False])
def test_a_rival_is_told_the_embeddings_that_the_model_is_told(screen, cache, tmp_path, told):
    molecules = screen.molecules[["smiles"]]
    numbers = np.random.default_rng(0).normal(size=(len(molecules), 4))
    numbers[:, 0] = molecules["smiles"].str.contains("c1")
    path = tmp_path / "mine.parquet"
    molecules.assign(**{f"e{i}": of for i, of in enumerate(numbers.T)}).to_parquet(path)
    config = tiny.config(cache, molecules__embeddings=f"mine={path}" if told else "")
    task, _ = tiny.make(config, tmp_path / "run")
    run = task.run(0, tmp_path / "run")
    params = jax.tree.map(lambda leaf: leaf[None], run.init(jax.random.key(0)))
    given = tmp_path / "hits.csv"
    table(screen).to_csv(given, index=False)
    hits = read_hits(given, task.screen, at_least=1.0, columns="aromatic")
    found = scores_of(run, params, hits, task.features, trees="maccs")
    assert ("embedded" in found) == told
    if told:
        aromatic = hits.hit[found["perturbation"].to_numpy(), 0]
        score = found["embedded"].to_numpy()
        assert score[aromatic].mean() > score[~aromatic].mean()


@pytest.mark.slow
def test_the_command_ranks_blindly_and_then_counts(screen, cache, tmp_path, capsys, monkeypatch):
    run, path = tmp_path / "run", tmp_path / "hits.csv"
    train.train_and_evaluate(tiny.config(cache, data__folds=2), run)
    given = table(screen)
    unknown = np.flatnonzero(given["aromatic"].to_numpy() > 0)[:3]
    given.loc[unknown, "aromatic"] = np.nan
    given.to_csv(path, index=False)
    command = ["enrichment", str(run), f"--hits={path}", "--at-least=1"]
    capsys.readouterr()
    out, scored = run / "enrichment", []

    def killed(run, *rest, **more):
        scored.append(run)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return scores_of(run, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(folds, "scores", killed)
        with pytest.raises(KeyboardInterrupt):
            cli.main([*command, "--blind"])
        assert cli.main([*command, "--trees=maccs"]) == 1
        assert "for another table of hits" in capsys.readouterr().out.replace("\n", " ")
        assert cli.main([*command, "--blind"]) == 0
    assert len(scored) == 3  # the first fold once, the second twice
    said = capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == {"scores.parquet"}
    scores = pd.read_parquet(out / "scores.parquet")
    assert set(scores["kind"]) == {"aromatic"}  # the other has too few
    assert scores["perturbation"].is_unique
    assert len(scores) == screen.n_perturbations

    assert cli.main(command) == 0
    told = json.loads((out / "enrichment.json").read_text())
    assert told["about"]["scores"] in said
    row = {r["model"]: r for r in told["kinds"] if r["candidates"] == "all"}
    assert row["molphenix"]["n"] == screen.n_perturbations - 3
    # What structure alone tells: trees of descriptors find the hits first.
    n, hits = row["trees"]["n"], row["trees"]["hits"]
    assert row["trees"]["ef_5pct"] == pytest.approx(n / hits, rel=0.2)
    assert row["trees"]["wells_for_half"] < 0.75 * hits / n
    assert {"neighbours", "knn", "activity", "dose"} <= set(row)
    ranked = pd.read_csv(out / "ranked.csv")
    assert len(ranked) == n
    page = (out / "index.html").read_text()
    assert "Hits found against wells spent" in page
    assert page.count("<svg") >= 4

    given.assign(aromatic=0).to_csv(path, index=False)
    assert cli.main([*command, f"--out={tmp_path / 'other'}"]) == 1
    assert "no kind has 10 hits" in capsys.readouterr().out
    given.rename(columns={"aromatic": "other"}).to_csv(path, index=False)
    assert cli.main(command) == 1
    assert "belongs to another table" in capsys.readouterr().out.replace("\n", " ")
    assert cli.main([*command, "--trees=gone"]) == 1
