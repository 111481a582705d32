"""What several processes hold together: a state that is spread over them, screens side by side."""

import functools
import pathlib
import shutil
import sys

import numpy as np
import pytest

from molphenix_jax.runtime.workdir.folder import read_json
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs

pytestmark = pytest.mark.long
SPREAD = {
    "train__shard_state": True,
    "train__steps": 20,
    "train__log_every": 1,
    "train__validate_every": 20,
    "runtime__timeout_s": 60,
}
TOLERANCE = 2e-3


def command(task: str, workdir: pathlib.Path, cache: pathlib.Path, **changes) -> list[str]:
    if task == "line":
        return jobs.line(workdir, **changes, data__pause_s=0.0)
    return jobs.alignment(workdir, cache, **changes)


def train(n: int, devices: int, command: list[str], cache: pathlib.Path) -> jobs.Job:
    """Trains with so many devices in each of n processes."""
    own = {"JAX_NUM_CPU_DEVICES": str(devices)} if devices > 1 else {}
    job = jobs.finish(n, command, cache, environments=dict.fromkeys(range(n), own))
    assert f"devices: {n * devices} × cpu" in job.text(0)
    return job


def values(workdir: pathlib.Path, name: str) -> list[float]:
    return [line[name] for line in read_metrics(workdir / METRICS_FILE) if name in line]


@functools.cache
def spread(task: str, cache: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Two processes of two devices, each of which holds a quarter of the state."""
    workdir = folder / f"spread-{task}"
    train(2, 2, command(task, workdir, cache, **SPREAD), cache)
    state = workdir / "checkpoints" / "step_10" / "state"
    assert {path.name for path in state.glob("ocdbt.process_*")} == {
        *("ocdbt.process_0", "ocdbt.process_1")
    }
    return workdir


@pytest.mark.parametrize(
    ("task", "n", "devices"),
    [
        ("line", 1, 1),
        *(
            pytest.param("alignment", n, d, marks=pytest.mark.soak)
            for n, d in ((1, 1), (1, 2), (1, 4), (4, 1), (2, 2))
        ),
    ],
)
def test_a_spread_state_continues_on_any_number_of_devices(
    task, n, devices, cache, tmp_path, tmp_path_factory
):
    """With the same batches: losses and gradients agree to float32's rounding."""
    before = spread(task, cache, tmp_path_factory.getbasetemp())
    run = shutil.copytree(before, tmp_path / "run")
    (run / "evaluation.json").unlink()
    for step in (15, 20):
        shutil.rmtree(run / "checkpoints" / f"step_{step}")
    job = train(n, devices, command(task, run, cache, **SPREAD), cache)
    assert "continuing after update 10" in job.text(0)
    for name in ("loss", "grad_norm"):
        found, expected = values(run, name), values(before, name)
        assert len(found) == len(expected) == 20
        assert found[:10] == expected[:10]
        apart = np.max(np.abs(np.divide(found, expected) - 1))
        sys.stdout.write(f"\n{task}, {n} × {devices}: {name} is {apart:.1e} apart at most\n")
        np.testing.assert_allclose(found[10:], expected[10:], rtol=TOLERANCE)


@pytest.mark.soak
def test_two_processes_learn_several_screens_as_one_does(cache, tmp_path):
    table = tiny.wells(cache)
    known = table["smiles"].dropna().unique().tolist()
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
        "runtime__timeout_s": 60,
    }
    for n in (1, 2):
        train(n, 2 // n, jobs.alignment(tmp_path / str(n), cache, **fields), cache)
    one, two = tmp_path / "1", tmp_path / "2"
    for name in ("loss", "first/loss", "second/loss", "grad_norm"):
        assert len(values(one, name)) == 10
        np.testing.assert_allclose(values(one, name), values(two, name), rtol=TOLERANCE)
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
