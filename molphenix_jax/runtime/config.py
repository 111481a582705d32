"""Helpers for ml_collections configs: argument strings, plain values, differences.

A config file is `configs/<name>.py` with `get_config(arg)`. Its argument string comes after a colon
(`--config=configs/s2l.py:wells=screen.parquet,size=paper`) and picks presets; single fields follow
as `--config.train.learning_rate=1e-3`. Those of this repository are in the package too, by their
name (`--config=s2l:size=paper`).
"""

import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np

from molphenix_jax.errors import InputError

# An ml_collections.ConfigDict. Its fields are dynamic, so a type checker has nothing to check.
Config = Any


# A link to configs/ in the repository, a folder in an installation.
_PACKAGED = pathlib.Path(__file__).resolve().parents[1] / "configs"


class ConfigError(InputError):
    """A config that cannot be run; the message names the field and the remedy."""


def packaged(folder: str = "") -> dict[str, pathlib.Path]:
    """The config files of this package by name, those in one of its folders if that is given."""
    return {file.stem: file for file in sorted((_PACKAGED / folder).glob("*.py"))}


def config_file(name: str, *, folder: str = "", said: str = "") -> pathlib.Path:
    """The file that `--config=NAME` stands for, from any folder.

    Args:
        name: The path of a file, which ends in .py, or the name of a config of this package.
        folder: The folder of the package's configs that has the names.
        said: What the user wrote; `--config=NAME` if it is empty.

    Raises:
        ConfigError: It is neither; names the configs of this package.
    """
    path, known = pathlib.Path(name), packaged(folder)
    if path.suffix == ".py" and path.is_file():
        return path
    if name in known:
        return known[name]
    raise ConfigError(
        f"{said or f'--config={name}'} is no config file; give one that ends in .py, or a config "
        f"by its name: {', '.join(known)}"
    )


def parse_arg(arg: str | None, **defaults: str | int | float | bool | tuple[str, ...]) -> Config:
    """Parses `name=value,name=value` into the types of the defaults; a bare name means True.

    Where the default is a tuple the value is a list joined by `+`, or the one file of that name.

    Raises:
        ConfigError: A name that is unknown or given twice, or a value that is missing or not of the
            default's type.
    """
    values: dict[str, Any] = dict(defaults)
    given: set[str] = set()
    for part in filter(None, (arg or "").split(",")):
        name, equals, text = part.partition("=")
        if name not in defaults:
            raise ConfigError(f"config argument {name!r} is unknown; known: {', '.join(defaults)}")
        if name in given:
            raise ConfigError(
                f"config argument {name} is given twice; several values are joined by +, as in "
                f"{name}=A+B"
                if isinstance(defaults[name], tuple)
                else f"config argument {name} is given twice"
            )
        given.add(name)
        kind = type(defaults[name])
        if kind is tuple:
            values[name] = _parse_list(name, text)
        if not equals and kind is not bool:
            raise ConfigError(f"config argument {name} has no value: give {name}=VALUE")
        try:
            if kind is bool:
                values[name] = _parse_bool(text) if equals else True
            elif kind is not tuple:
                values[name] = kind(text)
        except ValueError as error:
            raise ConfigError(
                f"config argument {name}={text!r} is not of type {kind.__name__}"
            ) from error
    return ml_collections.ConfigDict(values)


