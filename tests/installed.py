"""What an installation without extras weighs: `python -m tests.installed` prints it."""

import importlib.metadata
import os
import pathlib
import tomllib
from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"


def declared() -> list[str]:
    """What `pyproject.toml` asks for without extras."""
    return tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of all distributions that these bring along, as they are installed here."""
    left, seen = [Requirement(text) for text in requirements], {}
    while left:
        wanted = left.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key not in seen:
            seen[key] = None
            left += _asked_for(wanted)
    return {name for name, _ in seen}


def _asked_for(wanted: Requirement) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(wanted.name) or ():
        found = Requirement(text)
        extras = wanted.extras or {""}
        if not found.marker or any(found.marker.evaluate({"extra": extra}) for extra in extras):
            yield found


def size(name: str) -> int:
    """Bytes of a distribution's files, bytecode counted where pip has written it."""
    paths = map(str, (file.locate() for file in importlib.metadata.files(name) or ()))
    return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


if __name__ == "__main__":
    sizes = {name: size(name) for name in closure(declared())}
    print(f"{len(sizes)} distributions, {sum(sizes.values()) / 1e9:.2f} GB")  # noqa: T201
    for name in sorted(sizes, key=lambda name: -sizes[name])[:12]:
        print(f"{sizes[name] / 1e6:5.0f} MB  {name}")  # noqa: T201
