"""What each process of a job tells all others of itself, and the threads that miss one of them.

A process keeps one record in the key-value store of JAX's coordination service, which runs in the
first process, and reads those of all: where it is, whether a signal has asked it to end, whether it
has ended and why. A thread writes the record again and again, so one that no longer changes is of a
process that was killed or stopped, or whose host is gone. Another thread, which never talks to
anybody and so is never kept waiting, ends this process when that has lasted for the time limit: a
collective that waits for a lost process never returns to Python.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import jax

from molphenix_jax import signals
from molphenix_jax.errors import InputError

# Exit status where another process of the job was lost. Schedulers start such a job again: XPK's
# JobSet does so for 42 and for 127 to 255 alone.
LOST_STATUS = 142
_FOLDER = "molphenix"
_LONGEST_BEAT_S, _LONGEST_PAUSE_S = 2.0, 0.5
_SUSPECTED_BEATS = 4  # without one a process is lost, where something has failed
# Time limits that all may stand at one place of the training together: an hour by default. No
# compilation, validation or save takes so long; processes that wait for each other take for ever.
_STANDSTILL_LIMITS = 12
# The first process serves the records, so it stays so long for the others to read its last one.
FAREWELL_S = 5.0


class Client(Protocol):
    """What is used of the client of JAX's coordination service."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        """Writes a key."""
        ...

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        """Every key below one, with its value."""
        ...


@dataclasses.dataclass
class _Seen:
    """What is known of another process.

    Attributes:
        record: The newest that it told.
        heard: When it last told anything (monotonic seconds).
        moved: When its place in the training last changed.
    """

    record: dict[str, Any]
    heard: float
    moved: float


