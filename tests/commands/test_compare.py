"""Runs side by side: the numbers are those of their tables, the differences are paired."""

import json
import pathlib
import shutil

import pandas as pd
import pytest

from molphenix_jax import cli
from molphenix_jax.runtime.progress import console
from tests import tiny

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def runs(cache, tmp_path_factory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in {
        "a": {},
        "b": {"seed": 1, "train__steps": 6},
        "split": {"data__split_seed": 1},
    }.items():
        tiny.train_here(tiny.config(cache, **changes), folder / name)
    return {name: folder / name for name in ("a", "b", "split")}


def compare(*arguments: str | pathlib.Path) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["compare", *map(str, arguments)])
    return status, said.get()


def test_each_run_has_the_numbers_of_its_table(runs, tmp_path):
    out = tmp_path / "table.csv"
    status, said = compare(runs["a"], runs["b"], f"--out={out}")
    assert status == 0, said
    assert "seed: 0 → 1" in said
    assert "train.steps: 4 → 6" in said
    assert "no partner" not in said
    table = pd.read_csv(out)
    for name in ("a", "b"):
        evaluation = json.loads((runs[name] / "evaluation.json").read_text())["results"]
        row = next(
            row
            for row in evaluation
            if (row["split"], row["subset"], row["gallery"]) == ("unseen_molecules", "all", "full")
            and (row["model"], row["direction"]) == ("molphenix", "profile_to_molecule")
        )
        own = table[(table["run"] == name) & (table["subset"] == "all")]
        own = own[own["gallery"] == "full"].iloc[0]
        for field in ("n_queries", "n_gallery", "top_1pct", "top_5pct", "median_rank_pct"):
            assert own[field] == pytest.approx(row[field])
    by_run = table.set_index(["subset", "psi", "gallery", "run"])["top_5pct"].unstack()
    differences = table[table["run"] == "b"].set_index(["subset", "psi", "gallery"])
    assert differences["top_5pct_difference"].to_numpy() == pytest.approx(
        (by_run["b"] - by_run["a"]).loc[differences.index].to_numpy()
    )
    assert table[table["run"] == "a"]["top_1pct_difference"].isna().all()


def test_an_evaluation_of_a_run_is_compared_as_it_is(runs, cache):
    done = tiny.evaluate(runs["b"], cache, "--checkpoint=4", "--name=four")
    assert done.returncode == 0, done.stdout
    status, said = compare(runs["b"], runs["b"] / "evaluations" / "four")
    assert status == 0, said
    assert "from b to four:\n  nothing" in said


def test_what_cannot_be_compared_ends_in_a_sentence(runs, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(runs["a"], old)
    (old / "ranks.parquet").unlink()
    broken = tmp_path / "broken"
    shutil.copytree(runs["a"], broken)
    (broken / "ranks.parquet").write_bytes(b"PAR1")
    for given, message in (
        ((runs["a"],), "two or more different runs"),
        ((runs["a"], runs["a"]), "two or more different runs"),
        ((runs["a"], runs["split"]), "were not asked the same"),
        ((runs["a"], tmp_path), "is no run"),
        ((runs["a"], old), "--name=again"),
        ((runs["a"], broken), "is damaged"),
        ((runs["a"], runs["b"], "--split=x"), "it has unseen_images, unseen_molecules"),
    ):
        status, said = compare(*given)
        assert status == 1
        assert message in " ".join(said.split())
