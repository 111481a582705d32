"""Ctrl-C and SIGTERM: a command ends within seconds, with a sentence and without a traceback.

    install()    first thing in a process that is a command: from here on nothing is swallowed
    working()    around the work: a signal unwinds it, so that locks and half files go
    deferred()   around what must not be torn: a signal is noted, `asked()` tells, the end raises
    prompt()     around a part of that which may be: a signal unwinds it at once
    of_job()     around what several processes do together: each passes a signal on to all

Python runs a signal's handler between two of its own instructions: in the middle of a long call of
C++ (XLA compiles for minutes) never. So a thread waits for signals too, woken by the system itself
(`signal.set_wakeup_fd`), and ends the process if that has not ended by itself after `GRACE_S`. What
is left behind then is what a kill leaves: the next start knows it as such.

A process of several is told by the others (`runtime/processes`) with `RELAYED`, which is as good as
SIGTERM. A scheduler's own SIGTERM may come after it, and is no second one.

Exit status: 0 done, 1 input, 2 usage, 130 Ctrl-C (SIGINT), 143 SIGTERM.
"""

import contextlib
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# Seconds to unwind, save and leave; together with what the system needs it has to stay below 5.
GRACE_S = 3.5
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
_AT_ONCE, _UNWIND, _NOTE = "at once", "unwind", "note"
RELAYED = signal.SIGUSR1  # of another process of the same job that has been asked to end


class Stopped(KeyboardInterrupt):
    """A signal asks the work to end; not an error."""


class _State:
    """Of this process.

    Attributes:
        number: The signal that has asked it to end.
        mode: What a signal does now.
        work: The block of `working` that runs; another object for each, and for none.
        relayed: Whether it was another process that told of it.
        grace_s: Seconds that the work has to end.
        farewell: Is told exit status and reason before this process ends by a signal.
    """

    number: int | None = None
    mode = _AT_ONCE
    work = object()
    relayed = False
    grace_s = GRACE_S
    farewell: Callable[[int, str], None] | None = None


def install() -> None:
    """Listens to Ctrl-C and SIGTERM; before `working` they end the process at once."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    _State.number, _State.mode = None, _AT_ONCE
    for number in _NAMES:
        signal.signal(number, _handle)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    shown = sys.unraisablehook

    def unraisable(what: Any) -> None:
        # Raised in a destructor or a callback of the garbage collector, where Python drops it.
        if isinstance(what.exc_value, Stopped) and _State.number is not None:
            _leave(_State.number)
        shown(what)

    sys.unraisablehook = unraisable
    threading.Thread(target=_watch, args=(reads,), name="signals", daemon=True).start()


@contextlib.contextmanager
def working() -> Iterator[None]:
    """A signal within the block unwinds it and ends the process; without `install` there is none.

    Errors of any kind that come of it are not shown: libraries turn an interrupt into their own.
    """
    _State.mode, _State.work = _UNWIND, object()
    try:
        yield
    except BaseException:
        leave_if_asked()
        raise
    finally:
        # A signal that has come too late is forgotten: the work is done.
        _State.mode, _State.work, _State.number = _AT_ONCE, object(), None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal within the block is noted and raised at its end."""
    with _mode(_NOTE):
        yield
    stop_if_asked()


@contextlib.contextmanager
def prompt() -> Iterator[None]:
    """Within `deferred`: a signal within the block unwinds it, one that was noted does so now."""
    with _mode(_UNWIND):
        stop_if_asked()
        yield


@contextlib.contextmanager
def _mode(mode: str) -> Iterator[None]:
    before, _State.mode = _State.mode, mode
    try:
        yield
    finally:
        _State.mode = before


@contextlib.contextmanager
def of_job(farewell: Callable[[int, str], None], *, grace_s: float) -> Iterator[None]:
    """Within the block this process is one of several that end together.

    Args:
        farewell: Is told exit status and reason before this process ends by a signal.
        grace_s: Seconds that the work has to end, in place of `GRACE_S`.
    """
    before = signal.signal(RELAYED, _handle)
    _State.farewell, _State.grace_s = farewell, grace_s
    try:
        yield
    finally:
        _State.farewell, _State.grace_s, _State.relayed = None, GRACE_S, False
        signal.signal(RELAYED, before)


def asked() -> bool:
    """Whether a signal has asked the work to end."""
    return _State.number is not None


def stop_if_asked() -> None:
    """Raises what a signal would have raised.

    Raises:
        Stopped: One has come.
    """
    if asked():
        raise Stopped


def leave_if_asked() -> None:
    """Ends the process where a signal has asked for it, whatever has come of that by now."""
    if _State.number is not None:
        _leave(_State.number)


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
    """Processes that are started within the block do not hear Ctrl-C: this one ends them.

    A terminal sends it to all processes; each would show a traceback of its own, and the one that
    then removes their shared memory a warning that it does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    warned = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warned, "ignore:resource_tracker")))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        del os.environ["PYTHONWARNINGS"]
        if warned is not None:
            os.environ["PYTHONWARNINGS"] = warned


def _handle(number: int, _: object) -> None:
    if number == RELAYED:
        if _State.number is not None:
            return
        number, _State.relayed = signal.SIGTERM, True
    elif _State.relayed:
        _State.relayed = False
        return
    if _State.number is not None or _State.mode == _AT_ONCE:
        _leave(number)  # the second one: who asks does not want to wait
    _State.number = number
    if _State.mode == _UNWIND:
        raise Stopped


def _watch(reads: int) -> None:
    while number := os.read(reads, 1)[0]:
        number, work = signal.SIGTERM if number == RELAYED else number, _State.work
        if number in _NAMES:
            time.sleep(_State.grace_s)
            if _State.work is work:
                _leave(number)


def _leave(number: int) -> None:
    """Ends the process and those that it started, with the sentence."""
    sentence = f"stopped by {_NAMES[signal.Signals(number)]}: the same command continues\n"
    if _State.farewell is not None:
        _State.farewell(128 + number, sentence.strip())
    end(128 + number, sentence)


def end(status: int, sentence: str) -> NoReturn:
    """Ends the process and those that it started at once, from any thread, with a sentence."""
    if sys.stdout is not None and sys.stdout.isatty():
        sentence = f"\x1b[?25h\n{sentence}"  # a progress bar hides the cursor
    with contextlib.suppress(OSError):
        os.write(1, sentence.encode())
    for process in _children(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    os._exit(status)


def _children(parent: int) -> list[int]:
    """The processes that one has started, and theirs; where the system does not tell, none."""
    started: dict[int, list[int]] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # After the name, which is in brackets and may hold anything: state, parent, …
            after = stat.read_text().rpartition(")")[2].split()
            started.setdefault(int(after[1]), []).append(int(stat.parent.name))
    found, wanted = [], [parent]
    while wanted:
        children = [child for child in started.get(wanted.pop(), ()) if not _cleans_up(child)]
        found += children
        wanted += children
    return found


def _cleans_up(process: int) -> bool:
    """Whether it is Python's process that removes shared memory once its parent has gone."""
    try:
        return b"resource_tracker" in pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
