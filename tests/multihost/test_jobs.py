"""Several real processes train one run: together, asked to end, killed, stopped, on bad disks."""

import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from molphenix_jax.runtime.workdir.checkpointing import saved_steps
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import quick, tiny
from tests.multihost import jobs

pytestmark = pytest.mark.long
SIGTERM_STATUS, KILLED = 143, -signal.SIGKILL
STEPS = jobs.STEPS


def test_two_processes_train_as_one_with_two_devices(whole, cache, tmp_path):
    """To float32's rounding: sums over devices of one process are taken in another order."""
    command = tiny.command(tmp_path / "one", cache, **{**jobs.FIELDS, "train__devices": 2})
    environment = tiny.environment(cache)
    environment["XLA_FLAGS"] = f"{quick.FLAGS} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        command, env=environment, cwd=tiny.REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (list(read_metrics(of / METRICS_FILE)) for of in (tmp_path / "one", whole))
    assert [of["step"] for of in one] == [of["step"] for of in two]
    for name in ("loss", "grad_norm"):
        values = [[of[name] for of in each if name in of] for each in (one, two)]
        np.testing.assert_allclose(values[0], values[1], rtol=2e-3)


@pytest.mark.parametrize("asked", [1, *(pytest.param(of, marks=pytest.mark.soak) for of in (0, 2))])
def test_one_that_is_told_to_end_ends_all_at_the_same_update(asked, whole, cache, tmp_path):
    """All of them, as a scheduler tells them (2), or a single one."""
    job = jobs.start(2, tmp_path / "run", cache)
    job.wait_for(tmp_path / "run" / "checkpoints" / "step_5")
    began = time.monotonic()
    job.send(signal.SIGTERM, *([asked] if asked < 2 else [0, 1]))
    assert job.wait() == [SIGTERM_STATUS] * 2, job.text(0) + job.text(1)
    assert time.monotonic() - began < 25 + jobs.SLACK_S
    said = re.findall(r"saving the state after update (\d+)", job.text(0))
    assert not said or saved_steps(tmp_path / "run")[-1] == int(said[0])
    jobs.finish(2, tmp_path / "run", cache)
    assert jobs.result(tmp_path / "run") == jobs.result(whole)


@pytest.mark.parametrize(
    ("phase", "index"),
    [
        ("prepare", 1),
        *(
            pytest.param(phase, index, marks=pytest.mark.soak)
            for phase, index in [("prepare", 0), ("evaluate", 0), ("evaluate", 1)]
        ),
    ],
)
def test_one_that_is_told_to_end_outside_training_ends_all(phase, index, cache, tmp_path):
    """The first process works alone then, and the others wait for it."""
    run = tmp_path / "run"
    changes = {"data__cache": str(tmp_path / "cache"), "data__simulated__n_molecules": 400}
    if phase == "evaluate":
        changes = {"eval__n_bootstrap": 20_000, "eval__baselines": "knn,ridge"}
    job = jobs.start(2, run, cache, **changes)
    if phase == "evaluate":
        job.wait_for(run / "model")
    else:
        job.wait_until_said("simulating the built-in screen")
    job.send(signal.SIGTERM, index)
    assert job.wait(25 + jobs.SLACK_S) == [SIGTERM_STATUS] * 2, job.text(0) + job.text(1)
    assert "Traceback" not in job.text(0) + job.text(1)
    assert not (run / "evaluation.json").exists()


def kill_and_continue(
    n: int, indices: list[int], step: int, workdir: pathlib.Path, cache: pathlib.Path
) -> None:
    """Kills some processes of a job at a checkpoint, sees the others end, and finishes the run."""
    job = jobs.start(n, workdir, cache)
    job.wait_for(workdir / "checkpoints" / f"step_{step}")
    job.send(signal.SIGKILL, *indices)
    statuses = job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    for i in range(n):
        if i in indices:
            assert statuses[i] == KILLED
            continue
        assert statuses[i] == LOST_STATUS, job.text(i)
        assert re.search(rf"process [{''.join(map(str, indices))}] of {n} .*is lost", job.text(i))
    again = jobs.finish(n, workdir, cache)
    assert re.search(r"continuing after update \d+", again.text(0))


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_the_others_of_a_killed_process_name_it_and_the_same_command_continues(
    index, whole, cache, tmp_path
):
    step = random.Random(index).randrange(5, 20, 5)
    kill_and_continue(2, [index], step, tmp_path / "run", cache)
    assert jobs.result(tmp_path / "run") == jobs.result(whole)


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(20))
def test_kills_at_random_moments_change_no_bit(repetition, whole, cache, tmp_path):
    draw = random.Random(repetition)
    for _ in range(2):
        job = jobs.start(2, tmp_path / "run", cache)
        job.wait_until_said("processes, ")
        time.sleep(draw.uniform(0, 8))
        job.send(signal.SIGKILL, *draw.choice([[0], [1], [0, 1]]))
        job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    jobs.finish(2, tmp_path / "run", cache)
    assert jobs.result(tmp_path / "run") == jobs.result(whole)


