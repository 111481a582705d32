"""The folder of a run: its format, whose config it is, where its folds lie."""

import json
import pathlib
from typing import Any

from molphenix_jax.runtime.config import Config, ConfigError, plain
from molphenix_jax.storage import digest_json, is_intact, signed, write_json

CONFIG_FILE, HEADER_FILE = "config.json", "run.json"
EVALUATION_FILE = "evaluation.json"  # the last file of a run: its presence says that it is finished
RANKS_FILE = "ranks.parquet"  # beside it: the ranks of every query that it counts
GRADED_FILE = "graded.parquet"  # and its nDCG, where graded relevance can be told
# Bump it when a run of before cannot be read as those of today; folders without a header have 1.
RUN_FORMAT = 1
_ANEW = "restore it from a copy, or train anew in another --workdir"
_NO_HEADER = "delete that file: relative paths of the config are then taken from the current folder"


def write_claim(workdir: pathlib.Path, config: Config) -> None:
    """Makes a workdir a run's: its header, then `config.json`, whose presence says so."""
    path, told = workdir / CONFIG_FILE, plain(config)
    # A kill between the two files leaves the config of before.
    known = [digest_json(of) for of in (told, *([read_json(path)] if path.exists() else []))]
    # Relative paths of the config are meant from where the command was given.
    header = {"format": RUN_FORMAT, "cwd": str(pathlib.Path.cwd()), "configs": known}
    write_json(workdir / HEADER_FILE, signed(header))
    write_json(path, told)


def read_header(workdir: pathlib.Path) -> dict[str, Any]:
    """What the program noted of a run beside its config: `format`, and `cwd` if it is known.

    Raises:
        ConfigError: The run has a newer format than this program reads, or the file is damaged.
    """
    path = workdir / HEADER_FILE
    header = read_json(path, remedy=_NO_HEADER) if path.exists() else {"format": 1}
    if not isinstance(header.get("format"), int) or not is_intact(header):
        raise _changed(path)
    if not isinstance(header.get("cwd", ""), str):
        raise ConfigError(f"{path} is damaged; {_NO_HEADER}")
    if header.get("format", 1) > RUN_FORMAT:
        raise ConfigError(
            f"{workdir} is a run of format {header['format']}, this program reads up to "
            f"{RUN_FORMAT}: use the version that made it, or a newer one"
        )
    return header


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
    """The `config.json` of a run, as it was stored.

    Raises:
        ConfigError: It is missing or damaged, or the run has a newer format.
    """
    header, path = read_header(workdir), workdir / CONFIG_FILE
    config = read_json(path)
    # Headers of before hold no digest of it.
    if digest_json(config) not in header.get("configs", [digest_json(config)]):
        raise _changed(path)
    return config


def _changed(path: pathlib.Path) -> ConfigError:
    return ConfigError(
        f"{path} was changed since the run began, and with it what its model is: put the old file "
        "back, or train in another --workdir. Fields are changed on the command line "
        "(--config.eval.psi=0.1)"
    )


def read_json(path: pathlib.Path, *, remedy: str = _ANEW) -> dict[str, Any]:
    """A file of a run that holds one JSON object.

    Args:
        path: The file.
        remedy: What helps where it is damaged.

    Raises:
        ConfigError: It is missing or damaged.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing: is this the --workdir of a run?") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged, it is no JSON; {remedy}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is damaged, it holds no JSON object; {remedy}")
    return found


def fold_folder(workdir: pathlib.Path, fold: int, n_folds: int) -> pathlib.Path:
    """Where one fold keeps its files: the workdir itself if there is one fold only."""
    return workdir / f"fold_{fold}" if n_folds > 1 else workdir
