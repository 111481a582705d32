"""`metrics.jsonl`: one JSON object a line, flushed, the same bytes however often a run was killed.

Wall-clock times would differ between two runs of one config, so they go to `timing.jsonl`.
"""

import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from molphenix_jax.errors import InputError
from molphenix_jax.storage import write_text, writing

METRICS_FILE = "metrics.jsonl"
TIMING_FILE = "timing.jsonl"
_BEGINS = b'{"kind": "'  # every line


class MetricsError(InputError):
    """A file of metrics that is damaged; names the line and the remedy."""


class MetricsFile:
    """Appends metrics; opened for a restart it drops what the restored state has yet to redo."""

    def __init__(
        self,
        path: pathlib.Path,
        *,
        restored_step: int | None,
        validates: bool = True,
        writes: bool = True,
    ):
        """Opens the file.

        Args:
            path: The `.jsonl` file.
            restored_step: Updates done by the restored state; None starts an empty file. Lines of
                later steps go, and the validation line of this step if it comes again.
            validates: Whether the loop validates the restored state; it does not where a run that
                ended at an odd step is trained on.
            writes: False in all but one of the processes that share a workdir: nothing is opened.
        """
        self._file = None
        if not writes:
            return
        kept = []
        if restored_step is not None and path.exists():
            kept = [
                line for line in read_metrics(path) if _is_final(line, restored_step, validates)
            ]
        write_text(path, "".join(_dump(line) for line in kept))
        self._path, self._file = path, path.open("a")

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Appends one line: kind (`train` or `validation`), step, then the values."""
        if self._file is not None:
            with writing(self._path):
                self._file.write(_dump({"kind": kind, "step": step, **values}))
                self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def _is_final(line: Mapping[str, Any], step: int, validates: bool) -> bool:
    if line["step"] == step:
        return line["kind"] == "train" or not validates
    return line["step"] < step


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
