"""Hosts whose clocks are wrong, and a network that loses messages."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from tests import tiny
from tests.multihost import jobs

pytestmark = [pytest.mark.long, pytest.mark.soak]
FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
PATIENT = {"runtime__timeout_s": 60}  # for processes that start anew
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="Debian's faketime is not installed")


# Python's sleep asks for a time of the clock that is not faked, which faketime 0.9.10 refuses.
SLEEP = """
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


def clock(offset: str, folder: pathlib.Path) -> dict[str, str]:
    """The variables of a process whose clock is wrong; the files keep the time of their server."""
    (folder / "sitecustomize.py").write_text(SLEEP)
    return {
        "PYTHONPATH": f"{folder}{os.pathsep}{tiny.REPOSITORY}",
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@needs_faketime
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("offset", ["+1h", "-1h", "+4000d"])
def test_a_clock_that_is_wrong_changes_no_bit(offset, index, straight, cache, tmp_path):
    run = tmp_path / "run"
    jobs.finish(2, jobs.line(run, **PATIENT), cache, environments={index: clock(offset, tmp_path)})
    assert jobs.result(run) == jobs.result(straight)


def jump(index: int, run: pathlib.Path, cache: pathlib.Path, tmp_path: pathlib.Path) -> jobs.Job:
    """A job of which one's clock goes to and fro by hours, as where a time server corrects it."""
    told = tmp_path / "clock"
    told.write_text("+0")
    variables = {
        **clock("", tmp_path),
        "FAKETIME_TIMESTAMP_FILE": str(told),
        "FAKETIME_NO_CACHE": "1",
    }
    del variables["FAKETIME"]
    job = jobs.start(2, jobs.line(run, **PATIENT), cache, environments={index: variables})
    for step, offset in zip((5, 10, 15, 20), ("+2h", "-2h", "+9d", "+0"), strict=True):
        while not (run / "checkpoints" / f"step_{step}").exists():
            if any(process.poll() is not None for process in job.processes):
                return job
            time.sleep(0.01)
        told.write_text(offset)
    return job


@needs_faketime
def test_a_clock_that_jumps_changes_no_bit(straight, cache, tmp_path):
    run = tmp_path / "run"
    job = jump(1, run, cache, tmp_path)
    assert job.wait() == [0, 0], job.texts()
    assert jobs.result(run) == jobs.result(straight)


@needs_faketime
def test_a_clock_of_the_first_that_jumps_ends_all_and_the_same_command_continues(
    straight, cache, tmp_path
):
    """JAX's coordination service is there, and counts by that clock when it last heard of each."""
    run = tmp_path / "run"
    job = jump(0, run, cache, tmp_path)
    assert {*job.wait()} <= {LOST_STATUS, -signal.SIGABRT}, job.texts()
    jobs.finish(2, jobs.line(run), cache)
    assert jobs.result(run) == jobs.result(straight)


@needs_faketime
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_lost_host_is_named_by_one_whose_clock_is_wrong(offset, straight, cache, tmp_path):
    """And the run that its claim is on starts again."""
    run = tmp_path / "run"
    job = jobs.start(2, jobs.line(run, **PATIENT), cache, environments={1: clock(offset, tmp_path)})
    job.wait_for(run / "checkpoints" / "step_10")
    job.send(signal.SIGKILL, 0)
    statuses = job.wait()
    assert statuses == [-signal.SIGKILL, LOST_STATUS], job.texts()
    assert "process 0 of 2" in job.text(1)
    assert "is lost" in job.text(1)
    jobs.finish(2, jobs.line(run, **PATIENT), cache, environments={0: clock(offset, tmp_path)})
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.parametrize("percent", [1, 5, 10])
def test_a_network_that_loses_messages_is_waited_for(percent, straight, cache, tmp_path):
    """In a network of their own, whose one interface drops packets at random."""
    lossy = (
        "ip link set lo up && iptables -A INPUT -i lo -m statistic --mode random "
        f"--probability {percent / 100} -j DROP && "
    )
    needed = all(shutil.which(name) for name in ("unshare", "ip", "iptables"))
    if not needed or subprocess.run(["unshare", "-n", "sh", "-c", f"{lossy} :"]).returncode:
        pytest.skip("needs root, unshare, ip and iptables")
    run = tmp_path / "run"
    command = jobs.line(run, **PATIENT)
    launcher = [tiny.REPOSITORY / "launch" / "local_processes.sh", "2", *command[3:]]
    end = 'iptables -L INPUT -v -x -n | grep DROP >&2; exit "$status"'
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", f'{lossy} {{ "$@"; status=$?; {end}; }}', "sh", *launcher],
        env={**tiny.environment(cache), "PYTHON": sys.executable},
        cwd=tiny.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=jobs.PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dropped = next(line for line in done.stderr.splitlines() if "DROP" in line).split()[0]
    sys.stdout.write(f"\npackets lost at {percent}%: {dropped}\n")
    assert int(dropped) > 10
    assert jobs.result(run) == jobs.result(straight)
