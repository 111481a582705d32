"""Processes of the program that start in a moment: forked from one that has done its imports.

`start([sys.executable, "-m", MODULE, …], environment)` is `subprocess.Popen` of the same command:
a child with its own process, signals, output and exit status, that ends as any interpreter does.
Only its imports, 4 CPU seconds of each command, were done before, by a server without threads of
its own and without a backend of JAX; and its pictures stay blank. Tests of what happens during the
imports, or in another environment, or of two processes that must not share even the seed of
Python's hashes, start `anew`.
"""

import atexit
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
import runpy
import socket
import subprocess
import sys
from typing import Any

import molphenix_jax
from tests import pictures

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_SUBREAPER = 36  # of Linux's prctl: who has lost its parent becomes a child of this process
_OF_A_TEST = "PYTEST_CURRENT_TEST"
# What commands import where they use it.
_LATE = ("matplotlib.backends.backend_agg", "sklearn.decomposition", "sklearn.model_selection")
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def start(
    command: list[str], environment: dict[str, str], *, anew: bool = False, **options: Any
) -> subprocess.Popen:
    """`subprocess.Popen` of a module, in the folder of this repository unless told otherwise.

    Args:
        command: Python, -m, the module, its arguments.
        environment: All of it. Each other one has a server of its own.
        anew: Without a server, as a user starts it.
        options: Of `subprocess.Popen`.
    """
    options = {"cwd": REPOSITORY, "env": environment, **options}
    if anew or not sys.platform.startswith("linux"):
        return subprocess.Popen(command, **options)
    return _Forked(command, **options)


class _Forked(subprocess.Popen):
    """A child that a server forks, and that then is one of this process."""

    def _execute_child(self, *arguments):
        given = inspect.signature(super()._execute_child).bind(*arguments).arguments
        command = given["args"]
        assert command[:2] == [sys.executable, "-m"], command
        job = {
            "argv": command[2:],
            "cwd": str(given["cwd"]),
            "env": given["env"],
            "session": given["start_new_session"],
        }
        pipes = [given[name] for name in _PIPES]
        ends = zip((0, 1, 2), (pipes[0], pipes[3], pipes[5]), strict=True)
        constant = {name: value for name, value in job["env"].items() if name != _OF_A_TEST}
        server = _server(tuple(sorted(constant.items())))
        fds = [here if fd == -1 else fd for here, fd in ends]
        socket.send_fds(server, [json.dumps(job).encode()], fds)
        answer = server.recv(64)
        assert answer, "the server of processes has ended"
        self.pid, self._child_created = int(answer), True
        self._close_pipe_fds(*pipes)


@functools.cache
def _server(environment: tuple[tuple[str, str], ...]) -> socket.socket:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(there.fileno())],
            cwd=REPOSITORY,
            env=dict(environment),
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


def _serve(channel: socket.socket) -> str:
    """Forks until the other side has gone; returns in each job, with the module that it is."""
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        if not message:
            os._exit(0)
        reads, writes = os.pipe()
        if between := os.fork():
            os.waitpid(between, 0)
            for fd in (*fds, writes):
                os.close(fd)
            with open(reads, "rb") as pid:
                channel.send(pid.read())
            continue
        if pid := os.fork():  # whose parent ends here, and so is the one that asked for it
            os.write(writes, str(pid).encode())
            os._exit(0)
        job = json.loads(message)
        if job["session"]:
            os.setsid()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        for fd in (*fds, reads, writes):
            os.close(fd)
        channel.close()
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["env"])
        sys.path[0] = job["cwd"]
        module, *sys.argv[1:] = job["argv"]
        return module


if __name__ == "__main__":
    for library in _LATE:
        importlib.import_module(library)
    for room in pkgutil.walk_packages(molphenix_jax.__path__, "molphenix_jax."):
        if not re.match(r"molphenix_jax\.(main|cli|bench|configs)", room.name):
            importlib.import_module(room.name)
    pictures.leave_blank()
    gc.freeze()  # what is here already is not looked through in each job
    module = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
