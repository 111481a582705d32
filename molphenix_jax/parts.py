"""The parts that a config or an option names, by kind: built-in ones, and those from outside.

A part is one file that ends in a call

    molphenix_jax.register("loss", "hinge", LossSpec(...))

and that `--plugin=FILE.py` or `--plugin=package.module` imports (`plugins`); the built-in parts
make the same call. This module stands below all rooms: it has names alone. What a spec of a kind
has to be is known by the room that the kind belongs to, which says so with `define`.
"""

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from molphenix_jax.errors import InputError

Spec = TypeVar("Spec")

# Kind → the module that defines it and registers the built-in parts.
ROOMS = {
    "loss": "molphenix_jax.losses",
    "head": "molphenix_jax.models",
    "concentration": "molphenix_jax.models",
    "molecule_encoder": "molphenix_jax.molecules",
    "image_encoder": "molphenix_jax.images",
    "layout": "molphenix_jax.images",
    "wells_layout": "molphenix_jax.wells.inputs.layouts",
    "baseline": "molphenix_jax.evaluation",
    "metric": "molphenix_jax.evaluation",
    "section": "molphenix_jax.reporting",
    "writer": "molphenix_jax.runtime.workdir.writers",
    "task": "molphenix_jax.tasks",
}
_NAME = re.compile(r"[A-Za-z][\w-]*")


class PartError(InputError):
    """A part that cannot be registered, or is not there; the message says why."""


class _Origin(NamedTuple):
    """Which file registered a part, and in which of the times that it ran."""

    file: str
    run: int


class Parts(Mapping[str, Spec]):
    """The parts of one kind, in the order in which they were registered."""

    def __init__(self, kind: str, problem: Callable[[Any], str], reserved: Collection[str] = ()):
        """Begins without any; see `define`."""
        self.kind, self._problem, self._reserved = kind, problem, reserved
        self._specs: dict[str, Any] = {}
        self._origins: dict[str, _Origin] = {}

    def __getitem__(self, name: str) -> Spec:
        """The spec of a part.

        Raises:
            KeyError: There is no such part.
            PartError: What it was registered as does not exist or is no spec.
        """
        spec = self._specs[name]
        if isinstance(spec, str):
            spec = self._specs[name] = self._checked(name, _imported(self.kind, name, spec))
        return spec

    def __contains__(self, name: object) -> bool:
        """Whether there is such a part; imports nothing."""
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._specs)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._specs)

    def add(self, name: str, spec: Any, origin: "_Origin") -> None:
        """As `register`; what one file registers when it runs again takes the place of before."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PartError(
                f"{self.kind} {name!r}: a name begins with a letter and has letters, digits, _, -"
            )
        before = self._origins.get(name)
        again = before is not None and before.file == origin.file and before.run != origin.run
        if name in self._reserved or (name in self._specs and not again):
            raise PartError(
                f"{self.kind} {name!r} is taken: choose another name (there are {', '.join(self)})"
            )
        self._specs[name] = spec if isinstance(spec, str) else self._checked(name, spec)
        self._origins[name] = origin

    def drop(self, name: str) -> None:
        """Forgets a part."""
        self._specs.pop(name, None)
        self._origins.pop(name, None)

    def _checked(self, name: str, spec: Any) -> Any:
        if problem := self._problem(spec):
            raise PartError(f"{self.kind} {name!r}: {problem}, got {spec!r}")
        return spec


_kinds: dict[str, Parts[Any]] = {}
_recording: list[list[tuple[str, str]]] = []


def define(
    kind: str, problem: Callable[[Any], str], *, reserved: Collection[str] = ()
) -> Parts[Any]:
    """A kind without parts yet; called once, by the room that it belongs to.

    Args:
        kind: As in `register`.
        problem: Says of a spec what it should be and is not; "" of one that can be used.
        reserved: Names that stand for something else where a part is named.
    """
    if kind not in ROOMS:
        raise ValueError(f"{kind!r} has no room in molphenix_jax.parts")
    return _kinds.setdefault(kind, Parts(kind, problem, reserved))


def of_type(expected: type) -> Callable[[Any], str]:
    """The `problem` of specs that are instances of a class."""
    return lambda spec: "" if isinstance(spec, expected) else f"must be a {expected.__name__}"


def function_of(*arguments: str, gives: str) -> Callable[[Any], str]:
    """The `problem` of specs that are functions of so many arguments by position."""
    told = f"must be a function ({', '.join(arguments)}) that gives {gives}"

    def problem(spec: Any) -> str:
        try:
            inspect.signature(spec).bind(*arguments)
        except (TypeError, ValueError):
            return told
        return ""

    return problem


def register(kind: str, name: str, spec: Any) -> None:
    """Adds a part that configs and options may name from now on.

    Args:
        kind: loss, concentration, task, …; docs/contributing.md has an example of each.
        name: What configs and options say.
        spec: What the kind asks for; or "package.module:attribute", where that is to be imported
            when it is first asked for.

    Raises:
        PartError: No such kind, a name that is taken, or a spec of another shape.
    """
    if kind not in ROOMS:
        raise PartError(f"there is no kind of part {kind!r}; choose one of {', '.join(ROOMS)}")
    if kind not in _kinds:
        importlib.import_module(ROOMS[kind])
    caller = sys._getframe(1).f_globals
    file = os.path.realpath(caller.get("__file__") or caller.get("__name__", ""))
    _kinds[kind].add(name, spec, _Origin(file, id(caller)))
    # A plugin may be the first to import a room, whose parts are not its own.
    if caller.get("__name__", "").partition(".")[0] != __package__:
        for record in _recording:
            record.append((kind, name))


@contextlib.contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """Notes kind and name of what others register inside; forgets it all where that fails."""
    record: list[tuple[str, str]] = []
    _recording.append(record)
    try:
        yield record
    except BaseException:
        forget(record)
        raise
    finally:
        _recording.pop()


def forget(record: list[tuple[str, str]]) -> None:
    """Undoes the registration of these (kind, name)."""
    for kind, name in record:
        _kinds[kind].drop(name)


def _imported(kind: str, name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PartError(f"{kind} {name!r} is registered as {path!r}: {error}") from error
