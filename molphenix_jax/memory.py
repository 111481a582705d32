"""How much memory a process may use, and the sentence that says what would need more."""

import os
import pathlib
import resource

from molphenix_jax.errors import InputError

# What a container may use, of either version of Linux's control groups.
_CONTAINER = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_of_process() -> int:
    """Bytes: the machine's memory, or less where a container or `ulimit -v` allows less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    for path in _CONTAINER:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # another version, or "max"
            continue
    return min(limits)


def beyond_memory(n_bytes: float, there: int | None = None) -> str | None:
    """How much is needed and how much there is, in words; None where it fits.

    Args:
        n_bytes: What is needed at least.
        there: What there is; None takes that of this process.
    """
    there = memory_of_process() if there is None else there
    if n_bytes <= there:
        return None
    return f"{in_words(n_bytes)}, there are {in_words(there)} of memory here"


def need_memory(what: str, n_bytes: float, remedy: str, *, there: int | None = None) -> None:
    """Ends what the memory cannot hold before it is begun.

    Args:
        what: That needs it.
        n_bytes: How much at least.
        remedy: What to lower.
        there: What there is; None takes that of this process.

    Raises:
        InputError: There is less; says how much of both.
    """
    if (told := beyond_memory(n_bytes, there)) is not None:
        raise InputError(f"{what} would need {told}: {remedy}")


def in_words(n_bytes: float) -> str:
    """A number of bytes as a person says it."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = next((i for i in range(len(units)) if n_bytes < 1024 ** (i + 1)), len(units) - 1)
    return f"{n_bytes / 1024**power:,.3g} {units[power]}"
