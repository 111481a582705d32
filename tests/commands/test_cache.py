"""The cache folder: what is listed and removed, and what is not touched."""

import os
import pathlib
import time

import pytest

from molphenix_jax import cli
from molphenix_jax.runtime.progress import console


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    folder = tmp_path / "cache"
    for name in ("screen-0123456789abcdef", "simulated-images-1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "data").write_bytes(bytes(2**20))
    (folder / "maccs-fedcba9876543210.npz").write_bytes(bytes(2**19))
    (folder / "wells-2.parquet").write_bytes(b"somebody's own")
    (folder / "notes.txt").write_bytes(b"somebody's own")
    old = time.time() - 10 * 86_400
    os.utime(folder / "screen-0123456789abcdef", (old, old))
    monkeypatch.setenv("MOLPHENIX_CACHE", str(folder))
    return folder


def cache(*arguments: str) -> tuple[int, str]:
    with console.capture() as said:
        status = cli.main(["cache", *arguments])
    return status, said.get()


def test_it_lists_and_leaves_everything(folder):
    before = sorted(folder.iterdir())
    status, said = cache()
    assert status == 0
    assert f"{folder}: 3 entries, 2.5 MiB" in said
    assert "wells-2" not in said
    assert sorted(folder.iterdir()) == before
    assert "0 entries" in cache(f"--folder={folder / 'none'}")[1]


def test_it_removes_what_caches_made_and_nothing_else(folder):
    assert "removed 1 entries" in cache("--clear", "--older-than=9")[1]
    assert not (folder / "screen-0123456789abcdef").exists()
    status, said = cache("--clear")
    assert status == 0
    assert "removed 2 entries" in said
    assert {path.name for path in folder.iterdir()} == {"wells-2.parquet", "notes.txt"}