class Job:
    """This process among the others of its job."""

    def __init__(self, client: Client, index: int, n: int, *, timeout_s: float):
        self.client, self.index, self.n, self.timeout_s = client, index, n, timeout_s
        self._beat_s = min(_LONGEST_BEAT_S, timeout_s / 10)
        now = time.monotonic()
        self._seen = {i: _Seen({}, now, now) for i in range(n) if i != index}
        self._record: dict[str, Any] = {
            "beat": 0,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "phase": "start",
            "passed": 0,
            "position": None,
        }
        self._lock = threading.RLock()
        self._answered, self._moved, self._told = now, now, 0
        self._done = threading.Event()
        self._suspicious = False
        self.ending: tuple[int, str] | None = None  # status and reason, once it ends
        # Called in each beat with the records of all, once a process has been asked to end.
        self.on_asked: Callable[[dict[int, dict[str, Any]]], None] | None = None

    def start(self) -> None:
        """Begins to tell and to watch."""
        for target in (self._tell_again_and_again, self._watch):
            threading.Thread(target=target, daemon=True, name=target.__name__.strip("_")).start()

    def stop(self) -> None:
        """Ends both."""
        self._done.set()

    # Records.

    def tell(self, **changes: Any) -> None:
        """Changes the record of this process and lets the others know."""
        with self._lock:
            self._record.update(changes)
            self._record["beat"] += 1
            text = json.dumps(self._record)
            self.client.key_value_set(f"{_FOLDER}/{self.index}", text, allow_overwrite=True)

    def note(self, **changes: Any) -> None:
        """Changes entries that the record of this process has; the next beat tells."""
        self._record.update(changes)
        self._moved = time.monotonic()

    def look(self) -> dict[int, dict[str, Any]]:
        """The newest records of all processes that have told one."""
        found = self.client.key_value_dir_get(f"{_FOLDER}/")
        now = self._answered = time.monotonic()
        records = {int(key.rpartition("/")[2]): json.loads(text) for key, text in found}
        for i, seen in self._seen.items():
            new = records.get(i, {})
            if new.get("beat") != seen.record.get("beat"):
                seen.heard = now
                if new.get("position") != seen.record.get("position"):
                    seen.moved = now
                seen.record = new
        return records

    def name(self, i: int) -> str:
        """A process in a sentence."""
        record = self._record if i == self.index else self._seen[i].record
        if not record:
            return f"process {i} of {self.n}"
        return f"process {i} of {self.n} (PID {record['pid']} on host {record['host']})"

    def phase(self, i: int) -> str:
        """The last phase that another process has told of."""
        return self._seen[i].record.get("phase", "start")

    # Threads.

    def _tell_again_and_again(self) -> None:
        pause = self._beat_s
        while not self._done.wait(pause):
            with contextlib.suppress(Exception):  # the service is away: the other thread counts
                records = self._beat()
                asked = any(record.get("asked") for record in records.values())
                pause = min(self._beat_s, 0.1) if asked else self._beat_s

    def _beat(self) -> dict[int, dict[str, Any]]:
        self.tell(**({"asked": True} if signals.asked() else {}))
        records = self.look()
        if any(record.get("asked") for record in records.values()):
            if not signals.asked():
                os.kill(os.getpid(), signals.RELAYED)
            if self.on_asked is not None:
                self.on_asked(records)
        return records

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._done.wait(min(0.5, self._beat_s)):
            now = time.monotonic()
            if (slept := now - before) > 3 * self._beat_s:
                # This process was stopped itself for a while, and heard nobody meanwhile.
                self._answered += slept
                for seen in self._seen.values():
                    seen.heard += slept
                    seen.moved += slept
            before = now
            with contextlib.suppress(KeyError):
                self._miss(now)

    def _miss(self, now: float) -> None:
        """Ends this process where another has ended, is lost, or stands still, or all do."""
        limit = self.timeout_s
        if self._suspicious:
            limit = min(limit, _SUSPECTED_BEATS * self._beat_s)
        for i, seen in self._seen.items():
            status = seen.record.get("ended")
            if status and not seen.record.get("asked"):
                self.end(status, f"{self.name(i)} has ended: {seen.record['why']}")
            if status is not None:
                continue
            silent = now - seen.heard
            if i == 0:
                silent = max(silent, now - self._answered)
            if silent > limit and (i == 0 or now - self._answered < limit):
                self.end(
                    LOST_STATUS,
                    f"{self.name(i)} is lost: nothing was heard of it for {silent:.0f} s, in "
                    f"the phase {self.phase(i)!r}; the same command continues",
                )
            here, there = self._record["position"], seen.record.get("position")
            if here is None or there is None or there >= here:
                continue
            # Behind for so long: it may compile for minutes, but as long as this one did.
            behind = now - max(seen.moved, self._moved)
            if behind > self.timeout_s:
                self.end(
                    LOST_STATUS,
                    f"{self.name(i)} stands still: it has been at update {int(there):,} for "
                    f"{behind:.0f} s, and this one is at {int(here):,}; the same command continues",
                )
        self._miss_all(now)

    def _miss_all(self, now: float) -> None:
        """Ends this process where all stand at one place, each of them alive."""
        here = self._record["position"]
        if here is None or any(of.record.get("position") != here for of in self._seen.values()):
            return
        stood = now - max(self._moved, *(seen.moved for seen in self._seen.values()))
        if stood > _STANDSTILL_LIMITS * self.timeout_s:
            self.end(
                LOST_STATUS,
                f"all {self.n} processes have stood at update {int(here):,} for {stood:.0f} s, "
                f"{_STANDSTILL_LIMITS} times runtime.timeout_s; the same command continues. Where "
                "compiling, validation or one update takes so long, raise runtime.timeout_s",
            )

    def suspect(self) -> None:
        """Something has failed in this process: returns once all others were heard of since.

        Where one has gone the watching thread ends this process before, with the name of that one.
        """
        self._suspicious = True
        began = time.monotonic()
        # What is heard at once may have been told before.
        while any(seen.heard < began + 2 * self._beat_s for seen in self._seen.values()):
            if time.monotonic() > began + self.timeout_s:
                return
            time.sleep(0.1)

    def end(self, status: int, sentence: str) -> NoReturn:
        """Ends this process, and lets the others end with the same sentence."""
        self.farewell(status, sentence)
        signals.end(status, self.as_error(sentence))

    def as_error(self, sentence: str) -> str:
        """The line that this process ends with."""
        return f"error: process {self.index}: {sentence}\n"

    def farewell(self, status: int, why: str) -> None:
        """Tells the others that this process ends; the first one waits until they have heard it.

        Never longer than `FAREWELL_S`, whatever the service does.
        """
        self.ending = (status, why)

        def tell() -> None:
            with contextlib.suppress(Exception):
                asked = {"asked": True} if status == 128 + signal.SIGTERM or signals.asked() else {}
                self.tell(ended=status, why=why, **asked)
                began = time.monotonic()
                while self.index == 0 and time.monotonic() - began < FAREWELL_S:
                    records = self.look()
                    if all("ended" in records.get(i, {}) for i in self._seen):
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=tell, daemon=True, name="farewell")
        thread.start()
        thread.join(FAREWELL_S)

    # Waiting for each other.

    def wait_for_all(self, name: str, *, within_s: float | None) -> None:
        """Returns once every process has come to this barrier.

        Raises:
            LostError: One has not come within the limit.
            Stopped: A signal asks this process to end.
        """
        self.tell(passed=self._record["passed"] + 1, phase=name)
        began, pause = time.monotonic(), 0.005
        while True:
            self.look()
            left = [
                i
                for i, seen in self._seen.items()
                if seen.record.get("passed", 0) < self._record["passed"]
            ]
            if not left:
                return
            signals.stop_if_asked()
            waited = time.monotonic() - began
            if within_s is not None and waited > within_s:
                raise LostError(
                    f"{self.name(left[0])} has not come to the end of {name!r} within "
                    f"{waited:.0f} s: it is in the phase {self.phase(left[0])!r}"
                )
            time.sleep(pause)
            pause = min(1.3 * pause, _LONGEST_PAUSE_S)

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gives, in their order; of JSON types."""
        self._told += 1
        folder = f"{_FOLDER}-said-{self._told}"
        text = json.dumps(value)
        self.client.key_value_set(f"{folder}/{self.index}", text, allow_overwrite=True)
        pause = 0.005
        while len(found := self.client.key_value_dir_get(f"{folder}/")) < self.n:
            signals.stop_if_asked()
            time.sleep(pause)
            pause = min(1.3 * pause, _LONGEST_PAUSE_S)
        said = {int(key.rpartition("/")[2]): json.loads(text) for key, text in found}
        return [said[i] for i in range(self.n)]


class LostError(InputError):
    """Another process of the job does not answer."""


class _State:
    """Of this process.

    Attributes:
        job: Where there are several processes.
        since: When the last barrier was passed.
    """

    job: Job | None = None
    since = 0.0


def current() -> Job | None:
    """The job of this process; None where it is alone."""
    return _State.job


def enter(job: Job | None) -> None:
    """Makes a job the one that the functions below speak of."""
    _State.job, _State.since = job, time.monotonic()


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes files, reports and what a person sees."""
    return jax.process_index() == 0


