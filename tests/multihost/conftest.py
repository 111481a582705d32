"""The runs that the tests of faults compare with."""

import fcntl
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs


def shared(workdir: pathlib.Path, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """A run that one of pytest's workers makes for all."""
    workdir.parent.mkdir(exist_ok=True)
    with workdir.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (workdir / "evaluation.json").exists():
            make(workdir)
    return workdir


@pytest.fixture(scope="session")
def whole(cache_folder) -> pathlib.Path:
    """The alignment that nobody disturbed, in two processes as the launcher starts them."""
    return shared(cache_folder / "whole" / "run", lambda run: launch(run, cache_folder))


@pytest.fixture(scope="session")
def straight(cache_folder) -> pathlib.Path:
    """The line that nobody disturbed, in two processes."""
    return shared(
        cache_folder / "straight" / "run",
        lambda run: jobs.finish(2, jobs.line(run), cache_folder),
    )


def launch(workdir: pathlib.Path, cache: pathlib.Path) -> None:
    launcher = [tiny.REPOSITORY / "launch" / "local_processes.sh", "2"]
    done = subprocess.run(
        [*launcher, *jobs.alignment(workdir, cache)[3:]],
        env={**tiny.environment(cache), "PYTHON": sys.executable},
        cwd=tiny.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=jobs.PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"process (\d): 1 × cpu \(cpu\), host \S+, PID \d+", done.stdout)
    assert told == ["0", "1"]
    # The first process alone says and writes.
    assert done.stdout.count("model: ") == 1
    lines = list(read_metrics(workdir / METRICS_FILE))
    steps = [of["step"] for of in lines if of["kind"] == "train"]
    assert steps == list(range(5, jobs.STEPS + 1, 5))
