"""How processes find each other, and how they part: the one call of `jax.distributed.initialize`.

Who is told by flags or by JAX's variables takes those; otherwise the scheduler is asked, as JAX
knows them: TPU slices (Compute Engine, GKE), Slurm, Open MPI, Kubernetes. A process that finds none
of these, or a job of one process, is alone.
"""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import jax
import ml_collections

# JAX has no public name for either: its own libraries (orbax among them) take them from here.
from jax._src import clusters, distributed

from molphenix_jax import signals
from molphenix_jax.errors import InputError, first_line, sentence_of
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.processes import job as jobs
from molphenix_jax.runtime.processes.job import LOST_STATUS, Job, LostError
from molphenix_jax.runtime.progress import console

# What a process has to save and leave: GKE gives 30 s from SIGTERM to the kill.
GRACE_S = 25.0
DEFAULT_TIMEOUT_S = 300.0
_COORDINATOR, _COUNT, _ID = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def runtime_fields() -> Config:
    """The `runtime` part of a config, of jobs of several processes; no number depends on it."""
    r = ml_collections.ConfigDict()
    r.timeout_s = DEFAULT_TIMEOUT_S  # a process of which nothing is heard for so long is lost
    return r


class _Place(NamedTuple):
    """Of this process: address of the first one, how many there are, which this is."""

    coordinator: str | None
    count: int
    index: int


@contextlib.contextmanager
def joined(
    *,
    coordinator: str = "",
    num_processes: int = 0,
    process_id: int = -1,
    timeout_s: float,
    same: Any = None,
    say: Callable[[str], None],
) -> Iterator[None]:
    """This process is one of its job while the block runs; alone where there is no other.

    Args:
        coordinator: HOST:PORT of the first process; empty asks the environment.
        num_processes: How many there are; 0 asks the environment.
        process_id: Which this is, from 0; -1 asks the environment.
        timeout_s: A process of which nothing is heard for so long is lost, and ends the job; one
            that does not find the others within it ends with `LOST_STATUS`.
        same: What has to be the same in each process, as JSON types: their config.
        say: Tells of the devices.

    Raises:
        ConfigError: The places contradict themselves, or processes were started differently.
    """
    place = _place(coordinator, num_processes, process_id)
    if place is None:
        yield
        return
    with _at_abort(lambda: _end_unfound(place, timeout_s)):
        _initialise(place, timeout_s)
    if jax.default_backend() == "cpu" and jax.local_device_count() > 1:
        # JAX keeps programs of the first process alone. One that is read may begin its collectives
        # in another order than one that is compiled, and two devices of a process then wait for
        # each other for ever.
        jax.config.update("jax_enable_compilation_cache", False)
    client = distributed.global_state.client
    assert client is not None, "initialize has made it"
    job = Job(client, jax.process_index(), jax.process_count(), timeout_s=timeout_s)
    console.quiet = job.index > 0
    try:
        told = _at_abort(lambda: _tell_of_first(job)) if job.index else contextlib.nullcontext()
        with told, signals.of_job(job.farewell, grace_s=GRACE_S):
            jobs.enter(job)
            job.start()
            try:
                _introduce(job, same, say)
                yield
                jobs.barrier("end")
            except BaseException as error:
                signals.leave_if_asked()  # while the others can be told
                if isinstance(error, Exception):
                    _fail(job, error)
                raise
            job.tell(ended=0)
            jobs.barrier("goodbye")
            job.stop()
            jax.distributed.shutdown()
    finally:
        job.stop()
        jobs.enter(None)
        console.quiet = False


