"""What goes into `metrics.jsonl`, also as events that TensorBoard shows; an extra."""

import math
import pathlib
from collections.abc import Mapping

from molphenix_jax import extras, storage

TENSORBOARD_FOLDER = "tensorboard"


class Events:
    """Writes the events of a run into a folder of its workdir.

    A start writes them anew from the lines of `metrics.jsonl` that hold, so that none is there
    twice however often a run was stopped.
    """

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
