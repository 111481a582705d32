"""`metrics.jsonl`: one JSON object a line, flushed, the same bytes however often a run was killed.

Wall-clock times would differ between two runs of one config, so they go to `timing.jsonl`.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from molphenix_jax.errors import InputError
from molphenix_jax.runtime.workdir.writers import Writer
from molphenix_jax.storage import write_text, writing

METRICS_FILE = "metrics.jsonl"
TIMING_FILE = "timing.jsonl"
_BEGINS = b'{"kind": "'  # every line
_PLACE = ("kind", "step")


class MetricsError(InputError):
    """A file of metrics that is damaged; names the line and the remedy."""


class MetricsFile:
    """Appends metrics; opened for a restart it drops what the restored state has yet to redo."""

    def __init__(
        self,
        path: pathlib.Path,
        *,
        restored_step: int | None,
        n_lines: int = 0,
        writes: bool = True,
        writers: Sequence[Writer] = (),
    ):
        """Opens the file.

        Args:
            path: The `.jsonl` file.
            restored_step: Updates done by the restored state; None starts an empty file. Lines of
                later steps go. The validation line of this step stays, and is not written again: a
                kill in between would leave fewer lines than the checkpoint tells of.
            n_lines: How many lines the restored checkpoint tells of.
            writes: False in all but one of the processes that share a workdir: nothing is opened.
            writers: Get every line too, those that are kept first.

        Raises:
            MetricsError: It is damaged, or lacks lines of before the restored checkpoint.
        """
        self._file, self.n_lines, self._writers = None, 0, writers
        self._validated: int | None = None
        if not writes:
            return
        kept = []
        if restored_step is not None and path.exists():
            need_lines(path, restored_step, n_lines)
            kept = [line for line in read_metrics(path) if line["step"] <= restored_step]
        write_text(path, "".join(_dump(line) for line in kept))
        self._path, self._file, self.n_lines = path, path.open("a"), len(kept)
        for line in kept:
            self._tell(line["kind"], line["step"], line)
            if (line["kind"], line["step"]) == ("validation", restored_step):
                self._validated = restored_step

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Appends one line: kind (`train` or `validation`), step, then the values."""
        if (kind, step) == ("validation", self._validated):
            return
        if self._file is not None:
            with writing(self._path):
                self._file.write(_dump({"kind": kind, "step": step, **values}))
                self._file.flush()
            self.n_lines += 1
            self._tell(kind, step, values)

    def _tell(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        told = {name: value for name, value in values.items() if name not in _PLACE}
        for writer in self._writers:
            writer.add(kind, step, told)

    def to_disk(self) -> None:
        """Has the system write what is there: a checkpoint that counts the lines outlives them."""
        if self._file is not None:
            with writing(self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            for writer in self._writers:
                writer.close()


def _dump(line: Mapping[str, Any]) -> str:
    # JSON has no NaN: an undefined metric is null.
    clean = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()
    }
    return json.dumps(clean) + "\n"


def read_metrics(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yields the complete lines; a last line cut short by a kill is left out.

    Raises:
        MetricsError: A line is damaged; names it.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") and line.startswith(_BEGINS[: len(line)]):
                return
            try:
                told = json.loads(line)
                whole = isinstance(told["kind"], str) and isinstance(told["step"], int)
            except (ValueError, KeyError, TypeError, RecursionError):
                whole = False
            if not whole:
                raise MetricsError(
                    f"{path}: line {number:,} is damaged: remove that line, its metrics are lost, "
                    "or train anew in another --workdir"
                )
            yield told


def need_lines(path: pathlib.Path, step: int, n_lines: int) -> None:
    """Stops where lines are gone that were there when a checkpoint was written.

    Args:
        path: The file; where it is gone as a whole, that is seen without help.
        step: Of the checkpoint.
        n_lines: How many lines of its step and before it tells of; 0 where it does not.

    Raises:
        MetricsError: There are fewer; says how many, and the remedy.
    """
    if not (n_lines and path.exists()):
        return
    there = sum(line["step"] <= step for line in read_metrics(path))
    if there < n_lines:
        raise MetricsError(
            f"{path}: {n_lines - there:,} of the {n_lines:,} lines up to update {step:,} are "
            "missing: put the whole file back, or delete it and its curves are lost"
        )
