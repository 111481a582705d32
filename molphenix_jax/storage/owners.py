"""The process that a lock or a private name belongs to, and whether it still lives.

A process ID alone says little: it is used again after a while and after each start of the machine,
and another machine or container has the same ones. So an owner is its host, that host's boot, the
namespace of its process IDs, the ID and the moment at which the process started.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import socket

_PROC = pathlib.Path("/proc")
LABEL = r"[0-9a-f]{8}-[0-9a-f]{8}-\d+-\d+-\d+"


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: Name of its machine.
        boot: ID of that machine's start; empty where the system tells none, as the next two.
        namespace: Number of the namespace that its ID is counted in.
        pid: Process ID.
        started: When the process started, in clock ticks since the boot.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), _namespace(), pid, _started(pid) or "")

    @property
    def label(self) -> str:
        """The owner within a file name: hashes of host and boot, then the three numbers."""
        host, boot = (_short(text) for text in (self.host, self.boot))
        return f"{host}-{boot}-{self.namespace or 0}-{self.pid}-{self.started or 0}"

    def is_dead(self) -> bool | None:
        """Whether it has ended; None where this process cannot see it."""
        return is_dead(self.label)


def is_dead(label: str) -> bool | None:
    """Whether the owner of a label has ended; None where this process cannot see it."""
    host, boot, namespace, pid, started = label.split("-")
    mine = Owner.me()
    if host != _short(mine.host):
        return None
    if boot != _short(mine.boot):
        return True
    if namespace != (mine.namespace or "0"):
        return None  # another container of this machine
    now = _started(int(pid))
    return now is None or (now != started and "0" not in (now, started))


def find_label(name: str, before: str, after: str) -> str | None:
    """The label within a file name, between two regular expressions; None where there is none."""
    match = re.fullmatch(f"{before}({LABEL}){after}", name, re.DOTALL)
    return match[1] if match else None


def _started(pid: int) -> str | None:
    """When a process started, "0" where the system does not tell; None where there is no such."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it lives, and is somebody else's
    try:
        # The name of the program, in parentheses, may hold blanks.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "0"
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started  # ended, and its parent has not yet looked


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return re.sub(r"\D", "", os.readlink(_PROC / "self/ns/pid"))
    except OSError:
        return ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