def barrier(name: str, *, alone: bool = False) -> None:
    """The end of a phase: returns once every process has come to it.

    Args:
        name: Of the phase.
        alone: Whether the first process worked alone, for as long as it takes: the others wait as
            long as it is heard of. Otherwise one that takes the time limit longer than twice what
            this one took is lost.

    Raises:
        LostError: One has not come within the limit.
        Stopped: A signal asks this process to end.
    """
    job, now = current(), time.monotonic()
    if job is not None:
        within_s = None if alone else job.timeout_s + 2 * (now - _State.since)
        job.wait_for_all(name, within_s=within_s)
        _State.since = time.monotonic()


def begin(phase: str) -> None:
    """The phase that this process is in from here on, as the others name it should it be lost."""
    job = current()
    if job is not None:
        job.tell(phase=phase)


@contextlib.contextmanager
def first_before_others(name: str) -> Iterator[None]:
    """The first process runs the block, then all others do: what it made they find."""
    begin(name)
    if not is_first():
        barrier(name, alone=True)
    yield
    if is_first():
        barrier(name, alone=True)


def everyone_says(value: Any) -> list[Any]:
    """What each process gives, in their order: JSON types, a few KB at most."""
    job = current()
    return [value] if job is None else job.gather(value)


def first_says(value: Any) -> Any:
    """What the first process gives."""
    return everyone_says(value)[0]
