"""Pictures in tests: drawing takes a quarter of a tiny run, so most runs leave theirs blank.

Drawn are those of `tests/reporting`, of one run of each task, and of commands that start anew.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

_draw = Figure.savefig


def _touch(self: Any, file: Any, **_: Any) -> None:
    pathlib.Path(file).touch()


def leave_blank() -> None:
    """From now on the files of figures are empty."""
    Figure.savefig = _touch


@contextlib.contextmanager
def drawn(really: bool = True) -> Iterator[None]:
    """Within, the files of figures hold them, or are empty."""
    before, Figure.savefig = Figure.savefig, _draw if really else _touch
    try:
        yield
    finally:
        Figure.savefig = before