@pytest.mark.soak
@pytest.mark.parametrize("indices", [[2], [0, 3], [0, 1, 2, 3]])
def test_kills_among_four_processes(indices, cache, tmp_path):
    kill_and_continue(4, indices, 10, tmp_path / "run", cache)


@pytest.mark.parametrize("index", [1, pytest.param(0, marks=pytest.mark.soak)])
def test_a_stopped_process_ends_the_others_with_its_name(index, cache, tmp_path):
    job = jobs.start(2, tmp_path / "run", cache, train__steps=100_000, train__warmup_steps=1)
    job.wait_for(tmp_path / "run" / "checkpoints" / "step_5")
    began = time.monotonic()
    job.send(signal.SIGSTOP, index)
    other = job.processes[1 - index]
    assert other.wait(jobs.TIMEOUT_S + jobs.SLACK_S) == LOST_STATUS, job.text(1 - index)
    assert time.monotonic() - began < jobs.TIMEOUT_S + jobs.SLACK_S
    pid = job.processes[index].pid
    assert f"process {index} of 2 (PID {pid} on host " in job.text(1 - index)
    job.send(signal.SIGKILL, index)
    job.wait()


@pytest.mark.parametrize(
    "damage",
    ["a shard missing", *(pytest.param(d, marks=pytest.mark.soak) for d in ("cut", "empty"))],
)
def test_a_damaged_checkpoint_is_set_aside_by_all(damage, whole, cache, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    for name in ("evaluation.json", "report"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    step = run / "checkpoints" / f"step_{STEPS}"
    files = [path for path in (step / "state").rglob("*") if path.is_file() and "/d/" in str(path)]
    for path in files:
        if damage == "a shard missing":
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size // 2 if damage == "cut" else 0)
    assert files
    job = jobs.finish(2, run, cache)
    assert "falling back to the one before" in job.text(0)
    assert f"continuing after update {STEPS - 5}" in job.text(0)
    assert (run / "checkpoints" / f"damaged-{STEPS}").is_dir()
    assert jobs.result(run) == jobs.result(whole)


def test_a_full_disk_ends_all_and_the_last_checkpoint_stands(whole, cache, tmp_path):
    job = jobs.start(2, tmp_path / "run", cache)
    job.wait_for(tmp_path / "run" / "checkpoints" / "step_5")
    for process in job.processes:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4_000, 4_000))
    assert job.wait() == [1, 1], job.text(0) + job.text(1)
    assert re.search("cannot be written: File too large", job.text(0)), job.text(0)
    jobs.finish(2, tmp_path / "run", cache)
    assert jobs.result(tmp_path / "run") == jobs.result(whole)


def test_what_one_cannot_use_ends_all_with_its_sentence(cache, tmp_path):
    job = jobs.start(2, tmp_path / "run", cache, data__wells=str(tmp_path / "none.csv"))
    assert job.wait() == [1, 1], job.text(0) + job.text(1)
    assert re.search(r"^error: process 0: .*none\.csv cannot be read", job.text(0), re.MULTILINE)
    assert re.search(r"process 0 of 2 .* has ended: .*none\.csv", job.text(1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_one_that_does_not_find_the_others_says_so(index, cache, tmp_path):
    command = tiny.command(tmp_path / "run", cache, **{**jobs.FIELDS, "runtime__timeout_s": 5})
    place = [f"--coordinator=localhost:{jobs.free_port()}", "--num_processes=2"]
    done = tiny.finish(tiny.start([*command, *place, f"--process_id={index}"], cache))
    assert done.returncode == LOST_STATUS, done.stdout
    assert f"error: process {index} of 2 did not find the others within 5 s" in done.stdout
    assert not (tmp_path / "run").exists()
