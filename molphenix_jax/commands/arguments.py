"""Command line arguments that several subcommands share: their types and checks."""

import argparse
import pathlib


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def need_other_output(out: pathlib.Path | None, *inputs: pathlib.Path | str | None) -> None:
    """Stops where what is to be written would take the place of what is read.

    Raises:
        InputError: `out` is one of the inputs, or a folder that one lies in.
    """
    from molphenix_jax.errors import InputError

    if out is None:
        return
    if str(out) in ("", "."):
        raise InputError("--out is empty or the current folder: give a name for what is written")
    place = out.resolve()
    for path in inputs:
        if path is None:
            continue
        given = pathlib.Path(path).resolve()
        if place == given or place in given.parents:
            raise InputError(
                f"--out={out} would take the place of the input {path}: choose another name"
            )
