"""A run of two screens with other features, doses and conditions: what it leaves, and restarts."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax import evaluate
from molphenix_jax.commands.training.compare import ranks_of
from molphenix_jax.errors import InputError
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.screen import ScreenError
from molphenix_jax.tasks.align.refit import refit_config
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.wells.inputs.sources import Sources
from tests import tiny

pytestmark = pytest.mark.slow


def config(cache, wells, **changes):
    named = ",".join(f"{name}={path}" for name, path in wells.items())
    return tiny.config(cache, **{"data__wells": named, "train__batch_size": 48, **changes})


@pytest.fixture(scope="module")
def run(cache, wells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fields = {
        "data__shares": "first=2",
        "data__test_fraction": 0.34,
        "train__members": 2,
        "eval__baselines": "ridge",
    }
    c = config(cache, wells, **fields)
    return c, folder, tiny.train_here(c, folder)


def record(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_every_screen_has_a_table_a_split_and_a_model(run):
    _, folder, said = run
    assert "2 screens with 60 molecules, 20 of them in more than one" in said
    assert set(record(folder)["screens"]) == {"first", "second"}
    sides = []
    for name in ("first", "second"):
        own = folder / "screens" / name
        found = record(own)
        assert found == record(folder)["screens"][name]
        models = {row["model"] for row in found["results"] if row["split"] == "unseen_molecules"}
        assert models >= {"molphenix", "ridge", "chance"}
        assert "report/index.html" in {str(p.relative_to(own)) for p in own.rglob("*.html")}
        split = pd.read_csv(own / "splits.csv")
        assert set(split["split"]) == {"train", "validation", "unseen_molecules"}
        sides.append(split)
    by_side = pd.concat(sides).groupby("inchikey")["split"].nunique()
    assert (by_side == 1).all()
    page = (folder / "report" / "index.html").read_text()
    assert "../screens/second/report/index.html" in page


def test_metrics_are_of_each_and_weigh_by_share(run):
    _, folder, _ = run
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    for line in trained:
        assert line["loss"] == pytest.approx(
            (2 * line["first/loss"] + line["second/loss"]) / 3, rel=1e-5
        )
    validated = next(line for line in lines if line["kind"] == "validation")
    assert validated["validation_median_rank_pct"] == pytest.approx(
        np.mean([validated[f"{name}/validation_median_rank_pct"] for name in ("first", "second")])
    )


def test_a_model_is_chosen_by_its_screen(run):
    _, folder, _ = run
    with pytest.raises(ModelError, match="a model for each of its screens first, second"):
        molphenix_jax.load(folder)
    with pytest.raises(ModelError, match="no screen third: there are first, second"):
        molphenix_jax.load(folder, screen="third")
    first, second = (molphenix_jax.load(folder, screen=name) for name in ("first", "second"))
    assert molphenix_jax.load(folder / "screens" / "second").digest == second.digest
    assert (len(first.feature_names), len(second.feature_names)) == (32, 20)
    np.testing.assert_allclose(first.doses_um, [1, 10], rtol=1e-5)
    np.testing.assert_allclose(second.doses_um, [3, 10], rtol=1e-5)
    assert first.conditions == {}
    assert second.conditions == {"time_h": ("24", "48")}
    z = second.embed_molecules(
        ["CCO", "c1ccccc1O"], concentration_um=3.0, conditions={"time_h": 24}
    )
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    # What only the other screen has is no news to the molecule side.
    only = set(second.molecules["inchikey"]) - set(
        pd.read_csv(folder / "screens" / "second" / "splits.csv")["inchikey"]
    )
    sides = second.molecules.set_index("inchikey")["split"][sorted(only)]
    trained = sides.index[sides == "train"]
    assert len(trained)
    assert second.has_trained_on_keys(trained.tolist()).all()
    assert second.about["trained"]["screens"] == pytest.approx({"first": 2 / 3, "second": 1 / 3})


def test_it_is_evaluated_and_compared_by_screen(run, tmp_path):
    c, folder, _ = run
    with console.capture():
        again = evaluate.evaluate(None, folder)
    for name in ("first", "second"):
        assert (
            record(again / "screens" / name)["results"]
            == record(folder)["screens"][name]["results"]
        )
    with pytest.raises(InputError, match="a table for each of its screens"):
        ranks_of(folder)
    assert len(ranks_of(folder / "screens" / "first"))


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_bits(run, tmp_path):
    c, folder, _ = run
    killed = tmp_path / "killed"
    shutil.copytree(folder, killed)
    newest = max((killed / "checkpoints").glob("step_*"), key=lambda p: int(p.name[5:]))
    assert newest.name == "step_4"
    shutil.rmtree(newest)
    (killed / "evaluation.json").unlink()
    said = tiny.train_here(c, killed)
    assert "continuing after update 2" in said
    for name in ("first", "second"):
        ours, theirs = (
            f / "screens" / name / "model" / "weights.safetensors" for f in (killed, folder)
        )
        assert ours.read_bytes() == theirs.read_bytes()
    assert (killed / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert record(killed) == record(folder)


@pytest.mark.long
def test_a_refit_learns_from_every_molecule_of_every_screen(run, tmp_path):
    _, folder, _ = run
    with console.capture():
        refit = refit_config(folder)
    tiny.train_here(refit, tmp_path / "all")
    for name in ("first", "second"):
        model = molphenix_jax.load(tmp_path / "all", screen=name)
        assert set(model.molecules["split"]) == {"train"}
        assert len(model.molecules["inchikey"].unique()) == 60


def test_a_screen_without_a_share_takes_part_in_the_split_alone(cache, wells, tmp_path, run):
    _, folder, _ = run
    task, _ = tiny.make(
        config(cache, wells, data__shares="second=0", data__test_fraction=0.34), tmp_path / "alone"
    )
    with console.capture():
        alone = task.run(0, tmp_path / "alone")
    assert list(alone.runs) == ["first"]
    kept = pd.read_csv(folder / "screens" / "first" / "splits.csv")
    tested = alone.runs["first"].split.test
    screen = alone.runs["first"].screen
    keys = set(screen.molecules["inchikey"].iloc[screen.molecule[tested]])
    assert keys == set(kept["inchikey"][kept["split"] == "unseen_molecules"])
    assert not any(
        "second" in jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(
            jax.eval_shape(alone.init, jax.random.key(0))
        )[0]
    )


def test_a_list_says_what_is_unseen_in_every_screen(cache, wells, tmp_path, run):
    _, folder, _ = run
    sides = [pd.read_csv(folder / "screens" / name / "splits.csv") for name in wells]
    # The other way round: what trained in both is unseen.
    both = sorted(set.intersection(*(set(s["inchikey"][s["split"] == "train"]) for s in sides)))
    path = tmp_path / "unseen.csv"
    pd.DataFrame({"inchikey": both}).to_csv(path, index=False)
    task, _ = tiny.make(config(cache, wells, data__split_list=str(path)), tmp_path / "listed")
    for of in task.tasks.values():
        keys = of.screen.molecules["inchikey"].to_numpy(str)
        made = of.split(0)
        assert set(keys[of.screen.molecule[made.test]]) == set(both)
        assert len(made.train)
        assert not set(keys[of.screen.molecule[made.train]]) & set(both)
    path.write_text(f"inchikey\n{both[0][:-1]}Q\n")
    with pytest.raises(ScreenError, match="screen first of data.wells: data.split_list="):
        tiny.make(config(cache, wells, data__split_list=str(path)), tmp_path / "none")


def test_two_screens_without_names_are_asked_about(wells):
    doubt = Sources.of(",".join(wells.values())).doubt
    assert "if these are two screens, give each a name: wells=NAME=FILE+NAME=FILE" in doubt
    assert not Sources.of(wells["first"]).doubt


def test_what_does_not_fit_together_is_said(cache, wells, tmp_path):
    table = pd.read_parquet(wells["second"])
    table.drop(columns="concentration_um").to_parquet(tmp_path / "undosed.parquet")
    other = table.assign(concentration_um=table["concentration_um"] * 7)
    other.to_parquet(tmp_path / "others.parquet")
    table.assign(smiles="nonsense").to_parquet(tmp_path / "broken.parquet")
    for file, said in (
        ("undosed", "screen second has no column of concentrations"),
        ("others", "has no dose in common with the others"),
        ("broken", "screen second of data.wells: "),
    ):
        changed = {**wells, "second": str(tmp_path / f"{file}.parquet")}
        with pytest.raises(ScreenError, match=said):
            tiny.make(config(cache, changed), tmp_path / f"run-{file}")
    log = config(cache, {**wells, "second": str(tmp_path / "others.parquet")})
    log.model.concentration = "log"
    tiny.make(log, tmp_path / "log")
