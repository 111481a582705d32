"""What is an extra of the installation: imported where it is needed, a sentence where missing."""

import importlib
from typing import Any

from molphenix_jax.errors import InputError, first_line


class MissingExtraError(InputError):
    """A package that is needed is not installed, or is broken; the message says what to do."""


def load(module: str, *, extra: str, what: str) -> Any:
    """A module of a package that comes with an extra.

    Args:
        module: Its name.
        extra: Of this package, as in `pip install 'molphenix-jax[beam]'`.
        what: What needs it, for the error.

    Raises:
        MissingExtraError: It is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = f"pip install 'molphenix-jax[{extra}]'"
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise MissingExtraError(
                f"{what} needs {module}, which is not installed: {install}"
            ) from error
        raise MissingExtraError(
            f"{what} needs {module}, which is installed and cannot be loaded "
            f"({first_line(error)}): {install} --force-reinstall"
        ) from error
