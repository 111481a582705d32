"""Jobs of several real processes, on one simulated device each."""

import contextlib
import dataclasses
import math
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE
from tests import tiny

# A stopped process is missed so soon here; a busy machine must not be taken for a stopped one.
TIMEOUT_S = 15
# What a job may take to end beyond that, on a busy machine, and to come to a moment.
SLACK_S = 120
PATIENCE_S = 600
SIGTERM_STATUS = 143
SAVED_WITHIN_S = 25  # of SIGTERM: Kubernetes and Slurm kill after 30
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
LINE_STEPS = 80  # a busy machine must not let it end before a test has done its next thing
PARAMETERS = "model/weights.safetensors"
LINE = pathlib.Path(__file__).with_name("line.py")


def alignment(workdir: pathlib.Path, cache: pathlib.Path, **changes) -> list[str]:
    """The command of the tiny alignment; `changes` are fields with `__` in place of the dots."""
    return tiny.command(workdir, cache, **{**FIELDS, **changes})


def line(workdir: pathlib.Path, **changes) -> list[str]:
    """The command of a task that starts in a moment, likewise."""
    return [
        *(sys.executable, "-m", "molphenix_jax.main", f"--plugin={LINE}", f"--config={LINE}"),
        f"--workdir={workdir}",
        *(
            f"--config.{name.replace('__', '.')}={value}"
            for name, value in {**FIELDS, "train__steps": LINE_STEPS, **changes}.items()
        ),
    ]


def result(workdir: pathlib.Path) -> tuple[bytes, ...]:
    """What two runs of the same have to the bit: metrics, the evaluation, parameters.

    The evaluation of `line` is its parameters.
    """
    names = [METRICS_FILE, "evaluation.json"]
    if (workdir / "model").exists():
        names.append(PARAMETERS)
    return tuple((workdir / name).read_bytes() for name in names)


@dataclasses.dataclass
class Job:
    """Processes that were started as one."""

    processes: list[subprocess.Popen]
    said: list[list[str]]
    readers: list[threading.Thread]
    ended: list[float]  # monotonic seconds, once it has

    def wait(self, seconds: float = PATIENCE_S) -> list[int]:
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

    def texts(self) -> str:
        """What all said."""
        return "\n".join(map(self.text, range(len(self.processes))))

    def send(self, number: signal.Signals, *indices: int) -> None:
        """Sends a signal to some."""
        for i in indices:
            self.processes[i].send_signal(number)

    def tell_to_end(self, *indices: int) -> float:
        """Sends SIGTERM to some: all end as a scheduler wants; seconds that the last one took."""
        began = time.monotonic()
        self.send(signal.SIGTERM, *indices)
        statuses = self.wait(SAVED_WITHIN_S + SLACK_S)
        assert statuses == [SIGTERM_STATUS] * len(self.processes), self.texts()
        took = max(self.ended) - began
        sys.stdout.write(f"\nall have ended {took:.1f} s after SIGTERM to {indices}\n")
        assert took <= SAVED_WITHIN_S, self.texts()
        return took

    def wait_for(self, path: pathlib.Path) -> None:
        """Returns as soon as a file or folder is there."""
        deadline = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert time.monotonic() < deadline, self.texts()
            assert all(process.poll() is None for process in self.processes), self.texts()
            time.sleep(0.001)

    def wait_until_said(self, pattern: str, i: int = 0) -> None:
        """Returns as soon as a process has said something."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.text(i)):
            assert time.monotonic() < deadline, self.texts()
            assert self.processes[i].poll() is None, self.texts()
            time.sleep(0.005)


def free_port() -> int:
    """One on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A port that is taken."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        yield taken.getsockname()[1]


def start(
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
    ended = [math.inf] * n

    def follow(i: int) -> None:
        stream = processes[i].stdout
        assert stream is not None
        for line in stream:
            said[i].append(line)
        ended[i] = time.monotonic()

    readers = [threading.Thread(target=follow, args=(i,), daemon=True) for i in range(n)]
    for reader in readers:
        reader.start()
    return Job(processes, said, readers, ended)


def finish(
    n: int,
    command: list[str],
    cache: pathlib.Path,
    *,
    environments: Mapping[int, Mapping[str, str]] = types.MappingProxyType({}),
) -> Job:
    """Runs them to their end, which has to be good."""
    job = start(n, command, cache, environments=environments)
    assert job.wait() == [0] * n, job.texts()
    return job
