"""What is an extra of the installation: imported where it is needed, a sentence where missing."""

import importlib
from typing import Any

from molphenix_jax.errors import InputError


class MissingExtraError(InputError):
    """A package that is not installed is needed; the message says how to install it."""


def load(module: str, *, extra: str, what: str) -> Any:
    """A module of a package that comes with an extra.

    Args:
        module: Its name.
        extra: Of this package, as in `pip install 'molphenix-jax[beam]'`.
        what: What needs it, for the error.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed: pip install 'molphenix-jax[{extra}]'"
        ) from error
