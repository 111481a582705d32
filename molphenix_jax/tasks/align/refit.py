"""The final fit: a model of every perturbation, with the recall of a run that held some back."""

import pathlib
from typing import Any

from molphenix_jax import storage
from molphenix_jax.runtime.config import Config, ConfigError
from molphenix_jax.runtime.workdir.folder import CONFIG_FILE, EVALUATION_FILE, read_json
from molphenix_jax.tasks.stored import placed_config

MEASURED_FILE = "measured.json"  # of a refit: `evaluation.json` of the run that it is the refit of
_TASKS = ("align", "align_images")


def refit_config(run: pathlib.Path) -> Config:
    """The config that fits a run's model again, to all its perturbations, with as many updates.

    Args:
        run: Folder of a finished alignment run, with folds or without.

    Raises:
        ConfigError: It is no such run, or not finished.
    """
    config = placed_config(run)
    if config.task not in _TASKS:
        raise ConfigError(
            f"{run} is a run of {config.task}: only alignments hold molecules back that a refit "
            "would train on"
        )
    if config.data.refit_of:
        raise ConfigError(f"{run} is a refit itself, of {config.data.refit_of}")
    _measured(run)
    config.data.update(refit_of=str(run.resolve()), folds=1, repeats=1, split_list="")
    config.eval.update(heldout_concentrations=(), baselines="", unseen_screens="")
    return config


def keep_measured(config: Config, workdir: pathlib.Path) -> None:
    """Writes `measured.json` into the folder of a refit, before it trains.

    Raises:
        ConfigError: The other run is gone, not finished or damaged.
    """
    path, run = workdir / MEASURED_FILE, pathlib.Path(config.data.refit_of)
    if not path.exists():
        told = {
            "run": run.name,
            "config": read_json(run / CONFIG_FILE),
            "evaluation": _measured(run),
        }
        storage.write_json(path, storage.signed(told))


def read_measured(workdir: pathlib.Path) -> dict[str, Any]:
    """What `keep_measured` wrote: `run` (its name), `config` and `evaluation`.

    Raises:
        ConfigError: It is missing or damaged.
    """
    told = read_json(workdir / MEASURED_FILE)
    if not storage.is_intact(told):
        raise ConfigError(
            f"{workdir / MEASURED_FILE} was changed since it was written: restore it from a copy, "
            "or refit in a new folder"
        )
    return told


def _measured(run: pathlib.Path) -> dict[str, Any]:
    if not (run / EVALUATION_FILE).exists():
        raise ConfigError(
            f"{run} is not finished, so nothing is known of how well its model does: let it end "
            "first (the command that began it continues it)"
        )
    return read_json(run / EVALUATION_FILE)
