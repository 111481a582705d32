"""Label tables that count cells: activity is asked among what is not toxic, beside the count."""

import types
from typing import Any

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.tasks.property_pretraining import default_config
from molphenix_jax.tasks.property_pretraining.labels import read_labels
from molphenix_jax.tasks.property_pretraining.run import PropertySplit
from molphenix_jax.tasks.property_pretraining.task import PropertyTask

N = 40
SMILES = [f"{'C' * (k % 20 + 1)}{'N' if k < 20 else 'O'}" for k in range(N)]
# A quarter is toxic; all of these and a third of the others are active.
TOXIC = np.arange(N) % 4 == 0
ACTIVE = TOXIC | (np.arange(N) % 3 == 0)


def labels_of(folder, **columns):
    path = folder / "labels.csv"
    pd.DataFrame({"smiles": SMILES, "active": ACTIVE.astype(int), **columns}).to_csv(path)
    return read_labels([str(path)])


def evaluated(labels, score) -> tuple[dict, dict, list]:
    """Values and numbers of molecules by target and model, all molecules unseen."""
    config = default_config()
    config.eval.targets, config.eval.baselines = "^active$", ""
    n = len(labels.molecules)
    task = PropertyTask(config, labels, [], {}, np.arange(n), Any)
    rows = np.arange(n)
    run: Any = types.SimpleNamespace(
        split=PropertySplit(rows[:0], rows[:0], rows),
        predict=lambda _, of: {
            g.name: np.tile(score[of][:, None], len(g.columns)) for g in labels.groups
        },
        labels_of=lambda g, of: g.values[of],
    )
    record = task.evaluate(run, None, Any)
    of_target = [r for r in record["results"] if r["target"].startswith("active")]
    values = {(r["target"], r["model"]): r["value"] for r in of_target if r["metric"] == "auroc"}
    numbers = {r["target"]: (r["n"], r["n_positive"]) for r in of_target}
    return values, numbers, record["not_computed"]


def test_what_tells_toxic_molecules_alone_knows_nothing_of_the_others(tmp_path):
    share = np.where(TOXIC, 20.0, 95.0 + np.arange(N) % 2)  # in %
    values, numbers, _ = evaluated(labels_of(tmp_path, rel_cell_count=share), TOXIC * 1.0)
    alive = ~TOXIC
    assert numbers == {
        "active": (N, ACTIVE.sum()),
        "active, not toxic": (alive.sum(), ACTIVE[alive].sum()),
    }
    assert values["active", "mpnn"] > 0.7
    assert values["active", "cell_count"] > 0.7
    assert values["active, not toxic", "mpnn"] == pytest.approx(0.5)
    assert values["active, not toxic", "cell_count"] == pytest.approx(0.5, abs=0.2)


def test_bare_counts_are_shares_of_the_median_and_gaps_are_of_neither_kind(tmp_path):
    count = np.where(TOXIC, 40.0, 400.0)
    count[1::8] = np.nan
    labels = labels_of(tmp_path, Count_Cells=count)
    share = labels.molecules["cell_share"].to_numpy()
    assert share[TOXIC] == pytest.approx(0.1)
    assert any("of the median one" in note for note in labels.notes)
    _, numbers, _ = evaluated(labels, ACTIVE * 1.0)
    assert numbers["active, not toxic"][0] == (~TOXIC & np.isfinite(count)).sum()


def test_without_counts_or_without_both_kinds_nothing_is_made_up(tmp_path):
    values, _, missing = evaluated(labels_of(tmp_path), ACTIVE * 1.0)
    assert {*values} == {("active", "mpnn")}
    assert not missing
    share = np.where(ACTIVE, 0.1, 1.0)
    values, _, missing = evaluated(labels_of(tmp_path, rel_cell_count=share), ACTIVE * 1.0)
    assert {target for target, _ in values} == {"active"}
    assert missing[0]["target"] == "active, not toxic"
    assert missing[0]["reason"] == "all molecules are of one kind"
