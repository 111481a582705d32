"""One function over many molecules: once per distinct string, in processes where there are many."""

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

import joblib

from molphenix_jax import signals

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

# Starting worker processes and importing RDKit in them costs about two seconds; below this many
# distinct molecules the calling process is done sooner alone.
PARALLEL_FROM = 2000
CHUNK = 256
_workers: contextvars.ContextVar[int] = contextvars.ContextVar("workers", default=-1)


@contextlib.contextmanager
def using_workers(n: int) -> Iterator[None]:
    """So many processes within the block; 0 means one for each core, as outside of it."""
    token = _workers.set(n or -1)
    try:
        yield
    finally:
        _workers.reset(token)


def n_workers() -> int:
    """How many processes there are."""
    return joblib.effective_n_jobs(_workers.get())


def map_distinct(
    function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result]:
    """Results of `function` for each item, computed once for equal items.

    Args:
        function: takes a list of items, returns one result for each. It must be picklable (a module
            function or a `functools.partial` of one) and must not depend on its neighbours.
        items: n items, in any order, with repeats.

    Returns:
        n results, in the order of `items`. The same whether computed in one process or in several.
    """
    distinct = list(dict.fromkeys(items))
    if len(distinct) < PARALLEL_FROM or n_workers() == 1:
        results = list(function(distinct)) if distinct else []
    else:
        chunks = [distinct[start : start + CHUNK] for start in range(0, len(distinct), CHUNK)]
        # joblib's loky workers are fresh processes, not forks: safe beside JAX's threads.
        with signals.starting_workers():
            workers = joblib.Parallel(n_jobs=n_workers(), prefer="processes")
            done = workers(joblib.delayed(function)(chunk) for chunk in chunks)
        results = [result for chunk in done or () for result in chunk or ()]
    by_item = dict(zip(distinct, results, strict=True))
    return [by_item[item] for item in items]
