"""One model of several screens on one split of their molecules.

A step has a batch of each screen, whose pairs are contrasted with each other alone; the losses are
summed, each by the share of its screen. For each screen the parameters are those of an ordinary
model (`shared.of_screen`), so all that an `AlignRun` does serves it as it is.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from molphenix_jax.runtime.run import Run
from molphenix_jax.tasks.align.several import shared
from molphenix_jax.tasks.align.training.run import AlignRun


class SeveralRun(Run):
    """What `train.fit` asks for: batches, tables, assets and losses by the name of the screen."""

    def __init__(
        self,
        runs: Mapping[str, AlignRun],
        shares: Mapping[str, float],
        doses: Mapping[str, Sequence[Hashable]],
    ):
        """Makes the molecule side one.

        Args:
            runs: Of each screen, whose molecules and doses go in as in the others.
            shares: Weight of each screen's loss.
            doses: What each dose column of each screen stands for.
        """
        self.runs, self.shares = dict(runs), dict(shares)
        labels = {}
        for name, run in runs.items():
            told = [(name, "condition", i) for i in range(run.conditions.shape[1])]
            shapes = jax.eval_shape(run.init, jax.random.key(0))
            n = shapes["params"]["molecule_head"]["project_in"]["kernel"].shape[0]
            features = [("feature", i) for i in range(n - len(doses[name]) - len(told))]
            labels[name] = [*features, *doses[name], *told]
        self._rows = shared.input_rows(labels)
        self.assets = {name: run.assets for name, run in runs.items()}

    def of_screen(self, params: Any, name: str) -> Any:
        """The parameters of one screen's model; leaves may have leading axes."""
        return shared.of_screen(params, name, self._rows[name])

    def init(self, key: jax.Array) -> Any:
        """Initial parameters of one member."""
        keys = jax.random.split(key, len(self.runs))
        models = {name: run.init(k) for (name, run), k in zip(self.runs.items(), keys, strict=True)}
        return shared.joined(models, self._rows)

    def start(self, params: Any) -> Any:
        """Initial parameters of all members, the molecule side that of the run it starts from."""
        for name, run in self.runs.items():
            if run.begins_at is not None:
                model = run.start(self.of_screen(params, name))
                params = shared.with_molecule_side(params, model, self._rows[name])
        return params

    def loss(
        self, params: Any, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The losses of the screens on their batches, each by its share; metrics of each."""
        total, told = jnp.zeros(()), {}
        for i, (name, run) in enumerate(self.runs.items()):
            value, metrics = run.loss(
                self.of_screen(params, name), batch[name], tables[name], jax.random.fold_in(key, i)
            )
            total = total + self.shares[name] * value
            told |= {f"{name}/{field}": of for field, of in {**metrics, "loss": value}.items()}
        return total, told

    def bounded(self, params: Any) -> Any:
        """Parameters of one member with each scale at most at its clamp."""
        models = {
            name: run.bounded(self.of_screen(params, name)) for name, run in self.runs.items()
        }
        return shared.with_own(params, models)

    def batch(self, step: int, rows: Int[np.ndarray, " k"] | None = None) -> dict[str, Any]:
        """The batch of each screen."""
        if rows is not None:
            raise ValueError("batches of several screens are made whole")
        return {name: run.batch(step) for name, run in self.runs.items()}

    @property
    def tables(self) -> dict[str, Any]:
        """The tables of each screen, for one device."""
        return {name: run.tables for name, run in self.runs.items()}

    def place_tables(self, mesh: Mesh) -> dict[str, Any]:
        """The tables of each screen on the devices."""
        return {name: run.place_tables(mesh) for name, run in self.runs.items()}

    def table_shapes(self, mesh: Mesh) -> dict[str, Any]:
        """What `place_tables` gives, as shapes and placement alone."""
        return {name: run.table_shapes(mesh) for name, run in self.runs.items()}

    def adopt(self, assets: Any) -> None:
        """Takes the assets of a checkpoint.

        Raises:
            ConfigError: A screen is not the one that the checkpoint was trained on.
        """
        for name, run in self.runs.items():
            run.adopt(assets[name])
        self.assets = {name: run.assets for name, run in self.runs.items()}

    def validate(self, params: Any) -> dict[str, float]:
        """Recall on the validation molecules: the mean over screens, and that of each."""
        found = {
            name: run.validate(self.of_screen(params, name)) for name, run in self.runs.items()
        }
        # A screen without active pairs has no recall of them.
        fields = [f for f in next(iter(found.values())) if all(f in of for of in found.values())]
        mean = {field: float(np.mean([of[field] for of in found.values()])) for field in fields}
        each = {f"{name}/{field}": v for name, of in found.items() for field, v in of.items()}
        return {**mean, **each}
