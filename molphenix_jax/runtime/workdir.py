"""The folder of a run: whose config it is, where its folds lie."""

import json
import pathlib
from typing import Any

from molphenix_jax.runtime.config import Config, ConfigError, differences, plain
from molphenix_jax.storage import write_json


def claim_workdir(workdir: pathlib.Path, config: Config) -> None:
    """Writes `config.json` into a new workdir, or checks that the one there is the same.

    Raises:
        ConfigError: The workdir belongs to another config; the message shows the difference.
    """
    path = workdir / "config.json"
    # Through JSON, so that what is compared is what a later run will read.
    new = json.loads(json.dumps(plain(config)))
    if not path.exists():
        write_json(path, new)
        return
    changed = differences(read_config(path), new)
    if changed:
        raise ConfigError(
            f"{workdir} holds a run of another config; take another --workdir, or the old values "
            "(old → new):\n  " + "\n  ".join(changed)
        )


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """Reads a run's `config.json`.

    Raises:
        ConfigError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing: is this the --workdir of a run?") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path} is not JSON ({error}); delete the workdir to start over"
        ) from error


def fold_folder(workdir: pathlib.Path, fold: int, n_folds: int) -> pathlib.Path:
    """Where one fold keeps its files: the workdir itself if there is one fold only."""
    return workdir / f"fold_{fold}" if n_folds > 1 else workdir
