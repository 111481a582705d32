"""One job of several processes, on one host or many: joining, waiting for each other, ending.

    joining    the one call of `jax.distributed.initialize`, the table of devices, the end
    job        what each process tells all others of itself, and the thread that misses one
    arrays     what they give each other beside it, through the devices
    stopping   the update after which all stop when one of them is told to

With a single process each of these does nothing.
"""

from molphenix_jax.runtime.processes.arrays import of_first, rows_of_all
from molphenix_jax.runtime.processes.job import (
    LOST_STATUS,
    barrier,
    begin,
    everyone_says,
    first_before_others,
    first_says,
    is_first,
    several,
)
from molphenix_jax.runtime.processes.joining import DEFAULT_TIMEOUT_S, joined, runtime_fields
from molphenix_jax.runtime.processes.stopping import Stopping

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "LOST_STATUS",
    "Stopping",
    "barrier",
    "begin",
    "everyone_says",
    "first_before_others",
    "first_says",
    "is_first",
    "joined",
    "of_first",
    "rows_of_all",
    "runtime_fields",
    "several",
]
