"""Evaluating a run that is there: readers read, whatever else happens to the run."""

import json
import pathlib
import re
import shutil
import sys

import pytest

from molphenix_jax import train
from molphenix_jax.evaluate import evaluate
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.checkpointing import CheckpointError
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE
from tests import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(cache, tmp_path_factory):
    """A plain run of wells.parquet, with a baseline: (workdir, config)."""
    folder = tmp_path_factory.mktemp("small")
    tiny.wells(cache).to_parquet(folder / "wells.parquet")
    config = tiny.config(cache, data__wells=str(folder / "wells.parquet"))
    tiny.train_here(config, folder / "run")
    return folder / "run", config


@pytest.fixture
def run(small, tmp_path) -> pathlib.Path:
    """A copy of it."""
    return shutil.copytree(small[0], tmp_path / "run")


def evaluated(config, workdir, **request) -> tuple[pathlib.Path, str]:
    with console.capture() as said:
        out = evaluate(config, workdir, **request)
    return out, said.get()


def record(folder: pathlib.Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def test_a_chosen_checkpoint_with_other_eval_fields(small, cache, run):
    before = tiny.files(run)
    config = small[1].copy_and_resolve_references()
    config.eval.psi = (0.5,)
    out, said = evaluated(config, run, checkpoint=0, name="early")
    assert "after 0 updates" in said
    assert out == run / "evaluations" / "early"
    assert {r["psi"] for r in record(out)["results"]} == {None, 0.5}
    assert record(out)["rank_curves"] != record(run)["rank_curves"]
    assert tiny.files(run, but=out) == before
    # Another request does not take the name, nor the default one.
    with pytest.raises(ConfigError, match=r"early holds the evaluation of another request"):
        evaluate(None, run, name="early")
    out, _ = evaluated(None, run, checkpoint=0)
    assert out.name == "after-0"
    config.eval.psi = (0.3,)
    assert evaluated(config, run, checkpoint=0)[0].name == "after-0-2"


def test_the_same_request_replaces_its_folder(run):
    out, _ = evaluated(None, run)
    first = record(out)
    (out / "report" / "index.html").unlink()
    (out / "evaluation.json").write_text("{}")
    assert evaluated(None, run)[0] == out
    assert record(out) == first == record(run)
    assert (out / "report" / "index.html").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "/abs", ".hidden", "a b"])
def test_a_name_that_is_none(name, small):
    with pytest.raises(ConfigError, match=re.escape(repr(name))):
        evaluate(None, small[0], name=name)


def test_a_missing_checkpoint_lists_those_there(small):
    before = tiny.files(small[0])
    with pytest.raises(CheckpointError, match=r"no checkpoint 99 .*\[0, 2, 4\]"):
        evaluate(None, small[0], checkpoint=99)
    assert tiny.files(small[0]) == before


def test_other_training_fields_are_refused(small, cache):
    config = small[1].copy_and_resolve_references()
    config.model.dim = 4
    with pytest.raises(ConfigError, match=r"only eval fields may differ(.|\n)*model\.dim: 8"):
        evaluate(config, small[0])


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json is missing"):
        evaluate(None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_stays_one_and_what_is_being_written_stays(small, run):
    """As if it had been killed while it wrote checkpoint 4."""
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "report")
    half = run / "checkpoints" / "step_4.orbax-checkpoint-tmp"
    (run / "checkpoints" / "step_4").rename(half)
    before = tiny.files(run)
    out, said = evaluated(None, run)
    assert "after 2 updates" in said
    assert tiny.files(run, but=out) == before
    assert "continuing after update 2" in tiny.train_here(small[1], run)
    for name in (METRICS_FILE, "evaluation.json"):
        assert (run / name).read_bytes() == (small[0] / name).read_bytes()


# orbax ends its event loop at the first array it cannot read; the other reads still report to it.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)
def test_a_reader_leaves_a_damaged_checkpoint_where_it_is(run):
    for path in (run / "checkpoints" / "step_4").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = tiny.files(run)
    out, said = evaluated(None, run)
    assert re.search(r"checkpoint 4 .* cannot be read .*falling back", said)
    assert "after 2 updates" in said
    assert out.name == "after-2"
    assert tiny.files(run, but=out) == before


def test_the_command_from_another_folder_with_eval_fields(small, cache, run, tmp_path):
    """The run began with relative paths, in another folder than the one that evaluates it."""
    began = tmp_path / "began"
    began.mkdir()
    shutil.copy(small[0].parent / "wells.parquet", began)
    config = json.loads((run / "config.json").read_text())
    config["data"]["wells"] = "wells.parquet"
    (run / "config.json").write_text(json.dumps(config))
    (run / "run.json").write_text(json.dumps({"format": 1, "cwd": str(began)}))
    before = tiny.files(run)
    command = [sys.executable, "-m", "molphenix_jax.main", "--mode=evaluate", "--workdir=run"]
    command += ["--checkpoint=2", "--config.eval.psi=0.5,0.25", "--name=two"]

    def call(*arguments: str):
        return tiny.finish(tiny.start([*command, *arguments], cache, cwd=tmp_path))

    done = call()
    assert done.returncode == 0, done.stdout
    out = run / "evaluations" / "two"
    assert {r["psi"] for r in record(out)["results"]} == {None, 0.5, 0.25}
    assert tiny.files(run, but=out) == before
    # What is wrong is a sentence.
    failed = call("--config.eval.speed=5")
    assert failed.returncode == 2, failed.stdout
    assert re.search(r"error: .*speed", failed.stdout)
    assert "Traceback" not in failed.stdout
    (began / "wells.parquet").unlink()
    failed = call()
    assert failed.returncode == 1
    assert f"error: {began / 'wells.parquet'} cannot be read" in failed.stdout


# Training: what it claims and what it continues.


def test_a_start_that_fails_claims_nothing(small, cache, tmp_path):
    wells = small[1].data.wells
    workdir = tmp_path / "run"
    for changes in (
        {"data__wells": wells + ".typo"},
        {"data__wells": wells, "data__columns__smiles": "nowhere"},
        {"data__wells": wells, "data__undefined_p": "inactive", "data__psi": 1e-9},
    ):
        config = tiny.config(cache, **changes)
        with pytest.raises(ValueError, match="typo|nowhere|psi"), console.capture():
            train.train_and_evaluate(config, workdir)
        assert not workdir.exists()
    tiny.train_here(small[1], workdir)
    assert record(workdir) == record(small[0])


def test_more_updates_before_the_end_are_one_run(small, cache, run):
    """Raised while unfinished: the updates from then on follow the longer schedule."""
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step_4")
    config = small[1].copy_and_resolve_references()
    config.train.steps = 6
    said = tiny.train_here(config, run)
    assert "continuing to 6 updates" in said
    assert "continuing after update 2" in said
    assert "is finished" in tiny.train_here(config, run)
    assert not (run / "evaluations").exists()
