"""R@1, R@5, R@10 as CellCLIP reports them, from the ranks of a run."""

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.evaluation import Candidates, evaluate
from molphenix_jax.evaluation.kept import ranks_frame
from molphenix_jax.published.bray2017 import PublishedError, recall_table
from molphenix_jax.runtime.progress import console

N = 40


def embedded() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6))
    return x + rng.normal(size=(N, 6)), x


def ranks(*, doses=1, split="unseen_molecules") -> pd.DataFrame:
    x, m = embedded()
    one = Candidates(
        split,
        molecule=np.arange(N) // doses,
        concentration_um=np.full(N, 5.0),
        condition=np.full(N, ""),
        p_value=np.full(N, 0.05),
        profile=x,
    )
    return ranks_frame([evaluate(one, {"molphenix": (x, m, "cosine")})])


def test_recall_is_the_share_of_rows_found_as_cellclip_counts_it():
    table, _ = recall_table(ranks())
    x, m = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in embedded())
    for direction, logits in (("profile_to_molecule", x @ m.T), ("molecule_to_profile", m @ x.T)):
        # Position of the own candidate in descending order, as in CellCLIP's retrieval.
        place = np.argsort(-logits, axis=1).argsort(axis=1)[np.arange(N), np.arange(N)]
        rows = table[table["direction"] == direction].set_index("model")
        for k in (1, 5, 10):
            assert rows.loc["molphenix", f"R@{k}"] == pytest.approx(100 * (place < k).mean())
            assert rows.loc["chance", f"R@{k}"] == pytest.approx(100 * k / N)
        assert rows.loc["molphenix", ["n_queries", "n_gallery"]].tolist() == [N, N]
        assert rows.loc["CellCLIP (CWCL)", "n_gallery"] == 2115
        assert rows["source"].tolist().count("published") == 6
    best = table.set_index(["model", "direction"]).loc["CellCLIP (CWCL)"]
    names = ["R@1", "R@5", "R@10"]
    assert best.loc["profile_to_molecule", names].tolist() == [1.25, 4.82, 7.39]
    assert best.loc["molecule_to_profile", names].tolist() == [1.18, 4.49, 7.37]


def test_what_speaks_against_a_comparison():
    _, cautions = recall_table(ranks())
    assert cautions[0].startswith("the gallery has 40 candidates, and the published one 2,115")
    assert len(cautions) == 2
    assert "not comparable between papers" in cautions[-1]
    _, cautions = recall_table(ranks().assign(n_gallery=2115))
    assert len(cautions) == 1
    _, cautions = recall_table(ranks(doses=2))
    assert "some molecules have several candidates" in cautions[1]
    both = pd.concat([ranks(), ranks().assign(fold=1)])
    assert "2 folds are pooled" in recall_table(both)[1][1]
    with pytest.raises(PublishedError, match="no ranks of unseen_molecules"):
        recall_table(ranks(split="unseen_images"))


def test_the_command(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    ranks().to_parquet(run / "ranks.parquet")
    arguments = ["published", "bray2017", f"--run={run}", f"--out={tmp_path / 'table.csv'}"]
    with console.capture() as captured:
        assert cli.main(arguments) == 0
    said = captured.get()
    assert "CellCLIP (arXiv 2506.06290), Table 1" in said
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2 * 8
    with console.capture() as captured:
        assert cli.main(["published", "bray2017", f"--run={tmp_path / 'gone'}"]) == 1
    assert "is no run" in captured.get()
