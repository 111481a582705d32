"""Whole runs on the tiny screen: what they leave behind, and the fields that change them."""

import json
import math
import pathlib

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import evaluate, train
from molphenix_jax.losses import LOSSES
from molphenix_jax.models import CONCENTRATIONS
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import pictures, tiny

pytestmark = pytest.mark.slow

# docs/architecture.md, "Run": the fields of every row of evaluation.json.
FIELDS = {
    *("split", "subset", "psi", "gallery", "direction", "model", "n_queries", "n_gallery"),
    *("top_1pct", "top_5pct", "top_1pct_ci", "top_5pct_ci", "median_rank_pct"),
    *("chance_1pct", "chance_5pct", "mean_reciprocal_rank"),
}
CONTROLS = {"dose_only", "magnitude", "untrained"}
MODELS = {"molphenix", "knn", "ridge", "physchem", "chance", "oracle", *CONTROLS}
FEW_STEPS = {
    "train__steps": 3,
    "train__warmup_steps": 1,
    "train__validate_every": 3,
    "model__phenomics__n_blocks": 0,
}


def record(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "evaluation.json").read_text())


def rows(workdir: pathlib.Path, split: str, model: str = "molphenix") -> list[dict]:
    return [r for r in record(workdir)["results"] if r["split"] == split and r["model"] == model]


