"""Timing, compiled memory and the table that every benchmark writes (docs/architecture.md)."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter as clock
from typing import Any

import jax
import jax.numpy as jnp
import rich
from rich.table import Table

from molphenix_jax import storage

MIB = 2**20
RATE = "TFLOP/s"


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        case: what was done.
        unit: of `ours` and `other`.
        ours: median of our runs; None where this machine could not do it.
        other: median of the other's runs, taken in turn with ours; None where there is none.
        other_name: what we compare with.
        target: the largest `ratio` that is good enough, or None; the smallest of a rate.
        note: what else there is to say, such as a comparison that is not installed.
    """

    case: str
    unit: str
    ours: float | None
    other: float | None = None
    other_name: str = ""
    target: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over other: less is better, but for a rate."""
        return None if self.ours is None or not self.other else self.ours / self.other

    @property
    def missed(self) -> bool:
        """Whether there is a target, and the ratio is not within it."""
        if self.ratio is None or self.target is None:
            return False
        return self.ratio < self.target if self.is_rate else self.ratio > self.target

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit == RATE


def interleaved_medians(runs: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, float]:
    """Median seconds of each run, taken in turn so that all see the same machine.

    Args:
        runs: by name, functions that return only when their work is done.
        repeats: timed rounds; one more is run before them and not counted.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def matmul(n: int, dtype: Any) -> tuple[Callable[[], Any], float]:
    """A square matrix product to time, and its TFLOPs: what this machine can do at best.

    float32 products are full ones also where a device's default is less. Of random numbers: a GPU
    that multiplies ones needs less power, and clocks higher.
    """
    a = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
    precision = "highest" if dtype == jnp.float32 else "default"
    product = jax.jit(
        lambda a, b: jnp.matmul(a, b, precision=precision, preferred_element_type=jnp.float32)
    )
    return lambda: jax.block_until_ready(product(a, a)), 2 * n**3 / 1e12


def device_memory_gib() -> float:
    """Memory of the first device; of the machine where that is a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return stats.get("bytes_limit", pages) / 2**30


def pairs_gib(batch: int) -> float:
    """Memory of one float32 array of all pairs of a batch."""
    return 4 * batch**2 / 2**30


def temporary_mib(compiled: Any) -> float:
    """Memory per device in MiB that a compiled function needs besides arguments and results."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise RuntimeError(f"the {jax.default_backend()} compiler does not tell its memory use")
    return analysis.temp_size_in_bytes / MIB


def held_mib(compiled: Any) -> float:
    """Memory per device in MiB that a compiled function holds in all while it runs."""
    analysis = compiled.memory_analysis()
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return temporary_mib(compiled) + (held - analysis.alias_size_in_bytes) / MIB


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "backend": jax.default_backend(),
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def table(title: str, rows: Sequence[Row]) -> Table:
    """Rows as a rich table, notes as its caption."""
    result = Table(title=title, caption_justify="left")
    for name in ("case", "ours", "other", "compared with", "ratio", "target"):
        result.add_column(name, justify="left" if name in ("case", "compared with") else "right")
    for row in rows:
        result.add_row(
            f"{row.case}, {row.unit}",
            _number(row.ours),
            _number(row.other),
            row.other_name,
            _number(row.ratio) + (" missed" if row.missed else ""),
            "" if row.target is None else f"{'≥' if row.is_rate else '≤'} {row.target:.3g}",
        )
    result.caption = "\n".join(f"{row.case}: {row.note}" for row in rows if row.note)
    return result


def report(title: str, rows: Sequence[Row], *, json: pathlib.Path | None) -> None:
    """Prints the table, and writes the rows to a file where one is given."""
    rich.print(table(f"{title}, {machine()['devices']}", rows))
    if json:
        write_rows(json, rows)


def write_rows(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes {"machine", "rows"}; folders are made."""
    content = {
        "machine": machine(),
        "rows": [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows],
    }
    storage.write_json(path, content)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
