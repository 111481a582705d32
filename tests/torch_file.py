"""Writes a PyTorch checkpoint without PyTorch: the zip and pickle that `torch.save` makes."""

import collections
import contextlib
import io
import pathlib
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage", "f8": "DoubleStorage"}


class Tensor:
    """What is written as a tensor.

    Attributes:
        values: Its storage, flat.
        size: Shape.
        stride: In numbers; None for rows one after another.
        offset: First number.
        kind: Of the storage, such as FloatStorage.
    """

    def __init__(
        self,
        values: np.ndarray,
        size: tuple[int, ...] | None = None,
        stride: tuple[int, ...] | None = None,
        offset: int = 0,
        kind: str = "",
    ):
        self.values = np.ascontiguousarray(values).reshape(-1)
        self.size = values.shape if size is None else size
        steps = np.cumprod((1, *self.size[:0:-1]))[::-1]
        self.stride = (
            tuple(int(step) for step in steps[: len(self.size)]) if stride is None else stride
        )
        self.offset = offset
        self.kind = kind or STORAGES[values.dtype.str[1:]]

    def __reduce__(self) -> Any:
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        own = (
            _Storage(self),
            self.offset,
            self.size,
            self.stride,
            False,
            collections.OrderedDict(),
        )
        return rebuild, own


class _Storage:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=2)
        self.data: list[bytes] = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        self.data.append(obj.tensor.values.tobytes())
        kind = getattr(sys.modules["torch"], obj.tensor.kind)
        return "storage", kind, str(len(self.data) - 1), "cpu", len(obj.tensor.values)


def save(path: pathlib.Path, content: Any) -> None:
    """Writes dictionaries with arrays or `Tensor` in them."""
    with _torch(), io.BytesIO() as file:
        pickler = _Pickler(file)
        pickler.dump(_tensors(content))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", file.getvalue())
            for i, data in enumerate(pickler.data):
                archive.writestr(f"archive/data/{i}", data)


def _tensors(content: Any) -> Any:
    if isinstance(content, np.ndarray):
        return Tensor(content)
    if isinstance(content, Mapping):
        return {name: _tensors(value) for name, value in content.items()}
    return content


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    """Modules of torch's names for as long as the pickle names what is in them."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    for kind in (*STORAGES.values(), "BFloat16Storage", "ComplexFloatStorage"):
        setattr(modules["torch"], kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None:
        """Is only named."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    modules["torch._utils"].__dict__["_rebuild_tensor_v2"] = _rebuild_tensor_v2
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