def listed(text: str) -> tuple[str, ...]:
    """The entries of a comma-separated field."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def chosen(name: str, value: str, options: Iterable[str]) -> str:
    """The value of a config argument that names one of some options.

    Raises:
        ConfigError: It names none of them.
    """
    options = tuple(options)
    if value not in options:
        raise ConfigError(f"{name}={value!r} is unknown; choose one of {', '.join(options)}")
    return value


def _parse_list(name: str, text: str) -> tuple[str, ...]:
    if "+" not in text or pathlib.Path(text).exists():
        return (text,) if text else ()
    entries = tuple(entry.strip() for entry in text.split("+"))
    if not all(entries):
        raise ConfigError(f"config argument {name}={text!r} has an empty entry between two +")
    return entries


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


def section_of(config: Any, field: str) -> tuple[Any, str]:
    """The section that has a field by its dotted name, and the field's name there.

    Of a config that an earlier version wrote, which lacks the section, an empty one.
    """
    *sections, name = field.split(".")
    for section in sections:
        config = config.get(section, {})
    return config, name


def plain(value: Any) -> Any:
    """A config or a part of it as JSON types: tuples become lists, numpy scalars numbers."""
    if isinstance(value, ml_collections.ConfigDict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def complete(
    stored: Mapping[str, Any], defaults: Config, *, earlier: Mapping[str, Any], source: str
) -> Config:
    """A config as some version of the program stored it, with every field that this one has.

    Args:
        stored: Contents of a `config.json`.
        defaults: Every field that this version has; a field that is missing gets its value.
        earlier: Field with dots → what its absence meant, where that is not today's default.
        source: Named in errors.

    Raises:
        ConfigError: A field that this version does not know; names each.
    """
    unknown: list[str] = []

    def merge(stored: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> dict:
        unknown.extend(f"{prefix}{key}" for key in stored if key not in defaults)
        merged = {}
        for key, default in defaults.items():
            name, value = f"{prefix}{key}", stored.get(key)
            if isinstance(default, Mapping):
                if not isinstance(value, Mapping | None):
                    unknown.append(name)
                    value = None
                merged[key] = merge(value or {}, default, f"{name}.")
            elif key in stored:
                merged[key] = value
            else:
                merged[key] = earlier.get(name, default)
        return merged

    merged = merge(stored, plain(defaults), "")
    if unknown:
        raise ConfigError(
            f"{source} has fields that this version does not know: {', '.join(sorted(unknown))}; "
            "use the version that wrote it"
        )
    return ml_collections.ConfigDict(_tuples(merged))


_LARGEST = 2**31 - 1
_SECTION = (Mapping, ml_collections.ConfigDict)


def value_problems(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What no field can be: of another type than its default, NaN, infinite, beyond 32 bits.

    Args:
        given: A config.
        defaults: Every field that it may have; those that the two do not share are passed over.
    """
    return list(_problems(given, defaults, ""))


def _problems(value: Any, default: Any, name: str) -> Iterator[str]:
    shown = name.removeprefix(".")
    if isinstance(value, _SECTION):
        for key, part in value.items():
            known = isinstance(default, _SECTION) and key in default
            yield from _problems(part, default[key] if known else None, f"{name}.{key}")
        if default is not None and not isinstance(default, _SECTION):
            yield f"{shown}: must be of type {type(default).__name__}, as {default!r}"
        return
    for part in value if isinstance(value, list | tuple) else (value,):
        if isinstance(part, list | tuple):
            yield from _problems(part, None, name)
        elif isinstance(part, float) and not math.isfinite(part):
            yield f"{shown}={value!r}: must be a finite number"
        elif isinstance(part, int) and abs(part) > _LARGEST:
            yield f"{shown}={value!r}: must be within ±{_LARGEST:,}"
    if default is None or isinstance(value, _types_of(default)):
        return
    if isinstance(default, _SECTION):
        yield f"{shown}={value!r}: must be a section with {', '.join(default)}"
        return
    yield f"{shown}={value!r}: must be of type {type(default).__name__}, as {default!r}"


def pair_problems(field: str, pairs: Any, kind: type | tuple[type, ...]) -> list[str]:
    """Which entries of a field are no pairs of a pattern and a value of this kind."""
    return [
        f"{field}: {pair!r} is no pair of a pattern and its value"
        for pair in pairs
        if not (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and isinstance(pair[1], kind)
        )
    ]


def _types_of(default: Any) -> tuple[type, ...]:
    if isinstance(default, list | tuple):
        return (list, tuple)
    if isinstance(default, float):
        return (int, float)
    return (type(default),)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were, so that flags can change them."""
    if isinstance(value, Mapping):
        return {key: _tuples(v) for key, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines `field: old → new` for every leaf that differs between two plain configs."""
    lines = []
    for key in sorted({*old, *new}):
        a, b, name = old.get(key, "absent"), new.get(key, "absent"), f"{prefix}{key}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} → {b!r}")
    return lines
