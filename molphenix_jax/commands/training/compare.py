"""`molphenix compare`: runs side by side, on the queries that all of them were asked."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "compare",
        help="runs side by side, with paired differences to the first",
        description="Recall of each run, and its difference to the first one over the same queries "
        "with 95%% intervals over molecules. Runs on one screen with one split are comparable; "
        "their configs may differ otherwise, and that is shown.",
    )
    parser.add_argument(
        "runs",
        type=pathlib.Path,
        nargs="+",
        metavar="RUN",
        help="--workdir of a finished run, or one of its evaluations/NAME",
    )
    parser.add_argument(
        "--split",
        default="unseen_molecules",
        help="unseen_molecules (default), unseen_images, validation, unseen_screen:NAME, …",
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="the table as .csv")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.errors import InputError
    from molphenix_jax.reporting.comparison import compare_runs, comparison_text
    from molphenix_jax.runtime.config import differences, plain
    from molphenix_jax.runtime.progress import console, say
    from molphenix_jax.tasks.align.config import distinct_names
    from molphenix_jax.tasks.align.task import TABLE_WIDTH
    from molphenix_jax.tasks.stored import stored_config

    need_other_output(arguments.out, *arguments.runs)
    places = [str(path.resolve()) for path in arguments.runs]
    if len(places) < 2 or len(set(places)) < len(places):
        raise InputError("two or more different runs are needed to compare")
    names = distinct_names(places, [path.resolve().name for path in arguments.runs])
    runs = dict(zip(names, arguments.runs, strict=True))
    frames = {name: ranks_of(path) for name, path in runs.items()}
    configs = {name: plain(stored_config(_workdir(path))) for name, path in runs.items()}
    first = names[0]
    for name in names[1:]:
        lines = differences(configs[first], configs[name])
        told = "\n  ".join(lines) if lines else "nothing"
        say(f"what differs from {first} to {name}:\n  {told}")
    table, alone = compare_runs(frames, split=arguments.split)
    say(comparison_text(table, split=arguments.split, width=max(console.width, TABLE_WIDTH)))
    for name, n in alone.items():
        if n:
            say(f"{n:,} ranked queries of {name} have no partner in the others and are left out")
    if arguments.out:
        storage.write_csv(arguments.out, table)
        say(f"the table: {arguments.out}")
    return 0


def _workdir(path: pathlib.Path) -> pathlib.Path:
    """The run that an evaluation is of."""
    from molphenix_jax.evaluate import EVALUATIONS

    return path.resolve().parents[1] if path.resolve().parent.name == EVALUATIONS else path


def ranks_of(path: pathlib.Path):
    """The ranks of a run.

    Raises:
        InputError: It has none, or they are damaged.
    """
    import pandas as pd

    from molphenix_jax.errors import InputError
    from molphenix_jax.runtime.workdir.folder import CONFIG_FILE, EVALUATION_FILE, RANKS_FILE
    from molphenix_jax.trained.folder import SCREENS_FOLDER

    file = path / RANKS_FILE
    if not file.exists():
        if not (_workdir(path) / CONFIG_FILE).exists():
            raise InputError(f"{path} is no run: give a --workdir, or an evaluations/NAME of one")
        if not (path / EVALUATION_FILE).exists():
            raise InputError(f"{path} is not finished: the command that began it continues it")
        if ranks := sorted(path.glob(f"{SCREENS_FOLDER}/*/{RANKS_FILE}")):
            raise InputError(
                f"{path} has a table for each of its screens: give one, as {ranks[0].parent}"
            )
        raise InputError(
            f"{path} has no {RANKS_FILE}, for an earlier version evaluated it: evaluate it again "
            f"(molphenix evaluate --workdir={path} --name=again) and give {path}/evaluations/again"
        )
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged: evaluate the run again ({error})") from error
