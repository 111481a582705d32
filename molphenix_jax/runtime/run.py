"""What the training loop asks of a task and of its runs."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from molphenix_jax.runtime import mesh as meshes

Params = Any


class Run:
    """One model to train.

    Attributes:
        tables: Arrays that live on the devices for the whole run, passed to every loss call.
        assets: What makes the model usable without its data; saved in each checkpoint.
        batch_rows: Rows of a global batch, where `batch(step, rows)` can make some of them alone.
            With None every process makes the whole batch and keeps its rows.
        decay_rules: What follows `train.decay_rules`: of parts from outside, whose parameters may
            have any names.
    """

    tables: Any = ()
    assets: Any = ()
    batch_rows: int | None = None
    decay_rules: Sequence[tuple[str, bool]] = ()

    def init(self, key: jax.Array) -> Params:
        """Initial parameters of one member."""
        raise NotImplementedError

    def start(self, params: Params) -> Params:
        """Initial parameters [members, …] as `init` gives them, or what training starts from."""
        return params

    @functools.cached_property
    def shapes(self) -> Params:
        """Shapes of the parameters of one member; `init` is traced for them once."""
        return jax.eval_shape(self.init, jax.random.key(0))

    def loss(
        self, params: Params, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Loss and scalar metrics of one member; jitted."""
        raise NotImplementedError

    def bounded(self, params: Params) -> Params:
        """Parameters of one member, back where they belong after an update; jitted."""
        return params

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> Any:
        """The batch of a step, as numpy arrays whose first axis is the batch.

        A function of the step alone; threads call it for several steps at once.

        Args:
            step: Which.
            rows: These rows of it alone; asked for where `batch_rows` is a number.
        """
        raise NotImplementedError

    def place_tables(self, mesh: Mesh) -> Any:
        """The tables on the devices: here every device holds them whole."""
        return jax.device_put(self.tables, meshes.replicated(mesh))

    def table_shapes(self, mesh: Mesh) -> Any:
        """Shape, type and placement of what `place_tables` gives, of devices that cannot hold it.

        They may be described alone, as those of a pod that a program is compiled for.
        """
        return meshes.abstract(self.tables, meshes.replicated(mesh))

    def adopt(self, assets: Any) -> None:
        """Takes the assets of a checkpoint.

        Raises:
            ConfigError: They are of other data.
        """
        self.assets = assets

    def validate(self, params: Params) -> Mapping[str, float]:
        """Metrics on held-back data of the ensemble (parameters with a leading member axis)."""
        raise NotImplementedError


class Task(Protocol):
    """What a config asks to be learned: one run per fold, and what all of them show.

    A subclass may leave out what it does not keep.

    Attributes:
        n_folds: How many runs.
        evaluates_in_shares: Whether `evaluate` is called in every process of a job, of which each
            computes its share and all then have the result; otherwise in the first alone.
    """

    n_folds: int
    evaluates_in_shares = False

    def run(self, fold: int, workdir: pathlib.Path) -> Run:
        """Sets up one fold. Reads its folder, if it has begun before, and writes nothing."""
        ...

    def keep(self, workdir: pathlib.Path) -> None:
        """Writes into the workdir what a reader will ask for later: rejected rows, provenance."""
        ...

    def keep_run(self, run: Any, workdir: pathlib.Path) -> None:
        """Writes into the folder of a fold what a reader will ask for later: its split."""
        ...

    def keep_model(self, run: Any, params: Params, workdir: pathlib.Path) -> None:
        """Writes the model folder of a trained fold into the fold's folder."""
        ...

    def evaluate(self, run: Any, params: Params, out: pathlib.Path) -> Any:
        """The result of one trained fold; files of it go into `out`."""
        ...

    def conclude(self, results: Sequence[Any], workdir: pathlib.Path, out: pathlib.Path) -> None:
        """Pools the folds, writes `evaluation.json` and the report into `out`, prints the table."""
        ...
