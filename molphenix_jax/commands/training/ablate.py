"""`molphenix ablate`: tables and figures of the paper, each as one command."""

from __future__ import annotations

import argparse
import pathlib
import re

from molphenix_jax.commands.arguments import positive

_TIERS = ("smoke", "small", "decide", "full")


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "ablate",
        help="tables and figures of the paper: grids of runs, compared and judged",
        description="Runs the grid of an ablation (rows × seeds, an ordinary run each, in "
        "WORKDIR/NAME/ROW/seed_K), and writes its table and figure into WORKDIR/NAME. What is "
        "finished is left alone, so that the same command continues what was stopped. Without a "
        "NAME it lists what there is.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="ablations by name, or files that end in .py"
    )
    parser.add_argument("--all", action="store_true", help="all ablations of the paper")
    parser.add_argument(
        "--tier",
        choices=_TIERS,
        default="small",
        help="how large: smoke (every field reaches the model), small (default; 1,000 built-in "
        "molecules), decide (30,000 of a file of yours, ten times the updates), full (the paper's "
        "size, on wells)",
    )
    parser.add_argument("--workdir", type=pathlib.Path, help="folder of all runs and tables")
    parser.add_argument(
        "--input",
        action="append",
        type=_named,
        default=[],
        metavar="NAME=FILE",
        help="a file that rows ask for; wells=FILE takes a screen of yours for the built-in one",
    )
    parser.add_argument(
        "--set",
        action="append",
        type=_named,
        default=[],
        metavar="FIELD=VALUE",
        help="a config field of every run, e.g. data.folds=5",
    )
    parser.add_argument(
        "--doses", type=_doses, help="held-out concentrations in µM, by commas; else the tier's"
    )
    parser.add_argument("--seeds", type=positive, help="runs of each row; else the tier's")
    parser.add_argument(
        "--rows",
        type=_several,
        default=(),
        metavar="ROW,…",
        help="these rows alone, the reference among them; else all",
    )
    parser.add_argument("--processes", type=positive, default=1, help="runs at a time (default 1)")
    parser.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="the I-th of N parts of the runs, as 1/8",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="build every config, say time and disk, run nothing"
    )
    parser.add_argument(
        "--report",
        type=pathlib.Path,
        metavar="FILE.md",
        help="judge the paper's claims in one page; its numbers are kept beside it, in evidence/",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.ablations import command
    from molphenix_jax.errors import InputError
    from molphenix_jax.runtime.progress import say

    if arguments.all and arguments.names:
        raise InputError("give NAMEs or --all, not both")
    if not (arguments.all or arguments.names or arguments.report):
        for sentence in command.listing():
            say(sentence)
        return 0
    names = command.all_names() if arguments.all else arguments.names
    if names and arguments.workdir is None:
        raise InputError("--workdir is missing: name the folder of all runs and tables")
    return command.ablate(
        command.Request(
            names=names,
            tier=arguments.tier,
            workdir=arguments.workdir or pathlib.Path(),
            inputs=dict(arguments.input),
            fields=dict(arguments.set),
            doses=arguments.doses,
            seeds=arguments.seeds,
            rows=arguments.rows,
            shard=arguments.shard,
            processes=arguments.processes,
            dry_run=arguments.dry_run,
            report=arguments.report,
        )
    )


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _several(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _doses(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(found[1]), int(found[2])
