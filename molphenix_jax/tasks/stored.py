"""The configs of runs: what an older one lacks, where its files are, how a command stands to it."""

import copy
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from molphenix_jax import plugins, tasks
from molphenix_jax.runtime.config import (
    Config,
    ConfigError,
    complete,
    differences,
    plain,
    section_of,
)
from molphenix_jax.runtime.optimizer import learning_rate
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import (
    CONFIG_FILE,
    EVALUATION_FILE,
    GRADED_FILE,
    RANKS_FILE,
    read_config,
    read_header,
    read_json,
    write_claim,
)
from molphenix_jax.screens.builders import HEADER
from molphenix_jax.storage import set_aside
from molphenix_jax.tasks.named_screens import named_entry
from molphenix_jax.trained.folder import SCREENS_FOLDER

# What a run meant that lacks a field, where that is not the field's default: task → field → value.
_ALIGN = {
    "data.conditions": "none",  # times and cell lines were replicates
    "data.simulated.n_molecules": 500,
    "eval.validation_pairs": 1_000_000_000,  # every pair was ranked
}
_EARLIER: dict[str, dict[str, Any]] = {"align": _ALIGN, "align_images": _ALIGN}

_AGAIN = "delete that file, and the same command evaluates again"
# Where arrays are kept and computed; no number depends on it.
_PLACES = (
    *("data.placement", "data.device_memory_gib", "images.placement"),
    *("train.devices", "train.prefetch", "train.steps_per_dispatch", "train.shard_state"),
    *("train.tensorboard", "train.writers"),
)


def stored_config(workdir: pathlib.Path) -> Config:
    """The config of a run, with every field that this version has.

    Raises:
        ConfigError: The folder is no run, or has fields that this version does not know.
        PluginError: A plugin of the run is gone, or fails.
    """
    stored, path = read_config(workdir), workdir / CONFIG_FILE
    used = stored.pop("plugins", [])
    for sentence in plugins.load_again(used, began=_began(workdir), needed_by=str(path)):
        say(sentence)
    if "task" not in stored:
        raise ConfigError(f"{path} names no task: is this the --workdir of a run?")
    fields = tasks.spec_of(stored["task"])
    # One seed did everything before there were two.
    earlier = {**_EARLIER.get(stored["task"], {}), "data.split_seed": stored.get("seed", 0)}
    config = complete(stored, fields.default_config(), earlier=earlier, source=str(path))
    if used:
        config.plugins = tuple(used)
    return config


def placed_config(workdir: pathlib.Path) -> Config:
    """The config of a run with paths that hold from any folder.

    A path is relative to where the training was started, or else to the current folder: a project
    may have moved as a whole. What is at neither place is left to the reader to miss, under its
    first name.

    Raises:
        ConfigError: As `stored_config`.
    """
    return _place(stored_config(workdir), _began(workdir))


def _began(workdir: pathlib.Path) -> str:
    """The folder that a run was started in; "" where it does not say."""
    return read_header(workdir).get("cwd", "")


def _place(config: Config, began: str) -> Config:
    """The config with absolute paths; `began` is the folder that relative ones are from."""
    config = copy.deepcopy(config)
    for field, kind in tasks.spec_of(config.task).paths.items():
        section, name = section_of(config, field)
        if name in section and section[name]:
            section[name] = _placed(section[name], kind, pathlib.Path(began))
    return config


def _placed(text: str, kind: str, began: pathlib.Path) -> str:
    if kind == "path":
        here, there = pathlib.Path.cwd() / text, began / text
        return str(here if here.exists() and not there.exists() else pathlib.Path.cwd() / there)
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if kind == "paths":
        if any((folder / text).exists() for folder in (pathlib.Path.cwd(), began)):
            entries = [text]  # one name with a comma
        named = [named_entry(entry) for entry in entries]
        return ",".join(
            f"{name}{'=' if name else ''}{_placed(file, 'path', began)}" for name, file in named
        )
    named = [entry.partition("=") for entry in entries]
    return ",".join(f"{name}={_placed(file, 'path', began)}" for name, _, file in named)


def need_own_folder(workdir: pathlib.Path, config: Config) -> None:
    """Stops where the folder of a run is, or lies in, what the run reads.

    Raises:
        ConfigError: It is a file or folder that a field names, or in a prepared screen.
    """
    place = workdir.resolve()
    for folder in (place, *place.parents):
        if (folder / "index.npz").exists() and (folder / HEADER).exists():
            raise ConfigError(
                f"--workdir={workdir} is a prepared screen, or lies in one ({folder}): give a "
                "folder of its own"
            )
    for field, kind in tasks.spec_of(config.task).paths.items():
        section, name = section_of(config, field)
        entries = [section[name]] if kind == "path" else section[name].split(",")
        for entry in filter(None, entries):
            path = named_entry(entry.strip())[1] if kind != "path" else entry.strip()
            if path and pathlib.Path(path).resolve() == place:
                raise ConfigError(
                    f"--workdir={workdir} is what {field} names: give a folder of its own"
                )


