"""Jobs of several real processes of the tiny alignment, on one simulated device each."""

import dataclasses
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import types
from collections.abc import Mapping

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE
from tests import tiny

# A stopped process is missed so soon here; a busy machine must not be taken for a stopped one.
TIMEOUT_S = 12
# What a job may take to end beyond that, on a busy machine.
SLACK_S = 60
FIELDS = {
    "train__devices": 0,
    "train__steps": 30,
    "train__log_every": 5,
    "train__validate_every": 15,
    "train__checkpoint_every": 5,
    "train__keep_checkpoints": 4,
    "runtime__timeout_s": TIMEOUT_S,
}
STEPS = FIELDS["train__steps"]


def result(workdir: pathlib.Path) -> tuple[bytes, ...]:
    """What two runs of the same have to the bit: metrics, parameters, the evaluation."""
    names = (METRICS_FILE, "model/weights.safetensors", "evaluation.json")
    return tuple((workdir / name).read_bytes() for name in names)


@dataclasses.dataclass
class Job:
    """Processes that were started as one."""

    processes: list[subprocess.Popen]
    said: list[list[str]]
    readers: list[threading.Thread]

    def wait(self, seconds: float = 240) -> list[int]:
        """Statuses of all; fails where one has not ended by then, and kills it."""
        deadline = time.monotonic() + seconds
        try:
            for process in self.processes:
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        finally:
            for process in self.processes:
                process.kill()
                process.wait()
            for reader in self.readers:
                reader.join()
            for process in self.processes:
                assert process.stdout is not None
                process.stdout.close()
        return [process.returncode for process in self.processes]

    def text(self, i: int) -> str:
        """What a process said."""
        return "".join(self.said[i])

    def send(self, number: signal.Signals, *indices: int) -> None:
        """Sends a signal to some."""
        for i in indices:
            self.processes[i].send_signal(number)

    def wait_for(self, path: pathlib.Path) -> None:
        """Returns as soon as a file or folder is there."""
        deadline = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < deadline, self.text(0)
            assert all(process.poll() is None for process in self.processes), self.text(0)
            time.sleep(0.001)

    def wait_until_said(self, pattern: str, i: int = 0) -> None:
        """Returns as soon as a process has said something."""
        deadline = time.monotonic() + 120
        while not re.search(pattern, self.text(i)):
            assert time.monotonic() < deadline, self.text(i)
            assert self.processes[i].poll() is None, self.text(i)
            time.sleep(0.001)


def free_port() -> int:
    """One on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(n: int, workdir: pathlib.Path, cache: pathlib.Path, **changes) -> Job:
    """Starts n processes of a run; `changes` are fields with `__` in place of the dots."""
    return start_all(n, tiny.command(workdir, cache, **{**FIELDS, **changes}), cache)


def start_all(
    n: int,
    command: list[str],
    cache: pathlib.Path,
    *,
    environments: Mapping[int, Mapping[str, str]] = types.MappingProxyType({}),
) -> Job:
    """Starts a command in n processes that are one job; some with variables of their own."""
    port = free_port()
    place = [f"--coordinator=localhost:{port}", f"--num_processes={n}"]
    processes = [
        tiny.start([*command, *place, f"--process_id={i}"], cache, environments.get(i, {}))
        for i in range(n)
    ]
    said: list[list[str]] = [[] for _ in processes]

    def follow(i: int) -> None:
        stream = processes[i].stdout
        assert stream is not None
        for line in stream:
            said[i].append(line)

    readers = [threading.Thread(target=follow, args=(i,), daemon=True) for i in range(n)]
    for reader in readers:
        reader.start()
    return Job(processes, said, readers)


def finish(n: int, workdir: pathlib.Path, cache: pathlib.Path, **changes) -> Job:
    """Runs them to their end, which has to be good."""
    job = start(n, workdir, cache, **changes)
    assert job.wait() == [0] * n, "\n".join(job.text(i) for i in range(n))
    return job
