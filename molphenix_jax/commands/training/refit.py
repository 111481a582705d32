"""`molphenix refit`: the model of a run once more, of all its molecules."""

from __future__ import annotations

import argparse
import pathlib

from molphenix_jax.commands.arguments import need_other_output


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "refit",
        help="train the model of a run once more on all its molecules, to be used",
        description="Trains with the config of a finished run on every perturbation of its screen, "
        "with as many updates, and holds nothing back. What is known of how well such a model "
        "does was measured on the run, and the card says so. The same command continues.",
    )
    parser.add_argument("run_folder", type=pathlib.Path, metavar="RUN", help="--workdir of a run")
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="RUN2", help="--workdir of the refit"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from absl import logging

    from molphenix_jax.tasks.align.refit import refit_config
    from molphenix_jax.train import train_and_evaluate

    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it writes
    need_other_output(arguments.out, arguments.run_folder)
    train_and_evaluate(refit_config(arguments.run_folder), arguments.out)
    return 0
