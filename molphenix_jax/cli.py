"""`molphenix`: everything a user does.

`molphenix COMMAND --help` tells what each command takes. Ctrl-C and SIGTERM end a command within 5
seconds, at any moment, and the same command continues. Exit status: 0 done, 1 input that cannot be
used, 2 usage, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from molphenix_jax import signals


def make_parser() -> argparse.ArgumentParser:
    """The command line: a parser with one for each command."""
    from molphenix_jax import __version__, plugins
    from molphenix_jax.commands import bench, published
    from molphenix_jax.commands.models import embed, index, pretrained, rank
    from molphenix_jax.commands.screens import cache, embed_images, prepare
    from molphenix_jax.commands.training import (
        ablate,
        compare,
        compile,
        enrichment,
        export,
        figures,
        refit,
        train,
    )

    parser = argparse.ArgumentParser(prog="molphenix", description=__doc__)
    parser.add_argument("--plugin", action="append", help=plugins.HELP)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (
        train,
        prepare,
        refit,
        compare,
        ablate,
        figures,
        enrichment,
        export,
        index,
        rank,
        embed,
        embed_images,
        pretrained,
        published,
        cache,
        bench,
        compile,
    ):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status; the user's mistakes end as a sentence."""
    if argv is None:  # this process is the command
        signals.install()
    # Imported late: a signal during the imports below ends the process with its sentence.
    from molphenix_jax import plugins
    from molphenix_jax.errors import sentence_of
    from molphenix_jax.runtime.progress import say

    parser = make_parser()
    try:
        # Before the other arguments, which may name what they register, and wherever they stand.
        given, others = plugins.split(sys.argv[1:] if argv is None else argv)
        for sentence in plugins.load(given):
            say(sentence)
        arguments = parser.parse_args(others)
        if not hasattr(arguments, "run"):  # no command
            parser.print_help()
            return 0
        with signals.working():
            return arguments.run(arguments)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        say(f"error: {sentence}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
