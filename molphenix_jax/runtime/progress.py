"""What a person sees while a run works: sentences, and one progress bar with an ETA."""

import time
from collections.abc import Mapping

import rich.progress
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)

# Without a terminal (a log file, CI) a line every so many seconds replaces the bar.
_PLAIN_INTERVAL_S = 15.0


def say(sentence: str) -> None:
    """Prints a sentence, as it is: no markup is interpreted."""
    console.print(sentence, markup=False)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Progress:
    """A bar of updates with the time left, the loss and the newest validation recall."""

    def __init__(self, label: str, *, total: int, done: int, unit: str = "update"):
        """Starts at `done` of `total` updates, or what they are called; `label` stands before."""
        self._label, self._total, self._done, self._first = label, total, done, done
        self._unit = unit
        self._text, self._compiled = "", False
        self._began = self._said = time.monotonic()
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn(label or "training"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[text]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=done, text="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """So many updates more."""
        self._done += steps
        self._bar.advance(self._task, steps)
        now = time.monotonic()
        if not self._compiled:  # the first updates compile; their time says nothing of the others
            self._compiled, self._began, self._first = True, now, self._done
        elif not console.is_terminal and now - self._said > _PLAIN_INTERVAL_S:
            self._said = now
            done = self._done - self._first
            left = (now - self._began) / done * (self._total - self._done)
            say(
                f"{self._label}{self._unit} {self._done:,}/{self._total:,}, {left:.0f} s left"
                f"{self._text}"
            )

    def note(self, validation: Mapping[str, float], loss: float) -> None:
        """Shows the newest loss and validation recall."""
        parts = [f"loss {loss:.3f}"] if loss == loss else []
        if "validation_top_1pct" in validation:
            parts.append(f"validation top-1% {validation['validation_top_1pct']:.3f}")
        self._text = ", " + ", ".join(parts) if parts else ""
        self._bar.update(self._task, text=", ".join(parts))
