"""`molphenix figures`: what a run's embeddings know beside recall, the paper's figures 6 and 7."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import concentrations, need_other_output, positive


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "figures",
        help="what a run's embeddings know beside recall: activity, properties, similarity",
        description="Asks a finished alignment run, by the perturbations that its folds held out: "
        "which similarity of profiles sets active pairs apart, whether molecule embeddings lie by "
        "activity, whether activity and other properties are told from them. One page, its "
        "numbers, tables and pictures beside it. A map is drawn by UMAP where umap-learn is "
        "installed, else by t-SNE.",
    )
    parser.add_argument("run_folder", type=pathlib.Path, metavar="RUN", help="--workdir of a run")
    parser.add_argument(
        "--properties",
        type=pathlib.Path,
        action="append",
        default=[],
        metavar="FILE",
        help="molecules with properties, CSV, Parquet or .sdf; may be given again",
    )
    parser.add_argument("--smiles-column", default="", help="default: the one ending in 'smiles'")
    parser.add_argument(
        "--concentrations",
        default="",
        metavar="UM,UM",
        help="that embeddings are asked for properties at (default: lowest, middle and highest of "
        "training)",
    )
    parser.add_argument(
        "--molecules", type=positive, default=500, help="of each property, at most (default 500)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="DIR", help="of the page (default RUN/figures)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.figures.command import Request, make_figures

    run = arguments.run_folder
    if arguments.out is not None:
        need_other_output(arguments.out, run, *arguments.properties)
    request = Request(
        run,
        arguments.out or run / "figures",
        arguments.properties,
        arguments.smiles_column,
        concentrations(arguments.concentrations),
        arguments.molecules,
        arguments.seed,
    )
    make_figures(request)
    return 0
