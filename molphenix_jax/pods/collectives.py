"""What the chips send to each other in a compiled program, read from its text (HLO)."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_KINDS = (
    *("all-gather", "all-reduce", "reduce-scatter"),
    *("collective-permute", "all-to-all", "collective-broadcast"),
)
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
# Of an asynchronous pair the start is counted, and of its results the last.
_COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(_KINDS)})(?:-start)?\(")
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
# The condition of a loop that counts from 0 to a constant.
_BELOW = re.compile(r"\bconstant\((\d+)\)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
# libtpu carries a collective through fusions that compute meanwhile, and writes it down in each of
# them: one all-gather stands in the text a dozen times, with the same channel.
_CARRIED = re.compile(r"^async_collective_fusion|\"AsyncCollective(?:Start|Done)\"")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_ARRAY = re.compile(r"(pred|[a-z]+\d+\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """Collectives of one kind in an update.

    Attributes:
        kind: As XLA names it.
        count: How often a chip takes part, loops unrolled.
        n_bytes: Of all their results on one chip.
    """

    kind: str
    count: int
    n_bytes: int


def collectives(text: str) -> list[Collective]:
    """What a chip takes part in during one run of a program.

    A loop counts as often as it runs where the compiler knows that, and else once: the loop over
    the updates of a dispatch is such a one, so that the numbers are those of one update.

    Args:
        text: `compiled.as_text()`.
    """
    bodies, entry = _computations(text)
    times = dict.fromkeys(bodies, 0)
    for name, factor in _visited(bodies, entry, 1):
        times[name] += factor
    counts: dict[str, list[int]] = {}
    carried = set()
    for name, lines in bodies.items():
        carries = any(_CARRIED.search(line) for line in (name, *lines))
        for line in lines:
            if times[name] and (match := _COLLECTIVE.search(line)):
                if carries and (channel := _CHANNEL.search(line)):
                    if (this := (match[2], channel[1])) in carried:
                        continue
                    carried.add(this)
                count, n_bytes = counts.setdefault(match[2], [0, 0])
                size = _bytes(match[1], last="-start(" in line)
                counts[match[2]] = [count + times[name], n_bytes + times[name] * size]
    return [Collective(kind, *counts[kind]) for kind in _KINDS if kind in counts]


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    bodies: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            lines = bodies.setdefault(match[1], [])
            entry = match[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return bodies, entry


def _visited(bodies: dict[str, list[str]], name: str, factor: int) -> Iterator[tuple[str, int]]:
    """Every computation that a run comes through, as often as it does."""
    yield name, factor
    for line in bodies[name]:
        loop = _WHILE.search(line)
        repeated = _trips(line, bodies[loop[1]]) if loop else 1
        called = _CALLED.findall(line)
        for branches in _BRANCHES.findall(line):
            called += [branch.strip().lstrip("%") for branch in branches.split(",")]
        for each in called:
            if each in bodies:
                yield from _visited(bodies, each, factor * repeated)


def _trips(line: str, condition: list[str]) -> int:
    """How often a loop runs: as the compiler says it, or as its condition does."""
    if told := _TRIPS.search(line):
        return int(told[1])
    text = "\n".join(condition)
    bounds = _BELOW.findall(text)
    return int(bounds[0]) if len(bounds) == 1 and "direction=LT" in text else 1


def _bytes(shape: str, *, last: bool) -> int:
    """Size of a result; of the last of several that an asynchronous start gives along."""
    arrays = [
        math.prod(int(n) for n in sizes.split(",") if n) * _width(dtype)
        for dtype, sizes in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shape))
    ]
    if not last or len(arrays) < 2:
        return sum(arrays)
    # (operands…, results…, contexts): contexts are scalars.
    data = [size for size in arrays if size > 4] or arrays
    return sum(data[len(data) // 2 :])


def _width(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1
