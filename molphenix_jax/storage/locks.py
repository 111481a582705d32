"""Locks of jobs: one process works, others wait for it or are told who it is.

A lock is a small file that says who holds it. It appears whole (a link to a private file), and its
owner touches it every 5 s. An owner on this host is dead if no such process is there; one on
another host, or in another container, if its lock was not touched for 60 s by the file system's own
clock. Who takes over a dead owner's lock first takes a lock named after it, so that of several that
found it dead one replaces it, and none replaces the lock of the one before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator

from molphenix_jax.storage.digests import digest
from molphenix_jax.storage.files import (
    StorageError,
    create,
    private_name,
    remove,
    remove_leftovers,
    writing,
)
from molphenix_jax.storage.owners import Owner

HEARTBEAT_S = 5.0
DEAD_AFTER_S = 60.0
# After so long a lock that nobody touches any more has been seen to be void.
VOID_AFTER_S = 1.25 * DEAD_AFTER_S
_POLL_S, _LONGEST_POLL_S = 0.1, 1.0
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@dataclasses.dataclass(frozen=True)
class _Held:
    """What a lock file says, and the file system's time of its owner's last touch."""

    owner: Owner | None  # None: not written by this program, or cut short
    since: str
    token: str
    touched: float

    def __str__(self) -> str:
        if self.owner is None:
            return f"a process that cannot be told, since {self.since}"
        return f"PID {self.owner.pid} on host {self.owner.host} since {self.since}"

    def is_dead(self, now: float) -> bool:
        dead = self.owner.is_dead() if self.owner else None
        return now - self.touched > DEAD_AFTER_S if dead is None else dead


class _Lock:
    """A lock that this process holds."""

    def __init__(self, path: pathlib.Path, token: str):
        self._path, self._token = path, token
        self._released = threading.Event()
        # Rights to take over from earlier owners, whose holders died with them.
        for name in os.listdir(path.parent):
            if name.startswith(f"{path.name}-"):
                remove(path.with_name(name))

    def beat(self, on_loss: Callable[[], None]) -> None:
        """Touches the lock from a thread; calls `on_loss` where it is no longer ours."""

        def run() -> None:
            while not self._released.wait(HEARTBEAT_S):
                with contextlib.suppress(OSError):  # a network drive is away for a moment
                    if self._is_mine():
                        os.utime(self._path, follow_symlinks=False)
                    elif not self._released.is_set():
                        on_loss()
                        return

        threading.Thread(target=run, daemon=True, name="heartbeat").start()

    def _is_mine(self) -> bool:
        held = _read(self._path)
        return held is not None and held.token == self._token

    def release(self) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self._path.unlink()


def _take(path: pathlib.Path) -> _Lock | _Held:
    """Takes a lock, also that of a dead owner; where another holds it, who that is."""
    private, token = private_name(path), secrets.token_hex(16)
    record = {
        **dataclasses.asdict(Owner.me()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "token": token,
    }
    content = (json.dumps(record) + "\n").encode()
    try:
        _write(private, content)
        while True:
            try:
                _link(private, path, content)
                return _Lock(path, token)
            except FileExistsError:
                held = _read(path)
            if held is None:
                continue  # released just now
            os.utime(private)
            if not held.is_dead(private.stat().st_mtime):
                return held
            # Its name is the dead lock's, so it is not the lock of whoever took over before us.
            right = _take(path.with_name(f"{path.name}-{held.token[:16]}"))
            if isinstance(right, _Held):
                time.sleep(_POLL_S)
                continue
            try:
                again = _read(path)
                if again is not None and again.token == held.token:
                    private.replace(path)
                    return _Lock(path, token)
            finally:
                right.release()
    finally:
        private.unlink(missing_ok=True)


def _write(path: pathlib.Path, content: bytes) -> None:
    with os.fdopen(create(path), "wb") as file:
        file.write(content)


def _link(private: pathlib.Path, path: pathlib.Path, content: bytes) -> None:
    """Gives the private file its second name; raises FileExistsError where that is taken."""
    try:
        os.link(private, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _write(path, content)  # a file system without links


def _read(path: pathlib.Path) -> _Held | None:
    """What a lock says; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return _Held(None, "an unknown time", digest([os.readlink(path)]), path.lstat().st_mtime)
    with os.fdopen(descriptor, "rb") as file:
        touched, content = os.fstat(file.fileno()).st_mtime, file.read(4096)
    try:
        told = json.loads(content)
        owner = Owner(**{f.name: told[f.name] for f in dataclasses.fields(Owner)})
        owner.is_dead()  # also the types have to be right
        return _Held(owner, str(told["since"]), str(told["token"]), touched)
    except (ValueError, KeyError, TypeError, AttributeError):
        when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(touched))
        return _Held(None, when, digest([content]), touched)


@contextlib.contextmanager
def claim(folder: pathlib.Path, *, doing: str, remedy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Holds a folder for this job alone while the block runs; the lock is `.lock` in the folder.

    The first process of a job claims, on behalf of all of them. A folder that was made for the
    claim and is still empty at its end goes again. A process that lost its claim, since its host
    slept for more than a minute and another host took over, ends at once: it must not write.

    Args:
        folder: Made where it is missing.
        doing: What is done in it, to complete "FOLDER is being …".
        remedy: What whoever comes second can do.
        wait_s: For how long to wait for one that holds it.

    Raises:
        StorageError: Another process holds it, or it cannot be written.
    """
    folder = pathlib.Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]

    def stop() -> None:
        sys.stderr.write(f"error: {folder} was taken over by another process; this one stops\n")
        sys.stderr.flush()
        os._exit(1)

    with writing(folder):
        lock, began = _take_within(folder), time.monotonic()
        while isinstance(lock, _Held) and time.monotonic() - began < wait_s:
            time.sleep(_LONGEST_POLL_S)
            lock = _take_within(folder)
    if isinstance(lock, _Held):
        raise StorageError(f"{folder} is being {doing} by {lock}; {remedy}")
    try:
        lock.beat(stop)
        for place, _, _ in os.walk(folder):
            remove_leftovers(pathlib.Path(place))
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def _take_within(folder: pathlib.Path) -> _Lock | _Held:
    for _ in range(10):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another that failed removed it, empty
            return _take(folder / ".lock")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


@contextlib.contextmanager
def waiting_lock(
    path: pathlib.Path, *, doing: str, say: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Holds the lock of `path` while the block runs, after waiting for whoever holds it.

    The lock lies beside `path`, as `.NAME.lock`.

    Args:
        path: A file or folder to be made.
        doing: What is done with it, to complete "FOLDER is being …".
        say: Is told once for whom this process waits.

    Raises:
        StorageError: The folder of `path` cannot be written.
    """
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _take(path.with_name(f".{path.name}.lock"))
        if isinstance(lock, _Held):
            say(f"{path} is being {doing} by {lock}: waiting for it")
        pause = _POLL_S
        while isinstance(lock, _Held):
            time.sleep(pause)
            pause = min(1.2 * pause, _LONGEST_POLL_S)
            lock = _take(path.with_name(f".{path.name}.lock"))
    try:
        # Losing it costs nothing: what is made appears in one step, or not if another's is there.
        lock.beat(lambda: None)
        remove_leftovers(path.parent, of=path.name)
        yield
    finally:
        lock.release()
