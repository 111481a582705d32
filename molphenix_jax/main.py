"""Trains and evaluates: `python -m molphenix_jax.main --config=configs/s2l.py --workdir=runs/demo`.

From any folder: `molphenix train --config=s2l --workdir=runs/demo`, and `molphenix evaluate` for
`--mode=evaluate`.

The same command again continues a run that was stopped, and does nothing to a finished one. With a
higher `--config.train.steps` it trains on.

`--mode=evaluate --workdir=RUN` evaluates the newest checkpoint of a run, finished or not, or
another one (`--checkpoint=STEP`), with other eval fields if they are given, as in
`--config.eval.psi=0.05,0.1`. It reads the run's config by itself and writes `RUN/evaluations/NAME/`
and nothing else: NAME is `--name`, or else after-STEP, after-STEP-2 and so on. The same request
again replaces its folder.

`--plugin=FILE.py` or `--plugin=package.module` imports code that registers a loss, an encoding, a
task … (docs/contributing.md) before the config is read. The run keeps the name, and evaluating it
finds the plugin again.

Ctrl-C and SIGTERM end it within 5 seconds, at any moment, and the same command continues. A
training that is told to end saves its state if that takes no longer. Exit status: 0 done, 1 input
that cannot be used, 2 usage, 130 Ctrl-C, 143 SIGTERM.

The same command started several times, on one host or many, is one job (docs/hosts.md): a scheduler
tells each process which it is, or --coordinator, --num_processes and --process_id do. They save
within 25 seconds when one is told to end; 142 is the exit status of those that have lost another.
"""

import sys

from molphenix_jax import signals

if __name__ == "__main__":
    signals.install()  # before the imports below, which take seconds

import contextlib
import pathlib
from collections.abc import Sequence
from traceback import walk_tb
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from molphenix_jax import plugins, train
from molphenix_jax.errors import InputError, sentence_of
from molphenix_jax.evaluate import evaluate
from molphenix_jax.runtime import processes
from molphenix_jax.runtime.config import Config, config_file, plain
from molphenix_jax.runtime.progress import say
from molphenix_jax.tasks.stored import placed_config

_OF_FLAGS = {"absl", "ml_collections", "molphenix_jax", "__main__"}
_CONFIG_HELP = "Config file or name, e.g. configs/s2l.py:wells=F or s2l, or config.json of a run."
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
flags.register_validator("workdir", bool, "is empty: name the folder of the run")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do.")
_CHECKPOINT = flags.DEFINE_integer(
    "checkpoint", None, "With --mode=evaluate: step of the checkpoint; the newest if not given."
)
_NAME = flags.DEFINE_string(
    "name", "", "With --mode=evaluate: the folder in WORKDIR/evaluations; after-STEP if not given."
)
flags.DEFINE_multi_string("plugin", [], plugins.HELP)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of the first process of several; a scheduler tells by itself."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", 0, "How many processes do this together; 0 asks the scheduler.", lower_bound=0
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", -1, "Which of them this is, from 0; -1 asks the scheduler.", lower_bound=-1
)


def main(argv: list[str]) -> None:
    """Runs the mode that the flags ask for; errors of the user's input end without a traceback."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it writes
    workdir, config = pathlib.Path(_WORKDIR.value), _with_plugins(flags.FLAGS.config)
    try:
        with signals.working(), _joined(config):
            if _MODE.value == "evaluate":
                evaluate(config, workdir, checkpoint=_CHECKPOINT.value, name=_NAME.value)
            else:
                train.train_and_evaluate(config, workdir)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        say(f"error: {sentence}")
        sys.exit(1)


def _joined(config: Config) -> contextlib.AbstractContextManager[None]:
    """This process as one of its job, if there are several."""
    return processes.joined(
        coordinator=_COORDINATOR.value,
        num_processes=_NUM_PROCESSES.value,
        process_id=_PROCESS_ID.value,
        timeout_s=config.get("runtime", {}).get("timeout_s", processes.DEFAULT_TIMEOUT_S),
        same=plain(config),
        say=say,
    )


def _with_plugins(config: Config | None) -> Config | None:
    """The config with the names of this process' plugins, for whoever opens the run."""
    if config is not None and plugins.names():
        with config.unlocked():
            config.plugins = plugins.names()
    return config


