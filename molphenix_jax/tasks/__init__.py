"""What a run learns; a task joins data, model, loss and evaluation for the one loop."""

import importlib
import pathlib
from typing import Any

import jax

from molphenix_jax.runtime.config import Config, ConfigError, value_problems

# Task name → module with `validate(config)` and `make(config, mesh, workdir)`; its `config` has
# `default_config()`, `unused(config)` and `PATHS`.
_TASKS = {
    "align": "molphenix_jax.tasks.align",
    "align_images": "molphenix_jax.tasks.align_images",
    "mae_pretraining": "molphenix_jax.tasks.mae_pretraining",
    "property_pretraining": "molphenix_jax.tasks.property_pretraining",
}


def _module(config: Config) -> Any:
    return importlib.import_module(_name(config.task))


def _name(task: str) -> str:
    if not isinstance(task, str) or task not in _TASKS:
        raise ConfigError(f"task={task!r} is unknown; choose one of {', '.join(_TASKS)}")
    return _TASKS[task]


def config_module(task: str) -> Any:
    """What is known of a task's config, see above.

    Raises:
        ConfigError: There is no such task.
    """
    return importlib.import_module(f"{_name(task)}.config")


def validate(config: Config) -> None:
    """Fails on a config that contradicts itself, before any work.

    Raises:
        ConfigError: Names every field that is wrong.
    """
    wrong = value_problems(config, config_module(config.task).default_config())
    if not wrong and config.seed < 0:
        wrong = [f"seed={config.seed}: must not be negative"]
    if wrong:
        raise ConfigError("the config cannot be used:\n  " + "\n  ".join(wrong))
    _module(config).validate(config)


def make(config: Config, mesh: jax.sharding.Mesh, workdir: pathlib.Path) -> Any:
    """Prepares the data of the task that the config names."""
    return _module(config).make(config, mesh, workdir)
