"""The runs that the tests of faults compare with."""

import pathlib
import re
import subprocess
import sys

import pytest

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs


@pytest.fixture(scope="session")
def whole(cache_folder, tmp_path_factory) -> pathlib.Path:
    """The alignment that nobody disturbed, in two processes as the launcher starts them."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    launcher = [tiny.REPOSITORY / "launch" / "local_processes.sh", "2"]
    done = subprocess.run(
        [*launcher, *jobs.alignment(workdir, cache_folder)[3:]],
        env={**tiny.environment(cache_folder), "PYTHON": sys.executable},
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
    return workdir


@pytest.fixture(scope="session")
def straight(cache_folder, tmp_path_factory) -> pathlib.Path:
    """The line that nobody disturbed, in two processes."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    jobs.finish(2, jobs.line(workdir), cache_folder)
    return workdir
