"""Hosts whose clocks are wrong, and a network that loses messages."""

import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from tests import tiny
from tests.multihost import jobs

pytestmark = [pytest.mark.long, pytest.mark.soak]
FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="Debian's faketime is not installed")


def clock(offset: str) -> dict[str, str]:
    """The variables of a process whose clock is wrong; the files keep the time of their server."""
    return {
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
    jobs.finish(2, jobs.line(run), cache, environments={index: clock(offset)})
    assert jobs.result(run) == jobs.result(straight)


@needs_faketime
@pytest.mark.parametrize("index", [0, 1])
def test_a_clock_that_jumps_changes_no_bit(index, straight, cache, tmp_path):
    """To and fro by hours, as where a time server corrects it, at checkpoints."""
    run, told = tmp_path / "run", tmp_path / "clock"
    told.write_text("+0")
    variables = {**clock(""), "FAKETIME_TIMESTAMP_FILE": str(told), "FAKETIME_NO_CACHE": "1"}
    del variables["FAKETIME"]
    job = jobs.start(2, jobs.line(run), cache, environments={index: variables})
    offsets = ("+2h", "-2h", "+9d", "+0")
    for step, offset in zip(range(5, jobs.STEPS, 5), offsets, strict=False):
        job.wait_for(run / "checkpoints" / f"step_{step}")
        told.write_text(offset)
    assert job.wait() == [0, 0], job.texts()
    assert jobs.result(run) == jobs.result(straight)


@needs_faketime
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_lost_host_is_named_by_one_whose_clock_is_wrong(offset, straight, cache, tmp_path):
    """And the run that its claim is on starts again."""
    run = tmp_path / "run"
    job = jobs.start(2, jobs.line(run), cache, environments={1: clock(offset)})
    job.wait_for(run / "checkpoints" / "step_10")
    job.send(signal.SIGKILL, 0)
    statuses = job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    assert statuses == [-signal.SIGKILL, LOST_STATUS], job.texts()
    assert "process 0 of 2" in job.text(1)
    assert "is lost" in job.text(1)
    jobs.finish(2, jobs.line(run), cache, environments={0: clock(offset)})
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
    command = jobs.line(run, runtime__timeout_s=60)
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
