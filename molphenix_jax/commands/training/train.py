"""`molphenix train` and `molphenix evaluate`: `python -m molphenix_jax.main` by shorter names."""

from __future__ import annotations

import argparse

_COMMANDS = {
    "train": "train on a screen and evaluate: --config=s2l:wells=FILE --workdir=RUN",
    "evaluate": "evaluate a checkpoint of a run again: --workdir=RUN",
}


def add_parser(commands) -> None:
    """Adds both; their flags are those of `molphenix_jax.main`, which parses them."""
    for mode, what in _COMMANDS.items():
        # No argument begins with this prefix, so all are left as they are, --help too.
        parser = commands.add_parser(mode, help=what, add_help=False, prefix_chars="\0")
        parser.add_argument("flags", nargs="*")
        parser.set_defaults(run=_run, mode=mode)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax import main

    return main.run(["molphenix", f"--mode={arguments.mode}", *arguments.flags])
