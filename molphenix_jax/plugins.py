"""`--plugin=FILE.py` and `--plugin=package.module`: code from outside that registers parts.

A plugin is imported before a config or an option is read, by each process of a job. A run keeps
the names of its plugins in its config, so that whoever opens the run finds them again.
"""

import importlib
import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from molphenix_jax.errors import InputError
from molphenix_jax.parts import forget, recorded

HELP = (
    "FILE.py or package.module that registers parts (docs/contributing.md); several by commas, or "
    "given again."
)


class _Loaded(NamedTuple):
    """A plugin of this process: its file or module, and the (kind, name) of its parts."""

    place: pathlib.Path | str
    record: list[tuple[str, str]]


_loaded: dict[str, _Loaded] = {}  # by what was given


class PluginError(InputError):
    """A plugin that is not there or fails; the message names it, the line and the reason."""


def names() -> tuple[str, ...]:
    """The plugins of this process, as they were given."""
    return tuple(_loaded)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The plugins that a command line names, and its other arguments."""
    given, others, follows = [], [], False
    for argument in arguments:
        if follows or argument.startswith("--plugin="):
            given.append(argument.removeprefix("--plugin="))
            follows = False
        elif argument == "--plugin":
            follows = True
        else:
            others.append(argument)
    if follows:
        raise PluginError("--plugin names nothing: give FILE.py or package.module")
    return given, others


def load(given: Iterable[str]) -> list[str]:
    """Imports plugins, each once; gives a sentence on each that is new.

    Args:
        given: Each a path that ends in .py or the name of a module, or several by commas.

    Raises:
        PluginError: One cannot be imported, or registers what cannot be.
    """
    listed = [name.strip() for entry in given for name in entry.split(",") if name.strip()]
    return [said for name in listed if (said := _load(name, pathlib.Path.cwd()))]


def load_again(names: Iterable[str], *, began: str, needed_by: str) -> list[str]:
    """Imports the plugins of a run, unless one of the same name was given; as `load`.

    Args:
        names: As the run's config has them.
        began: The folder that the run was started in, where relative paths are from.
        needed_by: The run, for errors.

    Raises:
        PluginError: As `load`; one that is gone is named with the remedy.
    """
    said = []
    for name in names:
        if pathlib.PurePath(name).name in {pathlib.PurePath(given).name for given in _loaded}:
            continue
        folders = list(dict.fromkeys((pathlib.Path(began).absolute(), pathlib.Path.cwd())))
        folder = next((f for f in folders if not _is_file(name) or (f / name).exists()), None)
        if folder is None:
            looked = " nor in ".join(str(folder) for folder in folders)
            raise PluginError(
                f"{needed_by} needs the plugin {name}, which is not in {looked}: give its new "
                "place with --plugin=FILE.py"
            )
        said.append(_load(name, folder))
    return [sentence for sentence in said if sentence]


def unload() -> None:
    """Forgets the plugins of this process and their parts."""
    for loaded in _loaded.values():
        forget(loaded.record)
        if isinstance(loaded.place, str):
            sys.modules.pop(loaded.place, None)
    _loaded.clear()


def _load(name: str, folder: pathlib.Path) -> str:
    """Imports one; "" where it is there already."""
    place = (folder / name).resolve() if _is_file(name) else name
    if any(place == loaded.place for loaded in _loaded.values()):
        return ""
    try:
        with recorded() as record:
            if isinstance(place, pathlib.Path):
                _run_file(name, place)
            else:
                _import(name, folder)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"--plugin={name}{_where(error, place)}: {_reason(error)}") from error
    _loaded[name] = _Loaded(place, record)
    parts = ", ".join(f"{kind} {part}" for kind, part in record)
    return f"plugin {name}: {parts or 'registers no part'}"


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def _run_file(name: str, path: pathlib.Path) -> None:
    module_name = f"molphenix_plugin_{path.stem}_{len(_loaded)}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise PluginError(f"--plugin={name}: there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def _import(name: str, folder: pathlib.Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module or a package around it; what it imports itself is its own error.
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise PluginError(
            f"--plugin={name}: there is no module {error.name!r}; give an installed one, one in "
            "the current folder, or a file that ends in .py"
        ) from error


def _where(error: Exception, place: pathlib.Path | str) -> str:
    """The line of a plugin's file that failed, if it is known."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    file = str(place) if isinstance(place, pathlib.Path) else None
    if file is None and (spec := importlib.util.find_spec(str(place))):
        file = spec.origin
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {told}"
