"""What a command tells of errors that files, disk and memory cause."""

import errno
import re

import numpy as np
import pytest

from molphenix_jax import cli
from molphenix_jax.commands.models import embed
from molphenix_jax.errors import InputError, sentence_of
from molphenix_jax.runtime.progress import console


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("as it is"), "^as it is$"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.npz"),
            r"^x\.npz: No space.*free some",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a", None, "b"), "^a and b: No such"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "^a: Permission.*you may use it"),
        (OSError("truncated"), "^a file: truncated; "),
        (MemoryError(), "^the memory does not suffice: lower train.batch_size"),
        (np._core._exceptions._ArrayMemoryError((10**6, 10**6), np.dtype(float)), r"7\.28 TiB"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "allocating 9"),
    ],
)
def test_the_sentence_names_what_and_the_remedy(error, sentence):
    assert re.search(sentence, sentence_of(error) or "")


def test_errors_of_the_program_keep_their_traceback():
    assert sentence_of(KeyError("x")) is None


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error", "f"), MemoryError()])
def test_commands_end_with_the_sentence(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(embed, "_embed", fail)
    with console.capture() as said:
        assert cli.main(["embed", "m.csv", "--encoder=e", "--out=o.npz"]) == 1
    assert said.get() == f"error: {sentence_of(error)}\n"
