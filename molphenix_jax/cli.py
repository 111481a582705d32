"""`molphenix`: everything a user does besides training.

`molphenix COMMAND --help` tells what each command takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from molphenix_jax.commands import bench, convert_openphenom, embed, embed_images, prepare
from molphenix_jax.errors import InputError
from molphenix_jax.runtime.progress import say

_COMMANDS = (prepare, embed, embed_images, convert_openphenom, bench)


def make_parser() -> argparse.ArgumentParser:
    """The command line: a parser with one for each command."""
    parser = argparse.ArgumentParser(prog="molphenix", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status; the user's mistakes end as a sentence."""
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
