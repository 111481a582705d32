"""What several processes hold together: a state that is spread over them, screens side by side."""

import pathlib
import shutil

import numpy as np
import pytest

from molphenix_jax.runtime.workdir.folder import read_json
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs

pytestmark = pytest.mark.long
PATIENT = {**jobs.FIELDS, "runtime__timeout_s": 60}  # for processes that start anew
SPREAD = {
    "train__shard_state": True,
    "train__steps": 20,
    "train__log_every": 1,
    "train__validate_every": 20,
}


def train(n: int, devices: int, workdir: pathlib.Path, cache: pathlib.Path, **changes) -> jobs.Job:
    """Trains with so many devices in each of n processes."""
    command = tiny.command(workdir, cache, **{**PATIENT, **changes})
    own = {"JAX_NUM_CPU_DEVICES": str(devices)}
    job = jobs.start_all(n, command, cache, environments=dict.fromkeys(range(n), own))
    assert job.wait(480) == [0] * n, "\n".join(job.text(i) for i in range(n))
    assert f"devices: {n * devices} × cpu" in job.text(0)
    return job


def values(workdir: pathlib.Path, name: str) -> list[float]:
    return [line[name] for line in read_metrics(workdir / METRICS_FILE) if name in line]


@pytest.fixture(scope="module")
def spread(cache, tmp_path_factory) -> pathlib.Path:
    """Two processes of two devices, each of which holds a quarter of the state."""
    workdir = tmp_path_factory.mktemp("spread") / "run"
    train(2, 2, workdir, cache, **SPREAD)
    state = workdir / "checkpoints" / "step_10" / "state"
    assert {path.name for path in state.glob("ocdbt.process_*")} == {
        *("ocdbt.process_0", "ocdbt.process_1")
    }
    return workdir


@pytest.mark.parametrize(
    ("n", "devices"),
    [
        (1, 1),
        *(pytest.param(n, d, marks=pytest.mark.soak) for n, d in ((1, 2), (1, 4), (4, 1), (2, 2))),
    ],
)
def test_a_spread_state_continues_on_any_number_of_devices(n, devices, spread, cache, tmp_path):
    """With the same batches: losses and gradients agree to float32's rounding."""
    run = shutil.copytree(spread, tmp_path / "run")
    (run / "evaluation.json").unlink()
    for step in (15, 20):
        shutil.rmtree(run / "checkpoints" / f"step_{step}")
    job = train(n, devices, run, cache, **SPREAD)
    assert "continuing after update 10" in job.text(0)
    for name in ("loss", "grad_norm"):
        found, expected = values(run, name), values(spread, name)
        assert len(found) == len(expected) == 20
        assert found[:10] == expected[:10]
        np.testing.assert_allclose(found[10:], expected[10:], rtol=2e-3)


def test_two_processes_learn_several_screens_as_one_does(cache, tmp_path):
    table = tiny.wells(cache)
    known = table["smiles"].dropna().unique()
    wells = []
    for name, gone in (("first", known[:20]), ("second", known[-20:])):
        table[~table["smiles"].isin(gone)].to_parquet(tmp_path / f"{name}.parquet")
        wells.append(f"{name}={tmp_path / name}.parquet")
    fields = {
        "data__wells": ",".join(wells),
        "data__test_fraction": 0.34,
        "train__batch_size": 48,
        "train__steps": 10,
        "train__log_every": 1,
        "train__validate_every": 10,
        "eval__baselines": "ridge",
    }
    for n in (1, 2):
        train(n, 2 // n, tmp_path / str(n), cache, **fields)
    one, two = tmp_path / "1", tmp_path / "2"
    for name in ("loss", "first/loss", "second/loss", "grad_norm"):
        assert len(values(one, name)) == 10
        np.testing.assert_allclose(values(one, name), values(two, name), rtol=2e-3)
    for name in ("first", "second"):
        rows = [
            read_json(run / "screens" / name / "evaluation.json")["results"] for run in (one, two)
        ]
        assert {row["model"] for row in rows[0]} == {"molphenix", "ridge", "chance"}
        for ours, theirs in zip(*rows, strict=True):
            assert ours["n_queries"] == theirs["n_queries"]
            # One place among some tens of candidates.
            ours, theirs = ours["median_rank_pct"], theirs["median_rank_pct"]
            assert ours == pytest.approx(theirs, abs=5.0)
