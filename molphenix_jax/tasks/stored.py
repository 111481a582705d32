"""The configs of runs: what an older one lacks, where its files are, how a command stands to it."""

import copy
import pathlib
from typing import Any

from molphenix_jax import tasks
from molphenix_jax.runtime.config import Config, ConfigError, complete, differences, plain
from molphenix_jax.runtime.workdir import CONFIG_FILE, read_config, read_header, write_claim

# What a run meant that lacks a field, where that is not the field's default: task → field → value.
_ALIGN = {
    "data.conditions": "none",  # times and cell lines were replicates
    "data.simulated.n_molecules": 500,
    "eval.validation_pairs": 1_000_000_000,  # every pair was ranked
}
_EARLIER: dict[str, dict[str, Any]] = {"align": _ALIGN, "align_images": _ALIGN}

# Where arrays are kept and computed; no number depends on it.
_PLACES = (
    *("data.placement", "data.device_memory_gib", "images.placement"),
    *("train.devices", "train.prefetch", "train.steps_per_dispatch"),
)


def stored_config(workdir: pathlib.Path) -> Config:
    """The config of a run, with every field that this version has.

    Raises:
        ConfigError: The folder is no run, or has fields that this version does not know.
    """
    stored, path = read_config(workdir), workdir / CONFIG_FILE
    if "task" not in stored:
        raise ConfigError(f"{path} names no task: is this the --workdir of a run?")
    fields = tasks.config_module(stored["task"])
    earlier = _EARLIER.get(stored["task"], {})
    return complete(stored, fields.default_config(), earlier=earlier, source=str(path))


def placed_config(workdir: pathlib.Path) -> Config:
    """The config of a run with paths that hold from any folder.

    A path is relative to where the training was started, or else to the current folder: a project
    may have moved as a whole. What is at neither place is left to the reader to miss, under its
    first name.

    Raises:
        ConfigError: As `stored_config`.
    """
    return _place(stored_config(workdir), read_header(workdir).get("cwd", ""))


def _place(config: Config, began: str) -> Config:
    """The config with absolute paths; `began` is the folder that relative ones are from."""
    config = copy.deepcopy(config)
    for field, kind in tasks.config_module(config.task).PATHS.items():
        section, name = field.split(".")
        if config[section][name]:
            config[section][name] = _placed(config[section][name], kind, pathlib.Path(began))
    return config


def _placed(text: str, kind: str, began: pathlib.Path) -> str:
    if kind == "path":
        here, there = pathlib.Path.cwd() / text, began / text
        return str(here if here.exists() and not there.exists() else pathlib.Path.cwd() / there)
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if kind == "paths":
        return ",".join(_placed(entry, "path", began) for entry in entries)
    named = [entry.partition("=") for entry in entries]
    return ",".join(f"{name}={_placed(file, 'path', began)}" for name, _, file in named)


def anew_command(workdir: pathlib.Path) -> str:
    """The command that trains a run again, in another workdir."""
    return f"python -m molphenix_jax.main --config={workdir / CONFIG_FILE} --workdir={workdir}-anew"


def changes(old: Config, new: Config) -> list[str]:
    """Lines `field: old → new` of what a given config changes in a run's, used fields only."""
    ignored = tasks.config_module(new.task).unused(new) if new.task == old.task else ()
    lines = differences(plain(old), plain(new))
    return [line for line in lines if not line.startswith(tuple(ignored))]


def changes_of_training(old: Config, new: Config) -> list[str]:
    """Those of them that would make another model: neither of the evaluation nor of the place.

    Whether the files at another place are the same is for their digests to say.
    """
    free = ("eval.", *_PLACES, *tasks.config_module(new.task).PATHS)
    return [line for line in changes(old, new) if not line.startswith(free)]


def claim_workdir(workdir: pathlib.Path, config: Config) -> None:
    """Makes a new workdir the config's, or checks that the one there is.

    Raises:
        ConfigError: The workdir belongs to another config; the message shows the difference.
    """
    if not (workdir / CONFIG_FILE).exists():
        write_claim(workdir, config)
        return
    if changed := changes(placed_config(workdir), _place(config, "")):
        raise ConfigError(
            f"{workdir} holds a run of another config; take another --workdir, or the old values "
            "(old → new):\n  " + "\n  ".join(changed)
        )
