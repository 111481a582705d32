"""Files and folders appear whole or not at all, under names that nobody can plant."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from molphenix_jax import storage
from molphenix_jax.storage import files
from tests import tiny


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_writers_write_what_readers_read(tmp_path):
    storage.write_json(tmp_path / "new" / "a.json", {"b": [1, None], "a": "µ"})
    storage.write_csv(tmp_path / "a.csv", pd.DataFrame({"x": [1, 2]}, index=[5, 6]))
    storage.write_npz(tmp_path / "a.npz", x=np.arange(3), y=np.float32(2))
    storage.write_text(tmp_path / "a.txt", "µM\n")
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"b": [1, None], "a": "µ"}
    assert (tmp_path / "a.csv").read_text() == "x\n1\n2\n"
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
        assert arrays["y"] == 2
    assert (tmp_path / "a.txt").read_bytes() == "µM\n".encode()
    assert names(tmp_path) == {"new", "a.csv", "a.npz", "a.txt"}


def test_a_new_file_may_be_read_by_whom_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_text(tmp_path / "a.txt", "")
        with storage.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with storage.new_file(path) as private:
            private.write_text("half")
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_folder_appears_at_the_end_and_a_second_one_gives_way(tmp_path):
    folder = tmp_path / "deep" / "folder"
    with storage.new_folder(folder) as private, storage.new_folder(folder) as second:
        (private / "a").write_text("first")
        (second / "a").write_text("second")
        assert not folder.exists()
    # The inner block ended first: what it published stays.
    assert (folder / "a").read_text() == "second"
    assert names(folder.parent) == {"folder"}


def test_scratch_leaves_nothing(tmp_path):
    with storage.scratch_folder(tmp_path / "screen") as work:
        (work / "a").write_text("much")
        assert work.parent == tmp_path
    assert not names(tmp_path)


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    # Also if the attacker guesses the name: the file has to be a new one.
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "00" * n)
    path = folder / "a.json"
    files.private_name(path).symlink_to(treasure)
    with pytest.raises(storage.StorageError, match=r"a\.json cannot be written: File exists"):
        storage.write_json(path, {})
    assert treasure.read_text() == "mine"
    monkeypatch.undo()
    for old in ("a.json.tmp", "a.tmp"):
        (folder / old).symlink_to(treasure)
    path.symlink_to(treasure)
    storage.write_json(path, {})
    assert treasure.read_text() == "mine"
    assert path.read_text() == "{}\n"


def test_names_cannot_be_foreseen_and_fit(tmp_path):
    path = tmp_path / ("x" * 240 + ".parquet")
    first, second = files.private_name(path), files.private_name(path)
    assert first != second
    assert first.suffix == ".parquet"
    wide = tmp_path / ("µ" * 120 + ".parquet")
    for each in (path, wide):
        storage.write_text(each, "a long name")
    assert names(tmp_path) == {path.name, wide.name}


def test_a_folder_without_a_name_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with storage.scratch_folder(pathlib.Path()) as work:
        assert work.parent == tmp_path
    root = pytest.raises(storage.StorageError, match="^/ cannot be written: Is a directory")
    with root, storage.scratch_folder(pathlib.Path("/")):
        pass


DIES = """
import os, pathlib, signal, sys
from molphenix_jax import storage
with storage.new_file(pathlib.Path(sys.argv[1]) / "a.txt") as private:
    private.write_text("half")
    with storage.scratch_folder(pathlib.Path(sys.argv[1]) / "b") as work:
        (work / "c").write_text("half")
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(tmp_path)],
        env=tiny.environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    alive = names(tmp_path)
    assert len(alive) == 2
    storage.write_text(tmp_path / "other.txt", "")
    assert names(tmp_path) == {*alive, "other.txt"}
    process.send_signal(signal.SIGKILL)
    # Not waited for: to the system the process is still there, as a zombie.
    deadline = time.monotonic() + 60
    while names(tmp_path) != {"other.txt"} and time.monotonic() < deadline:
        storage.write_text(tmp_path / "other.txt", "")
    assert names(tmp_path) == {"other.txt"}
    process.communicate()


@pytest.mark.parametrize("wrong_s", [0.0, 3e8, -3e8])
def test_leftovers_of_other_hosts_go_after_a_day_or_with_the_lock(wrong_s, tmp_path, monkeypatch):
    """By the clock of the files: that of this host may be years ahead or behind."""
    label = "0" * 8 + "-" + "1" * 8 + "-1-1-1"
    new, old, mine = (tmp_path / f".part-{label}-{i:016x}-{n}" for i, n in enumerate("abc"))
    for path in (new, old, mine):
        path.mkdir()
        (path / "x").touch()
    long_ago = time.time() - 2 * files.FOREIGN_AFTER_S
    for path in (old / "x", old):
        os.utime(path, (long_ago, long_ago))
    keep = tmp_path / ".part-of-something-else"
    keep.touch()
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() + wrong_s)
    storage.remove_leftovers(tmp_path, of="c")
    assert names(tmp_path) == {new.name, keep.name}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EDQUOT, "your quota"),
        (errno.EROFS, "Read-only file system; choose a folder that can be written to"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_disk_refuses_is_a_sentence(tmp_path, code, says, wrapped):
    path = tmp_path / "a.npz"

    def write() -> None:
        error = OSError(code, os.strerror(code))
        with storage.new_file(path):
            raise RuntimeError(f"{error} [while running 'Map']") if wrapped else error

    with pytest.raises(storage.StorageError, match=f"a.npz cannot be written: .*{says}"):
        write()
    assert not names(tmp_path)


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(storage.StorageError, match="cannot be written: .*; .*folder"):
        storage.write_text(tmp_path / "file" / "a.txt", "")
    blocked = pytest.raises(storage.StorageError, match="cannot be written: .*; .*folder")
    with blocked, storage.new_folder(tmp_path / "file"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(storage.StorageError, match="a folder stands where a file has to be"):
        storage.write_text(tmp_path / "folder", "")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(storage.StorageError, match="Permission denied; choose a folder that you"):
        storage.write_text(tmp_path / "a.txt", "")


def test_errors_of_other_files_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), storage.new_file(tmp_path / "a"):
        (tmp_path / "source.csv").open()


def test_a_file_beyond_the_limit_is_a_sentence(tmp_path):
    script = (
        "import pathlib, resource, sys, numpy as np\nfrom molphenix_jax import storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "try:\n    storage.write_npz(pathlib.Path(sys.argv[1]), x=np.zeros(10**6))\n"
        "except storage.StorageError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.npz")],
        env=tiny.environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a.npz cannot be written: File too large; the file would be larger" in done.stdout
    assert not names(tmp_path)


def test_digests_keep_their_values(tmp_path):
    # They name caches and are stored in screens.
    (tmp_path / "a").write_bytes(b"ab")
    of_ab = "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"
    assert storage.digest_file(tmp_path / "a") == of_ab
    assert storage.digest(["a", b"b"]) == of_ab
    assert storage.digest_texts(["a", "bc"]) != storage.digest_texts(["ab", "c"])
    assert storage.digest_json({"b": 1, "a": 2}) == storage.digest(['{"a": 2, "b": 1}'])
