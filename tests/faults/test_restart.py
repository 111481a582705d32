"""Kill -9 at any moment, start the same command again: the result is the same bit for bit."""

import contextlib
import pathlib
import random
import re
import signal
import subprocess
import time

import numpy as np
import pytest

from molphenix_jax.evaluate import evaluate
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.checkpointing import CheckpointError, Checkpoints
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import forks, tiny
from tests.commands import stopping

pytestmark = pytest.mark.long

# Long enough to be killed in, at some milliseconds per update.
LONG = {
    "train__steps": 240,
    "train__warmup_steps": 5,
    "train__checkpoint_every": 80,
    "train__validate_every": 60,
    "train__keep_checkpoints": 2,
}


def newest_step(workdir: pathlib.Path) -> int:
    path = workdir / METRICS_FILE
    return max((line["step"] for line in read_metrics(path)), default=0) if path.exists() else 0


def run_and_kill(workdir: pathlib.Path, cache: pathlib.Path, log: pathlib.Path, *, when) -> int:
    """Starts the command, SIGKILLs it at the first moment that `when()` holds; its newest step."""
    with log.open("w") as file:
        process = forks.start(
            tiny.command(workdir, cache, **LONG),
            tiny.environment(cache),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 300
        while not when() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9, f"it ended before it was killed:\n{log.read_text()}"
    assert not (workdir / "evaluation.json").exists()
    return newest_step(workdir)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory) -> pathlib.Path:
    """The run that nobody disturbs."""
    workdir = tmp_path_factory.mktemp("whole")
    done = tiny.run(workdir, cache, **LONG)
    assert done.returncode == 0, done.stdout
    return workdir


def test_a_run_killed_twice_ends_with_the_same_bits(whole, cache, tmp_path):
    workdir = tmp_path / "killed"
    checkpoints, log = workdir / "checkpoints", tmp_path / "log"

    def kept() -> set[str]:
        return {path.name for path in checkpoints.glob("step_*")} - {"step_0"}

    # Between two checkpoints: what came after the first of them is computed again.
    killed = run_and_kill(
        workdir, cache, log, when=lambda: "step_80" in kept() and newest_step(workdir) > 90
    )
    assert 90 < killed < 240
    assert "continuing" not in log.read_text()

    # While another checkpoint is being written: its folder is there, under whatever name.
    before = kept()
    run_and_kill(workdir, cache, log, when=lambda: bool(kept() - before))
    assert "continuing after update" in log.read_text()
    assert "continuing after update 0" not in log.read_text()

    done = tiny.run(workdir, cache, **LONG)
    assert done.returncode == 0, done.stdout
    assert "continuing after update" in done.stdout

    assert_same_bits(workdir, whole, cache)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(seed, whole, cache, tmp_path):
    """Ten kills per seed, also while it starts, compiles, saves and evaluates."""
    workdir, chance = tmp_path / "killed", random.Random(seed)
    for _ in range(10):
        process = forks.start(
            tiny.command(workdir, cache, **LONG),
            tiny.environment(cache),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.wait(chance.uniform(0.5, 20)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    done = tiny.run(workdir, cache, **LONG)
    assert done.returncode == 0, done.stdout
    assert_same_bits(workdir, whole, cache)


def assert_same_bits(workdir: pathlib.Path, whole: pathlib.Path, cache: pathlib.Path) -> None:
    for name in (METRICS_FILE, "evaluation.json", "splits.csv", "leakage.json", "config.json"):
        assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name
    config = tiny.config(cache, **LONG)
    ours, theirs = (tiny.parameters(config, folder) for folder in (workdir, whole))
    assert len(ours) == len(theirs) > 5
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_readers_beside_a_training_disturb_nothing(whole, cache, tmp_path):
    workdir, log = tmp_path / "read", tmp_path / "log"
    folder, reads, evaluated = workdir / "checkpoints", 0, None
    with log.open("w") as file:
        process = forks.start(
            tiny.command(workdir, cache, **LONG),
            tiny.environment(cache),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        while process.poll() is None:
            with contextlib.closing(Checkpoints(folder, keep=None)) as checkpoints:
                if not checkpoints.steps():
                    continue
                # Deleted between the two lines, it is said to be gone; nothing else may happen.
                with contextlib.suppress(CheckpointError):
                    reads += checkpoints.read_state(checkpoints.steps()[-1])["step"] >= 0
            if evaluated is None:
                with console.capture():
                    evaluated = evaluate(None, workdir)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log.read_text()
    assert evaluated is not None
    assert (evaluated / "evaluation.json").exists()
    assert reads
    for name in (METRICS_FILE, "evaluation.json", "splits.csv", "leakage.json", "config.json"):
        assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name
    kept = [{path.name for path in (run / "checkpoints").iterdir()} for run in (workdir, whole)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, "training"),
        pytest.param(signal.SIGINT, "saving", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_is_told_to_end_saves_and_goes_on_with_the_same_bits(
    number, moment, whole, cache, tmp_path
):
    workdir = tmp_path / "told"

    def when(_: int) -> bool:
        if moment == "training":
            return newest_step(workdir) > 90
        return any((workdir / "checkpoints").glob("step_80*"))

    ended = stopping.stop(
        tiny.command(workdir, cache, **LONG), tiny.environment(cache), number=number, when=when
    )
    assert ended.status == 128 + number
    assert ended.said.splitlines()[-1].endswith("the same command continues")
    assert "Traceback" not in ended.said
    (saved,) = re.findall(r"saving the state after update (\d+)", ended.said)
    assert (workdir / "checkpoints" / f"step_{saved}").is_dir()
    done = tiny.run(workdir, cache, **LONG)
    assert done.returncode == 0, done.stdout
    assert f"continuing after update {saved}" in done.stdout
    for name in (METRICS_FILE, "evaluation.json", "splits.csv", "leakage.json", "config.json"):
        assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_finished_run_says_so_and_changes_nothing(whole, cache):
    def files() -> dict[pathlib.Path, int]:
        return {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}

    before = files()
    done = tiny.run(whole, cache, **LONG)
    assert done.returncode == 0, done.stdout
    assert "is finished" in done.stdout
    assert files() == before
