"""What a run learns; a task joins data, model, loss and evaluation for the one loop."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from molphenix_jax.parts import Parts, define, of_type, register
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import Config, ConfigError, value_problems
from molphenix_jax.runtime.optimizer import check_training


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What the loop and the commands ask of a task.

    Attributes:
        default_config: Every field that a config of the task has, with its default; among them
            `task`, `seed` and `train` (`runtime.optimizer.train_fields`).
        make: Prepares the data that a config names, on a mesh and for a workdir; gives a `Task`
            (molphenix_jax/train.py).
        check: Notes what is wrong with a config, beside its `train` fields and its seeds.
        unused: Beginnings of the fields that a config makes no use of, whatever they say.
        paths: Field → "path", "paths" (by commas) or "named" (name=PATH by commas), of the fields
            that name files.
    """

    default_config: Callable[[], Config]
    make: Callable[[Config, jax.sharding.Mesh, pathlib.Path], Any]
    check: Callable[[Checks], None] = lambda checks: None
    unused: Callable[[Config], tuple[str, ...]] = lambda config: ()
    paths: Mapping[str, str] = dataclasses.field(default_factory=dict)


TASKS: Parts[TaskSpec] = define("task", of_type(TaskSpec))
# Imported when a config names them.
for _name in ("align", "align_images", "mae_pretraining", "property_pretraining"):
    register("task", _name, f"molphenix_jax.tasks.{_name}:TASK")


def spec_of(task: Any) -> TaskSpec:
    """A task by its name.

    Raises:
        ConfigError: There is no such task.
    """
    if not isinstance(task, str) or task not in TASKS:
        raise ConfigError(f"task={task!r} is unknown; choose one of {', '.join(TASKS)}")
    return TASKS[task]


def validate(config: Config) -> None:
    """Fails on a config that cannot be, before any work.

    Raises:
        ConfigError: Names every field that is wrong, and the remedy.
    """
    spec, checks = spec_of(config.task), Checks(config)
    checks.problems += value_problems(config, spec.default_config())
    checks.stop()  # what is no number cannot be compared with one
    checks.least("seed", 0)
    if "split_seed" in config.get("data", {}):
        checks.least("data.split_seed", 0)
    spec.check(checks)
    check_training(checks)
    checks.stop()


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> Any:
    """Prepares the data of the task that the config names."""
    return spec_of(config.task).make(config, mesh, workdir)