def _define_config(argv: list[str]) -> list[str]:
    """Imports plugins, then defines --config; gives the arguments that are left to parse.

    The config of a run stands for itself, so that its fields can be given too: of the run that
    --config=RUN/config.json names, or that --mode=evaluate is asked for without --config.

    Raises:
        flags.Error: There is no such config file.
        InputError: A plugin, or the config of the run, cannot be used.
    """
    for sentence in plugins.load(plugins.split(argv)[0]):
        say(sentence)
    early = flags.FlagValues()
    for name in ("config", "workdir", "mode"):
        flags.DEFINE_string(name, None, "", flag_values=early)
    early(argv, known_only=True)
    run = None
    if early.config and early.config.endswith(".json"):
        run = pathlib.Path(early.config).parent
        argv = _without_config(argv)
    elif early.config is None and early.mode == "evaluate" and early.workdir:
        run = pathlib.Path(early.workdir)
    if run is None:
        if early.config:
            argv = [argv[0], f"--config={found(early.config)}", *_without_config(argv)[1:]]
        config_flags.DEFINE_config_file("config", None, _CONFIG_HELP, sys_argv=argv)
    else:
        config_flags.DEFINE_config_dict("config", placed_config(run), _CONFIG_HELP, sys_argv=argv)
    return argv


def _without_config(argv: list[str]) -> list[str]:
    """The arguments without --config and its value."""
    left, skip = [], False
    for argument in argv:
        name, equals, _ = argument.lstrip("-").partition("=")
        if not skip and not (argument.startswith("-") and name == "config"):
            left.append(argument)
            continue
        skip = not skip and not equals
    return left


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it ends with a sentence."""
    if {"--help", "-h"} & {*argv[1:]}:
        known = flags.FLAGS.module_help(sys.modules[__name__])
        sys.stdout.write(f"{__doc__}\n{known}\n  --config: {_CONFIG_HELP}\n")
        sys.exit(0)
    try:
        left = flags.FLAGS(_define_config(argv))
        if len(left) == 1 and (flags.FLAGS.config is not None or _MODE.value == "evaluate"):
            return left
        message = "--config is missing, e.g. --config=s2l"
        if left[1:]:
            message = f"unknown arguments: {' '.join(left[1:])}"
    except (InputError, OSError) as error:  # of a plugin, or a run whose config cannot be used
        say(f"error: {sentence_of(error)}")
        sys.exit(1)
    except MISTAKES as error:
        message = mistake(error)
    say(f"error: {message}")
    sys.exit(2)


# What ml_collections and absl raise of a command line.
MISTAKES = (SyntaxError, AttributeError, LookupError, TypeError, ValueError, flags.Error)


def mistake(error: Exception) -> str:
    """What is wrong with a command line, of its error; that of a config file's code is raised."""
    if isinstance(error, LookupError | TypeError | ValueError):
        modules = (frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__))
        if not {name.partition(".")[0] for name in modules} <= _OF_FLAGS:
            raise error
        reason = str(error.args[0] if isinstance(error, KeyError) else error)
        return f"no such config field: {' '.join(reason.split())}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    if isinstance(error, AttributeError):  # a config has no such field
        if error.name == "get_config":
            return f"{getattr(error.obj, '__file__', '')} has no get_config: it is no config file"
        reason = getattr(error.args[0], "args", error.args)[0]
        return f"no such config field: {' '.join(str(reason).split())}"
    # What a config file raised stands near the end of the chain.
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return str(next((e for e in reversed(chain) if isinstance(e, InputError)), chain[-1]))


def found(config: str) -> str:
    """The value of --config with the path of the file that it names.

    ml_collections would keep a missing file for the moment when somebody reads a field.
    """
    name, colon, arg = config.partition(":")
    try:
        return f"{config_file(name)}{colon}{arg}"
    except InputError as error:
        raise flags.Error(str(error)) from error


def run(argv: Sequence[str]) -> NoReturn:
    """Runs a command line, the program's name first, and ends the process."""
    jax.config.config_with_absl()
    app.run(main, list(argv), flags_parser=_parse_flags)
    sys.exit()


if __name__ == "__main__":
    run(sys.argv)