def anew_command(workdir: pathlib.Path) -> str:
    """The command that trains a run again, in another workdir."""
    return f"python -m molphenix_jax.main --config={workdir / CONFIG_FILE} --workdir={workdir}-anew"


def changes(old: Config, new: Config) -> list[str]:
    """Lines `field: old → new` of what a given config changes in a run's, used fields only."""
    # What plugins bring stands in the fields that name it; on `runtime` depends no number.
    ignored = ("plugins:", "runtime.", "runtime:")
    if new.task == old.task:
        ignored += tuple(tasks.spec_of(new.task).unused(new))
    lines = differences(plain(old), plain(new))
    return [line for line in lines if not line.startswith(ignored)]


def changes_of_training(old: Config, new: Config) -> list[str]:
    """Those of them that would make another model: neither of the evaluation nor of the place.

    Whether the files at another place are the same is for their digests to say.
    """
    free = ("eval.", *_PLACES, *tasks.spec_of(new.task).paths)
    return [line for line in changes(old, new) if not line.startswith(free)]


@dataclasses.dataclass(frozen=True)
class Begun:
    """How a command to train stands to what is in its workdir.

    Attributes:
        workdir: The folder.
        steps: Updates that the run there is to do by its config; 0 where there is no run.
        finished: Whether the command asks for nothing that is not done.
    """

    workdir: pathlib.Path
    steps: int
    finished: bool

    def claim(self, config: Config, *, say: Callable[[str], None]) -> None:
        """Makes the workdir this config's, before the first file of the run is written.

        The table of a run that goes on after its end moves to `evaluations/`.
        """
        if self.steps == config.train.steps:
            return
        if self.steps:
            _tell_of_more(self.workdir, self.steps, config, say)
        write_claim(self.workdir, config)


def find_run(workdir: pathlib.Path, config: Config) -> Begun:
    """How a config stands to what is in a workdir; writes nothing.

    Raises:
        ConfigError: A run of another config is there, or a longer one of the same; the message
            shows the difference.
    """
    if not (workdir / CONFIG_FILE).exists():
        return Begun(workdir, 0, finished=False)
    old = placed_config(workdir)
    changed = changes(old, _place(config, ""))
    if changed == [f"train.steps: {old.train.steps} → {config.train.steps}"]:
        if config.train.steps < old.train.steps:
            raise ConfigError(
                f"the run in {workdir} has {old.train.steps:,} updates to do, and "
                f"train.steps={config.train.steps:,} asks for fewer: a run is not made shorter. "
                "Evaluate an earlier checkpoint with --mode=evaluate --checkpoint=STEP, or train "
                "in another --workdir"
            )
    elif changed:
        raise ConfigError(
            f"{workdir} holds a run of another config; take another --workdir, or the old values "
            "(old → new):\n  " + "\n  ".join(changed)
        )
    table = workdir / EVALUATION_FILE
    done = table.exists()
    if done:
        read_json(table, remedy=_AGAIN)
    return Begun(workdir, old.train.steps, done and config.train.steps == old.train.steps)


def _tell_of_more(
    workdir: pathlib.Path, before: int, config: Config, say: Callable[[str], None]
) -> None:
    """Puts the table of a finished run aside and says what more updates mean."""
    t = config.train
    say(f"continuing to {t.steps:,} updates, the run in {workdir} had {before:,}")
    if (workdir / EVALUATION_FILE).exists():
        aside = _free_folder(workdir / "evaluations", f"after-{before}")
        # The table last: the run counts as finished as long as it is there.
        for folder in (*workdir.glob(f"{SCREENS_FOLDER}/*"), workdir):
            for name in ("report", RANKS_FILE, GRADED_FILE, EVALUATION_FILE):
                if (folder / name).exists():
                    set_aside(folder / name, aside / folder.relative_to(workdir) / name)
        say(f"its table after {before:,} updates is now in {aside}")
    if t.schedule != "constant":
        rate = [learning_rate(t, before), learning_rate(_shorter(t, before), before)]
        say(
            f"the learning rate follows train.schedule={t.schedule} over {t.steps:,} updates from "
            f"here on: {rate[0]:.3g} after update {before:,}, where the shorter schedule had come "
            f"to {rate[1]:.3g}; a run of {t.steps:,} updates from the start is another run"
        )


def _shorter(t: Config, steps: int) -> Config:
    shorter = copy.deepcopy(t)
    shorter.steps = steps
    return shorter


def _free_folder(parent: pathlib.Path, name: str) -> pathlib.Path:
    """A folder in which no table lies."""
    found, number = parent / name, 1
    while (found / EVALUATION_FILE).exists():
        number += 1
        found = parent / f"{name}-{number}"
    return found