def fit(cache, folder: pathlib.Path, **changes) -> list[dict]:
    """Trains without the evaluation; the training lines of metrics.jsonl."""
    config = tiny.config(cache, **{**FEW_STEPS, **changes})
    task, _ = tiny.make(config, folder)
    with console.capture():
        run = task.run(0, folder)
        train.fit(run, config, meshes.make_mesh(config.train.devices), folder)
    return [line for line in read_metrics(folder / METRICS_FILE) if line["kind"] == "train"]


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A run with all baselines, two folds and another screen: (workdir, config)."""
    folder = tmp_path_factory.mktemp("whole")
    other = folder / "second.parquet"
    tiny.wells(cache, seed=1).to_parquet(other)
    config = tiny.config(
        cache,
        data__folds=2,
        eval__baselines="knn,ridge,physchem,dose_only,magnitude,cell_count,untrained",
        eval__unseen_screens=str(other),
        train__steps=2,
        train__warmup_steps=1,
    )
    with pictures.drawn():
        tiny.train_here(config, folder / "run")
    return folder / "run", config


class TestWholeRun:
    def test_files(self, whole):
        workdir, _ = whole
        for name in ("config.json", "screen.json", "correction.npz", "report/index.html"):
            assert (workdir / name).stat().st_size > 0
        for fold in range(2):
            folder = workdir / f"fold_{fold}"
            assert (folder / "checkpoints" / "step_2").is_dir()
            lines = [(line["kind"], line["step"]) for line in read_metrics(folder / METRICS_FILE)]
            assert lines == [("validation", 0), ("train", 1), ("train", 2), ("validation", 2)]
            leakage = json.loads((folder / "leakage.json").read_text())
            assert leakage["shared_inchikey_first_blocks"] == 0
            assert leakage["shared_scaffolds"] == 0
            splits = pd.read_csv(folder / "splits.csv")
            assert set(splits["split"]) == {"train", "validation", "unseen_molecules"}
            assert splits["inchikey"].is_unique

    def test_every_row_has_every_field(self, whole):
        results = record(whole[0])["results"]
        assert len(results) > 20
        for row in results:
            assert set(row) >= FIELDS
            assert 0 < row["mean_reciprocal_rank"] <= 1
            assert row["psi"] is None if row["subset"] == "all" else row["psi"] in (0.01, 0.1)
            for metric in ("top_1pct", "top_5pct"):
                low, high = row[f"{metric}_ci"]
                assert 0 <= low <= high <= 1
                assert 0 <= row[metric] <= 1

    def test_the_model_stands_beside_every_baseline(self, whole):
        by_setting: dict[tuple, set] = {}
        for row in record(whole[0])["results"]:
            key = tuple(row[f] for f in ("split", "subset", "psi", "gallery", "direction"))
            by_setting.setdefault(key, set()).add(row["model"])
        for (split, *_), models in by_setting.items():
            # Nobody knows the truth of a screen that comes as a file.
            assert models == MODELS - ({"oracle"} if split.startswith("unseen_screen") else set())

    def test_controls_have_a_table_of_their_own(self, whole):
        workdir, _ = whole
        told = record(workdir)
        assert told["left_out"] == {"cell_count": "the screen has no number of cells of its wells"}
        page = (workdir / "report" / "results.md").read_text()
        headline, _, controls = page.partition("Controls, which know no chemistry")
        assert "| ridge |" in headline
        assert "| dose_only |" not in headline
        assert "| dose_only |" in controls
        assert "cell_count: the screen has" in controls
        assert "controls: molphenix" in page, "how it stands to them"
        folds = pd.read_csv(workdir / "report" / "folds.csv")
        chosen = folds.query(
            "split == 'unseen_molecules' and subset == 'all' and gallery == 'full' and "
            "direction == 'profile_to_molecule' and model == 'molphenix'"
        )
        whole = next(r for r in rows(workdir, "unseen_molecules") if r["subset"] == "all")
        assert chosen["fold"].tolist() == [0, 1]
        assert chosen["n_queries"].sum() == whole["n_queries"]
        mean = np.average(chosen["top_5pct"], weights=chosen["n_queries"])
        assert mean == pytest.approx(whole["top_5pct"])
        galleries = {row["gallery"] for row in told["results"]}
        assert {"same_dose", "molecules"} <= galleries

    def test_folds_pool_to_all_perturbations(self, whole):
        workdir, config = whole
        everything = rows(workdir, "unseen_molecules")[0]
        d = config.data.simulated
        n = d.n_molecules * len(d.concentrations_um)
        assert everything["subset"] == "all"
        assert everything["n_queries"] == n
        assert everything["n_gallery"] == pytest.approx(n / 2, abs=4)

    def test_an_unseen_screen_holds_no_training_molecule(self, whole):
        workdir, config = whole
        found = rows(workdir, "unseen_screen:second")
        assert found
        task, _ = tiny.make(config, workdir.parent / "again")
        other = task.unseen["second"]
        expected = 0
        for fold in range(2):
            splits = pd.read_csv(workdir / f"fold_{fold}" / "splits.csv")
            seen = set(splits.loc[splits["split"] == "train", "inchikey"].str[:14])
            novel = ~other.molecules["inchikey"].str[:14].isin(seen).to_numpy()
            expected += novel[other.molecule].sum()
        assert found[0]["n_queries"] == expected
        assert expected < 2 * other.n_perturbations, "the two screens share no molecule"

    def test_evaluating_again_gives_the_same(self, whole, tmp_path):
        workdir, before = whole[0], tiny.files(whole[0])
        with console.capture() as said:
            out = evaluate.evaluate(None, workdir)
        assert "after 2 updates" in said.get()
        assert out == workdir / "evaluations" / "after-2"
        assert record(out) == record(workdir)
        assert (out / "report" / "index.html").stat().st_size > 0
        assert tiny.files(workdir, but=out) == before


def test_no_training_pair_has_a_heldout_concentration(cache, tmp_path):
    config = tiny.config(
        cache, eval__heldout_concentrations=(10.0,), model__concentration="log", train__steps=2
    )
    task, _ = tiny.make(config, tmp_path / "task")
    split = task.run(0, tmp_path / "task").split
    dose = task.screen.concentration_um
    assert set(dose[split.train]) == set(dose[split.validation]) == set(dose[split.test]) == {1.0}
    assert (dose[split.heldout[10.0]] == 10).all()
    tiny.train_here(config, tmp_path / "run")
    assert rows(tmp_path / "run", "heldout_concentration:10")[0]["n_queries"] == (dose == 10).sum()


def test_repeats_part_the_molecules_anew(cache, tmp_path):
    config = tiny.config(cache, data__folds=2, data__repeats=2)
    task, _ = tiny.make(config, tmp_path / "twice")
    other, _ = tiny.make(tiny.config(cache, data__folds=2, data__split_seed=1), tmp_path / "once")
    assert task.n_folds == 4
    tests = [set(task.split(fold).test) for fold in range(4)]
    assert tests[0] | tests[1] == tests[2] | tests[3]
    assert not tests[2] & tests[3]
    assert tests[2] not in tests[:2]
    # The screens of another split_seed differ in their nulls alone.
    assert [set(other.split(fold).test) for fold in range(2)] == tests[2:]


def test_a_butina_split_is_another_split(cache, tmp_path):
    tests = {}
    for method in ("scaffold", "butina"):
        task, _ = tiny.make(tiny.config(cache, data__split=method), tmp_path / method)
        run = task.run(0, tmp_path / method)
        assert any(method in note for note in run.notes)
        tests[method] = set(run.split.test)
    assert tests["scaffold"] != tests["butina"]


@pytest.mark.long
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains(name, cache, tmp_path):
    lines = fit(cache, tmp_path, loss__name=name)
    assert len(lines) == 3
    assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)


@pytest.mark.long
@pytest.mark.parametrize("kind", CONCENTRATIONS)
def test_every_concentration_encoding_trains(kind, cache, tmp_path):
    lines = fit(cache, tmp_path, model__concentration=kind)
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_bfloat16_stays_near_float32(cache, tmp_path):
    losses = [
        [line["loss"] for line in fit(cache, tmp_path / d, train__compute_dtype=d)]
        for d in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    assert losses[0] != losses[1]


def test_a_step_that_is_not_finite_is_named(cache, tmp_path):
    with pytest.raises(train.NonFiniteError, match=r"update \d is not finite: .*gradient"):
        fit(
            cache,
            tmp_path,
            train__learning_rate=1e38,
            train__grad_clip=1e38,
            train__steps=6,
            train__checkpoint_every=100,
        )
    # What was finite is on record; the update that was not is not.
    assert all(
        value is not None
        for line in read_metrics(tmp_path / METRICS_FILE)
        for value in line.values()
    )
