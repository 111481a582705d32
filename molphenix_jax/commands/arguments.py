"""Command line arguments that several subcommands share: their types and checks."""

import argparse
import pathlib


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def concentrations(text: str) -> tuple[float, ...]:
    """Concentrations in µM, by commas, ascending; an empty text gives none.

    Raises:
        InputError: One is no number above 0, or is there twice.
    """
    from molphenix_jax.errors import InputError

    doses = []
    for part in text.split(",") if text else ():
        try:
            dose = float(part)
        except ValueError:
            dose = 0.0
        if not 0 < dose < float("inf"):
            raise InputError(
                f"--concentrations={text}: {part.strip()!r} is no number above 0; they are in µM, "
                "as 0.1,1,10"
            )
        doses.append(dose)
    if len(set(doses)) < len(doses):
        raise InputError(f"--concentrations={text}: one of them is there twice")
    return tuple(sorted(doses))


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
