"""What else gets the lines of `metrics.jsonl` as they come: TensorBoard, or one of your own."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Protocol

from molphenix_jax import extras, storage
from molphenix_jax.parts import Parts, define, function_of, register
from molphenix_jax.runtime.config import Config, listed


class Writer(Protocol):
    """Gets the metrics of one run, in the first of its processes.

    A start makes it anew and gives it the lines of `metrics.jsonl` that hold, then those that come:
    whoever begins with nothing has each once, however often a run was stopped.
    """

    def add(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        """A line: train or validation, updates done, then the values."""
        ...

    def close(self) -> None:
        """Writes what is still held; the training is over, or stops."""
        ...


# Each makes a writer from its own folder in the workdir, which it may leave unused.
WRITERS: Parts[Callable[[pathlib.Path], Writer]] = define(
    "writer", function_of("folder", gives="a Writer")
)


def writers_of(t: Config, workdir: pathlib.Path) -> list[Writer]:
    """The writers that `config.train` asks for, each with the folder of its name in the workdir.

    Raises:
        MissingExtraError: One needs a package that is not installed.
    """
    names = (*(["tensorboard"] if t.tensorboard else []), *listed(t.writers))
    return [WRITERS[name](workdir / name) for name in dict.fromkeys(names)]


class Events:
    """Writes the events that TensorBoard shows; an extra."""

    def __init__(self, folder: pathlib.Path):
        """Empties the folder.

        Raises:
            MissingExtraError: tensorboardX is not installed.
        """
        self._writer_of = extras.load(
            "tensorboardX", extra="tensorboard", what="train.tensorboard=True"
        ).SummaryWriter
        self._folder, self._writer = folder, None

    def add(self, kind: str, step: int, values: Mapping[str, float | None]) -> None:
        """A line of `metrics.jsonl`."""
        if self._writer is None:
            storage.remove(self._folder)
            self._writer = self._writer_of(str(self._folder))
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Writes what is still held."""
        if self._writer is not None:
            self._writer.close()


register("writer", "tensorboard", Events)
