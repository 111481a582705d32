"""Starts a command as a terminal does, and stops it at a chosen moment."""

import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from tests import forks

# What a command may take to end: it means to within 5 s; on a busy machine it may come later. What
# the tests interrupt takes far longer.
LIMIT_S = 25


class Ended(NamedTuple):
    """How a command ended: status, all that it said, seconds after the signal."""

    status: int
    said: str
    seconds: float


def stop(
    command: list[str],
    environment: dict[str, str],
    *,
    number: signal.Signals,
    when: str | Callable[[int], bool],
    wait_s: float = 0,
    anew: bool = False,
) -> Ended:
    """Runs a command, sends a signal to all its processes, waits for its end.

    Args:
        command: Of a session of its own, as from a terminal.
        environment: Its environment.
        number: The signal.
        when: It is sent when a line matches this, or when this holds (given the PID).
        wait_s: So many seconds later.
        anew: As in `forks.start`.
    """
    process = forks.start(
        command,
        environment,
        anew=anew,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    assert process.stdout is not None

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    said: list[str] = []
    try:
        while True:
            if callable(when):
                if when(process.pid):
                    break
                assert process.poll() is None, "".join(said)
                time.sleep(0.002)
                continue
            line = lines.get(timeout=300)
            assert line is not None, f"it ended before {when!r}:\n{''.join(said)}"
            said.append(line)
            if re.search(when, line):
                break
        time.sleep(wait_s)
        began = time.monotonic()
        os.killpg(process.pid, number)
        status = process.wait(timeout=LIMIT_S)
        seconds = time.monotonic() - began
        while (line := lines.get(timeout=LIMIT_S)) is not None:
            said.append(line)
    finally:
        process.kill()
    reader.join()
    process.stdout.close()
    _wait_for_workers(process.pid)
    return Ended(status, "".join(said), seconds)


def listens(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    (caught,) = re.findall(r"SigCgt:\s*([0-9a-f]+)", status)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def _wait_for_workers(session: int) -> None:
    """Fails where a process of the session lives on."""
    deadline = time.monotonic() + LIMIT_S
    while left := _of_session(session):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _of_session(session: int) -> list[str]:
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append((stat.parent / "cmdline").read_text())
        except (OSError, ValueError):
            continue
    return found
