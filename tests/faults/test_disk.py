"""Full disks and folders that cannot be written to: a sentence with the user's path, nothing left.

A limit on the size of a file stands for a full disk: Python, Arrow, orbax and ArrayRecord meet it
as they write, each in a file of another size. Modes bind root here too, as they bind others.
"""

import errno
import os
import pathlib
import re
import shutil
import sys

import pytest

from molphenix_jax import storage
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.storage import files
from molphenix_jax.trained.alignment import write_alignment
from molphenix_jax.wells.conditions.values import Conditions
from tests import tiny
from tests.retrieval.test_inputs import alignment

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has these limits"),
]
SENTENCE = (
    r"error: \S+(: File too large| cannot be written: (File too large|Permission denied)); \w"
)


def limited(cache: pathlib.Path, command: list[str], *, most: int = 0) -> str:
    """What a command says as its only error; `most` is the largest file that it may write."""
    command = [*command[:2], "tests.limited", str(most), *command[2:]]
    done = tiny.finish(tiny.start(command, cache))
    assert done.returncode == 1, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert re.match(SENTENCE, last), done.stdout
    assert "Traceback" not in done.stdout
    assert ".part-" not in done.stdout
    return last


def leftovers(folder: pathlib.Path) -> list[str]:
    return [
        str(path) for path in folder.rglob("*") if ".part-" in path.name or ".lock" in path.name
    ]


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "molphenix_jax.cli", *map(str, arguments)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def wells(cache) -> pathlib.Path:
    tiny.wells(cache).to_parquet(cache / "wells.parquet")
    return cache / "wells.parquet"


@pytest.fixture(scope="module")
def run(cache) -> pathlib.Path:
    done = tiny.run(cache / "run", cache)
    assert done.returncode == 0, done.stdout
    return cache / "run"


@pytest.mark.parametrize("most", [10, 1_000, 5_000, 20_000, 60_000])
def test_preparing_on_a_full_disk(most, tmp_path, cache, wells):
    out = tmp_path / "out" / "screen"
    said = limited(cache, program("prepare", wells, f"--out={out}", "--n_null=200"), most=most)
    assert str(tmp_path) in said
    assert not out.exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("most", [10, 700, 3_000, 30_000, 60_000])
def test_training_on_a_full_disk_goes_on_when_there_is_room(most, tmp_path, cache, run):
    del run  # whose screen is in the cache
    said = limited(cache, tiny.command(tmp_path / "run", cache), most=most)
    assert str(tmp_path) in said
    assert not leftovers(tmp_path)
    done = tiny.run(tmp_path / "run", cache)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("most", [10, 700, 2_000])
def test_evaluating_on_a_full_disk(most, cache, run):
    module = [sys.executable, "-m", "molphenix_jax.main", f"--workdir={run}", "--mode=evaluate"]
    said = limited(cache, [*module, f"--name=full-{most}"], most=most)
    assert f"{run}/evaluations/full-{most}" in said
    assert not leftovers(run)


@pytest.mark.parametrize("most", [10, 2_000])
def test_exporting_on_a_full_disk(most, tmp_path, cache, run):
    command = program("export", run, f"--out={tmp_path / 'model'}")
    assert f"{tmp_path}/model" in limited(cache, command, most=most)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [10, 700, 5_000])
def test_indexing_on_a_full_disk(most, tmp_path, cache):
    model = alignment(conditions=Conditions(), blocks=("maccs",))
    write_alignment(tmp_path / "model", model, config={"task": "align"})
    (tmp_path / "library.smi").write_text("".join(f"{'C' * n}\n" for n in range(1, 90)))
    out = tmp_path / "INDEX"
    given = [f"--model={tmp_path / 'model'}", "--concentrations=1,10", f"--out={out}"]
    command = program("index", tmp_path / "library.smi", *given)
    assert f"{out}/part-000" in limited(cache, command, most=most)
    assert not leftovers(tmp_path)
    done = tiny.finish(tiny.start(command, cache))
    assert "89 molecules are new" in done.stdout


def test_every_write_of_preparing_may_find_the_disk_full(tmp_path, monkeypatch):
    tiny.wells(tmp_path).to_parquet(tmp_path / "wells.parquet")
    to_disk, left = files._to_disk, 0

    def refuse(path: pathlib.Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        to_disk(path)

    monkeypatch.setattr(files, "_to_disk", refuse)
    out = tmp_path / "out" / "screen"
    for room in (0, 1, 2, 5, 9):
        left = room
        full = pytest.raises(storage.StorageError, match=rf"^{out}\S* cannot be written: No space")
        with full as caught:
            prepare(
                tmp_path / "wells.parquet", tiny.prepare_config(), cache=tmp_path / "c", folder=out
            )
        assert ".part-" not in str(caught.value)
        assert not leftovers(tmp_path)
        assert not out.exists()


def test_sentences_of_what_is_within_name_the_users_folder(tmp_path):
    out = tmp_path / "screen"

    def fail() -> None:
        with storage.new_folder(out) as private:
            (private / "file").touch()
            storage.write_text(private / "file" / "a.txt", "")

    with pytest.raises(storage.StorageError, match=rf"^{out}/file/a\.txt cannot be written: "):
        fail()


def test_folders_without_rights(tmp_path, cache, wells, run):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for command in (
        program("prepare", wells, f"--out={closed / 'screen'}"),
        tiny.command(closed / "run", cache),
        tiny.command(tmp_path / "run", closed),
        program("export", run, f"--out={closed / 'model'}"),
    ):
        said = limited(cache, command)
        assert f"{closed}" in said
        assert "Permission denied; choose a folder that you may write to" in said
    assert not list(closed.iterdir())


def test_files_in_the_place_of_folders(tmp_path, cache, wells):
    (tmp_path / "file").touch()
    for command in (
        program("prepare", wells, f"--out={tmp_path / 'file' / 'screen'}"),
        tiny.command(tmp_path / "file" / "run", cache),
        tiny.command(tmp_path / "file", cache),
        tiny.command(tmp_path / "run", tmp_path / "file"),
    ):
        done = tiny.finish(tiny.start(command, cache))
        assert done.returncode == 1, done.stdout
        last = done.stdout.strip().splitlines()[-1]
        assert re.match(rf"error: {tmp_path}/file\S* cannot be written: .*older", last), done.stdout
    assert (tmp_path / "file").is_file()


def test_a_run_that_may_only_be_read(tmp_path, cache, run):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("evaluations"))
    closed = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    for folder in closed:
        folder.chmod(0o500)
    try:
        module = [sys.executable, "-m", "molphenix_jax.main", f"--workdir={copy}"]
        said = limited(cache, [*module, "--mode=evaluate"])
        assert f"{copy}/evaluations/after-4 cannot be written: Permission denied" in said
        assert "choose a folder that you may write to" in said
        again = [*tiny.command(copy, cache, train__steps=8)]
        assert str(copy) in limited(cache, again)
        export = program("export", copy, f"--out={tmp_path / 'model'}")
        command = [*export[:2], "tests.limited", "0", *export[2:]]
        done = tiny.finish(tiny.start(command, cache))
        assert done.returncode == 0, done.stdout
    finally:
        for folder in closed:
            folder.chmod(0o700)
