"""Arrays out of a PyTorch checkpoint, without PyTorch and without running anything of the file.

A checkpoint is a zip with a pickle and the numbers of each tensor beside it. A pickle may name any
function to be called; this reader knows the few that put tensors and dictionaries together, and
refuses the others.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from molphenix_jax.errors import InputError

_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    # The upper half of a float32.
    "BFloat16Storage": "<u2",
}


class TensorFileError(InputError):
    """A checkpoint that cannot be read, or holds more than arrays; says why."""


class _Storage:
    """Numbers of one type, as the file has them."""

    def __init__(self, kind: str, data: bytes):
        values = np.frombuffer(data, _TYPES[kind])
        if kind == "BFloat16Storage":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        self.values = values


def read_tensors(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Name → array of a checkpoint's state dict, in the file's types (bfloat16 as float32).

    Args:
        file: Open for reading; a state dict, or a dictionary that has one as `state_dict`.

    Raises:
        TensorFileError: It is no such file, is damaged, or names anything but tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise TensorFileError("it has no data.pkl: PyTorch 1.6 and newer write one")
            found = _Tensors(archive, names[0]).load()
    except TensorFileError:
        raise
    except zipfile.BadZipFile as error:
        raise TensorFileError("it is no zip, or a damaged one") from error
    except Exception as error:  # what a damaged pickle raises has many types
        raise TensorFileError(f"it is damaged ({type(error).__name__})") from error
    state = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not state or not isinstance(state, Mapping):
        raise TensorFileError("it holds no state dict: names and tensors")
    other = [name for name, value in state.items() if not isinstance(value, np.ndarray)]
    if other:
        raise TensorFileError(f"it holds no state dict alone: {other[0]!r} is no tensor")
    return {str(name): value for name, value in state.items()}


class _Tensors(pickle.Unpickler):
    """Puts dictionaries and tensors together, and knows nothing else."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive = archive
        self._root = name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _TYPES:
            return name
        raise TensorFileError(f"it asks for {module}.{name}, and only tensors are read")

    def persistent_load(self, pid: Any) -> _Storage:
        """The numbers that a tensor takes its own from."""
        what, kind, key, _, n = pid
        if what != "storage" or kind not in _TYPES:
            raise TensorFileError(f"it has a {what} of {kind}, and only tensors are read")
        data = self._archive.read(f"{self._root}data/{key}")
        if len(data) != n * np.dtype(_TYPES[kind]).itemsize:
            raise TensorFileError(f"its data/{key} has {len(data)} bytes, not those of {n} numbers")
        return _Storage(kind, data)


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    values = storage.values
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and not (min((offset, *stride)) >= 0 and last < len(values)):
        raise TensorFileError("it has a tensor that reaches beyond its numbers")
    if not math.prod(size):
        return np.zeros(size, values.dtype)
    steps = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor
