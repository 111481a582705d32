"""`molphenix enrichment`: how many wells a run's ranking would have saved on its own screen."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "enrichment",
        help="how many wells a run's ranking would have saved: hits found against wells spent",
        description="Plays the next plate in hindsight: each fold of a finished alignment run "
        "ranks the molecules that it held out, at their concentrations, by structure alone for "
        "each kind of hit, beside fingerprint neighbours, boosted trees, what is active at all, "
        "dose and cell count. Writes enrichment factors, curves, ranks and a page.",
    )
    add = parser.add_argument
    add("run_folder", type=pathlib.Path, metavar="RUN", help="--workdir of a run, best with folds")
    add(
        "--hits",
        type=pathlib.Path,
        required=True,
        metavar="FILE",
        help="molecules (SMILES, InChIKey or the screen's names), concentrations, and a column for "
        "each kind of hit: 0 and 1, or values; an empty cell leaves a candidate out",
    )
    add("--columns", default="", metavar="REGEX", help="columns of hits (default: with numbers)")
    add(
        "--at-least",
        type=float,
        default=0.5,
        metavar="NUMBER",
        help="from which value on a candidate is a hit (default 0.5)",
    )
    add(
        "--trees",
        default="physchem",
        metavar="BLOCK",
        help="feature block of the boosted trees, as minimol (default physchem)",
    )
    add(
        "--blind",
        action="store_true",
        help="write the scores and their digest, and count no hit yet; the same command without "
        "it counts them on these scores",
    )
    add("--seed", type=int, default=0)
    add("--out", type=pathlib.Path, metavar="DIR", help="(default RUN/enrichment)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.enrichment.command import Request, measure_enrichment

    run = arguments.run_folder
    need_other_output(arguments.out, run, arguments.hits)
    request = Request(
        run,
        arguments.hits,
        arguments.out or run / "enrichment",
        arguments.at_least,
        arguments.columns,
        arguments.trees,
        arguments.blind,
        arguments.seed,
    )
    measure_enrichment(request)
    return 0