def _place(coordinator: str, num_processes: int, process_id: int) -> _Place | None:
    """What flags, variables or the scheduler say; None of a process that is alone.

    Raises:
        ConfigError: Some of it is missing or contradicts itself.
    """
    coordinator = coordinator or os.environ.get(_COORDINATOR, "")
    count = num_processes or _number(_COUNT, 0)
    index = _number(_ID, -1) if process_id == -1 else process_id
    if not coordinator and count <= 1 and index <= 0:
        return _scheduled() if count == 0 else None
    if not coordinator or count < 1 or not 0 <= index < count:
        raise ConfigError(
            f"--coordinator={coordinator or '(none)'} --num_processes={count} "
            f"--process_id={index}: a job of several processes needs HOST:PORT of the first, how "
            f"many there are, and which this is, from 0 (or {_COORDINATOR}, {_COUNT} and {_ID})"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--coordinator={coordinator}: is not HOST:PORT")
    return _Place(coordinator, count, index) if count > 1 else None


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    if text and not text.isdigit():
        raise ConfigError(f"{variable}={text!r} is no number")
    return int(text) if text else default


def _scheduled() -> _Place | None:
    """What the scheduler of this process says, if it has one and there are several processes."""
    for kind in clusters.ClusterEnv._cluster_types:
        if not kind.opt_in_only_method and kind.is_env_present():
            count = kind.get_process_count()
            return _Place(None, count, kind.get_process_id()) if count > 1 else None
    return None


def _initialise(place: _Place, timeout_s: float) -> None:
    # JAX would take SIGTERM for itself; `stopping` agrees on the update.
    jax.config.update("jax_enable_preemption_service", False)
    told: dict[str, Any] = {}
    if place.coordinator is not None:
        if place.index == 0:
            _wait_for_port(place, timeout_s)
        told = {
            "coordinator_address": place.coordinator,
            "num_processes": place.count,
            "process_id": place.index,
        }
    try:
        jax.distributed.initialize(
            **told,
            initialization_timeout=int(timeout_s),
            # Later than our own: it ends a process without a sentence.
            heartbeat_timeout_seconds=int(4 * timeout_s) + 60,
            shutdown_timeout_seconds=int(timeout_s),
        )
    except jax.errors.JaxRuntimeError as error:
        # Somebody did not come.
        _end_unfound(place, timeout_s, f": {first_line(error)}")
    except (RuntimeError, ValueError) as error:
        # What the scheduler says is not enough: so it would be another time.
        raise ConfigError(
            f"process {place.index} of {place.count} cannot join the others: {first_line(error)}. "
            "--num_processes=1 trains alone"
        ) from error


def _wait_for_port(place: _Place, timeout_s: float) -> None:
    """Returns once the port is free: the process of before may have it still.

    XLA would end in a segmentation fault.
    """
    port = int((place.coordinator or "").rpartition(":")[2])
    deadline = time.monotonic() + timeout_s
    while _is_taken(port):
        if time.monotonic() > deadline:
            _end_unfound(place, timeout_s, f": port {port} of this host is taken")
        signals.stop_if_asked()
        time.sleep(0.2)


def _is_taken(port: int) -> bool:
    for family, everywhere in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((everywhere, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
    return False


def _end_unfound(place: _Place, timeout_s: float, why: str = "") -> NoReturn:
    """Ends this process with the status after which a scheduler starts the job again."""
    signals.end(
        LOST_STATUS,
        f"error: process {place.index} of {place.count} did not find the others within "
        f"{timeout_s:.0f} s (first process: {place.coordinator or 'as the scheduler says'}){why}. "
        "The same command may be tried again; --num_processes=1 trains alone\n",
    )


def _introduce(job: Job, same: Any, say: Callable[[str], None]) -> None:
    """Prints the table of all devices; checks that all were started alike.

    Raises:
        ConfigError: They were not.
    """
    here = jax.local_devices()
    devices = f"{len(here)} × {here[0].device_kind} ({here[0].platform})"
    told = jobs.everyone_says([socket.gethostname(), os.getpid(), devices, same])
    say(f"{job.n} processes, {jax.device_count()} devices:")
    for i, (host, pid, of, _) in enumerate(told):
        say(f"  process {i}: {of}, host {host}, PID {pid}")
    for i, other in enumerate(told):
        if other[3] != told[0][3]:
            names = [name for name in told[0][3] if told[0][3][name] != other[3].get(name)]
            raise ConfigError(
                f"process {i} was started with another config than process 0; they differ in "
                f"{', '.join(names) or 'their fields'}: give all processes the same command"
            )


def _fail(job: Job, error: Exception) -> NoReturn:
    """Ends this process, and with it the others: with this sentence, or that of who is lost.

    At once, since JAX would have a process that ends by itself wait for all others.
    """
    if isinstance(error, LostError):
        job.end(LOST_STATUS, f"{error}; the same command continues")
    if not isinstance(error, InputError):
        # Another may have gone in the middle of a collective, which shows as an error of any type,
        # of JAX, orbax or TensorStore.
        job.suspect()
    sentence = sentence_of(error)
    if sentence is None:
        traceback.print_exception(error)
        sentence = f"{type(error).__name__}: {first_line(error)}"
    job.end(1, sentence)


def _tell_of_first(job: Job) -> None:
    """Ends a process whose coordination service is gone, with a sentence; otherwise returns."""
    if job.ending is not None:  # the first has heard of it, and has gone already
        status, why = job.ending
        signals.end(status, f"{why}\n" if signals.asked() else job.as_error(why))
    if _answers(distributed.global_state.coordinator_address):
        return  # something else: the abort goes on
    lost = (
        f"{job.name(0)} is lost, in the phase {job.phase(0)!r}: it has ended or cannot be reached"
    )
    status = 128 + signal.SIGTERM if signals.asked() else LOST_STATUS
    signals.end(status, job.as_error(f"{lost}; the same command continues"))


@contextlib.contextmanager
def _at_abort(tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` where XLA aborts this process, which it does where it misses another one.

    In a thread of its own, perhaps: no handler of Python's would run any more.
    """
    system = ctypes.CDLL(None)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handler(_: int) -> None:
        tell()

    system.signal.restype = ctypes.c_void_p
    system.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    before = system.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        system.signal(signal.SIGABRT, before)


def _answers(address: str | None) -> bool:
    host, _, port = (address or "").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False
