"""Batches in the order of the steps, read ahead by Grain, spread over the devices.

A run's batch is a function of the step, so Grain's position in the data is the step itself; it is
saved with the state, and any number of processes continues from it with the exact next batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, SupportsIndex

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.run import Run
from molphenix_jax.runtime.step import room


class _Steps(grain.sources.RandomAccessDataSource):
    """A run's batches as a Grain source: element k is the batch of step k."""

    def __init__(self, batch: Callable[[int], Any], n_steps: int):
        self._batch, self._n_steps = batch, n_steps

    def __len__(self) -> int:
        return self._n_steps

    def __getitem__(self, step: SupportsIndex) -> Any:
        return self._batch(int(step))

    def __repr__(self) -> str:
        return f"batches of {self._n_steps} steps"


class Loader:
    """Hands out the batches of a run, several steps at a time."""

    def __init__(self, run: Run, mesh: Mesh, *, n_steps: int, prefetch: int):
        """Makes a loader at step 0.

        Args:
            run: Gives the batches; see there for what each process asks it for.
            mesh: Devices that the rows are spread over.
            n_steps: Steps of the whole training.
            prefetch: Batches that are read ahead in threads; 0 reads when asked.
        """
        self._mesh, self._prefetch = mesh, prefetch
        self._source = _Steps(_of_this_process(run, mesh), n_steps)
        self._next = 0
        self._held: list[Any] = []
        self._start(self.position())

    def position(self) -> Mapping[str, int]:
        """Where the next `take` begins: the state of Grain's iterator."""
        return {"next_index": self._next}

    def seek(self, position: Mapping[str, int]) -> None:
        """Continues from a saved position."""
        self._iterator.close()
        self._next, self._held = int(position["next_index"]), []
        self._start(position)

    def _start(self, position: Mapping[str, int]) -> None:
        options = grain.ReadOptions(
            num_threads=min(self._prefetch, 4), prefetch_buffer_size=self._prefetch
        )
        self._iterator = iter(grain.MapDataset.source(self._source).to_iter_dataset(options))
        self._iterator.set_state(dict(position))

    def take(self, most: int) -> Any:
        """The batches of the next steps, on the devices: arrays [n, batch, …].

        Args:
            most: At most so many steps. Fewer come where a dispatch has no room for more, or the
                next batch has other shapes.
        """
        batches = [self._one()]
        shapes = _shapes(batches[0])
        n_bytes = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(batches[0]))
        most = min(most, room(n_bytes * jax.process_count()))
        while len(batches) < most:
            batch = self._one()
            if _shapes(batch) != shapes:
                self._held.append(batch)
                break
            batches.append(batch)
        self._next += len(batches)
        return _spread(jax.tree.map(lambda *leaves: np.stack(leaves), *batches), self._mesh)

    def close(self) -> None:
        """Ends the reading threads."""
        self._iterator.close()

    def _one(self) -> Any:
        return self._held.pop() if self._held else next(self._iterator)


def process_rows(mesh: Mesh, n_rows: int) -> Int[np.ndarray, " k"]:
    """Which rows of a global batch lie on this process's devices, in their order on the mesh."""
    slices = meshes.rows(mesh).addressable_devices_indices_map((n_rows,)).values()
    parts = sorted((index[0].indices(n_rows)[:2] for index in slices if index), key=lambda p: p[0])
    return np.concatenate([np.arange(start, stop) for start, stop in parts])


def _of_this_process(run: Run, mesh: Mesh) -> Callable[[int], Any]:
    """The run's batch of a step, the rows of this process only."""
    if jax.process_count() == 1:
        return run.batch
    if run.batch_rows is not None:
        rows = process_rows(mesh, run.batch_rows)
        return lambda step: run.batch(step, rows)
    return lambda step: jax.tree.map(
        lambda leaf: leaf[process_rows(mesh, len(leaf))], run.batch(step)
    )


def _spread(batches: Any, mesh: Mesh) -> Any:
    """Arrays [steps, rows, …] on the mesh, rows spread over the devices."""
    sharding = meshes.stacked_rows(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batches, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batches
    )


def _shapes(batch: Any) -> Any:
    return jax.tree.map(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype), batch)
