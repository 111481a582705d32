"""Checkpoints of PyTorch are read without it, and nothing of them is run."""

import os
import pathlib
import zipfile

import numpy as np
import pytest

from molphenix_jax.storage.tensors import TensorFileError, read_tensors
from tests import torch_file


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        return read_tensors(file)


def test_arrays_come_back(tmp_path):
    path = tmp_path / "a.pth"
    numbers = np.arange(12, dtype=np.float32)
    content = {
        "matrix": numbers.reshape(3, 4),
        "half": numbers.astype(np.float16),
        "scalar": np.array(7, np.int64),
        "none": np.zeros((0, 3), np.float32),
        "turned": torch_file.Tensor(numbers, (4, 3), (1, 4)),
        "part": torch_file.Tensor(numbers, (2,), (1,), 5),
        "short": torch_file.Tensor(
            (np.float32([1.5, -2]).view(np.uint32) >> 16).astype(np.uint16), kind="BFloat16Storage"
        ),
    }
    for whole in (content, {"state_dict": content}):
        torch_file.save(path, whole)
        found = read(path)
        assert found.keys() == content.keys()
        for name in ("matrix", "half", "scalar", "none"):
            np.testing.assert_array_equal(found[name], content[name])
            assert found[name].dtype == content[name].dtype
        np.testing.assert_array_equal(found["turned"], numbers.reshape(3, 4).T)
        np.testing.assert_array_equal(found["part"], [5, 6])
        np.testing.assert_array_equal(found["short"], [1.5, -2])


class Runs:
    """Calls a function when a pickle that has it is loaded."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path):
    path, made = tmp_path / "a.pth", tmp_path / "made"
    torch_file.save(path, {"a": np.zeros(2, np.float32), "b": Runs(made)})
    with pytest.raises(TensorFileError, match=r"asks for posix\.mkdir"):
        read(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": torch_file.Tensor(np.zeros(4, np.float32), (3,), (2,))}, "beyond its numbers"),
        ({"a": torch_file.Tensor(np.zeros(4, np.float32), (2,), (-1,))}, "beyond its numbers"),
        ({"a": torch_file.Tensor(np.zeros(4, np.float32), (2,), (1,), 3)}, "beyond its numbers"),
        (
            {"a": torch_file.Tensor(np.zeros(4, np.float32), kind="ComplexFloatStorage")},
            "ComplexFloatStorage",
        ),
        ({"a": 3}, "'a' is no tensor"),
        ({}, "no state dict"),
        ([1], "no state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, said):
    path = tmp_path / "a.pth"
    torch_file.save(path, content)
    with pytest.raises(TensorFileError, match=said):
        read(path)


def test_damage_is_told(tmp_path):
    path = tmp_path / "a.pth"
    torch_file.save(path, {"a": np.arange(4000, dtype=np.float32)})
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:3000] + b"x" + whole[3001:]):
        path.write_bytes(content)
        with pytest.raises(TensorFileError, match=r"it is (no zip|damaged)"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(TensorFileError, match=r"no data\.pkl"):
        read(path)
