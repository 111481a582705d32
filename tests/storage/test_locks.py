"""Locks: one holder, whoever comes second is told who it is, the dead hold nothing."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import threading
import time

import pytest

from molphenix_jax import storage
from molphenix_jax.storage import locks
from molphenix_jax.storage.owners import Owner

WORDS = {"doing": "trained", "remedy": "wait for it or take another --workdir"}
SPAWN = multiprocessing.get_context("spawn")


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def hold(folder: pathlib.Path, held) -> None:
    """Claims a folder in another process, until it is killed."""
    with storage.claim(folder, **WORDS):
        held.set()
        time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """A process that claims `tmp_path / "run"`."""
    held = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path / "run", held))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


def leave_lock(path: pathlib.Path, *, age_s: float = 0.0, **changes) -> None:
    """A lock as an owner left it that differs from this process in some fields."""
    owner = dataclasses.replace(Owner.me(), **changes)
    record = {**dataclasses.asdict(owner), "since": "2026-01-01 00:00:00 +0000", "token": "f" * 32}
    path.write_text(json.dumps(record))
    then = time.time() - age_s
    os.utime(path, (then, then))


def can_claim(folder: pathlib.Path) -> bool:
    try:
        with storage.claim(folder, **WORDS):
            return True
    except storage.StorageError:
        return False


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path):
    run = tmp_path / "run"
    says = (
        rf"run is being trained by PID {holder.pid} on host .+ since 20\d\d-.+; "
        "wait for it or take another --workdir$"
    )
    with pytest.raises(storage.StorageError, match=says), storage.claim(run, **WORDS):
        pass
    assert names(run) == {".lock"}


def test_a_killed_holder_holds_nothing(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    # Not waited for yet: a zombie is dead too.
    deadline = time.monotonic() + 60
    while not can_claim(tmp_path / "run") and time.monotonic() < deadline:
        pass
    assert can_claim(tmp_path / "run")
    assert not names(tmp_path / "run")


def test_a_claim_ends_with_its_block_and_an_empty_folder_goes(tmp_path):
    run = tmp_path / "deep" / "run"

    def stopped() -> None:
        with storage.claim(run, **WORDS):
            assert names(run) == {".lock"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not names(tmp_path)
    with storage.claim(run, **WORDS):
        (run / "config.json").touch()
    assert names(run) == {"config.json"}


def test_a_claim_sweeps_what_dead_writers_left_at_any_depth(tmp_path):
    me = Owner.me()
    dead = dataclasses.replace(me, started=str(int(me.started) - 1)).label
    place = tmp_path / "fold_0" / "report"
    place.mkdir(parents=True)
    (place / f".part-{dead}-0123456789abcdef-index.html").touch()
    (place / f".part-{me.label}-0123456789abcdef-index.html").touch()
    with storage.claim(tmp_path, **WORDS):
        pass
    assert names(place) == {f".part-{me.label}-0123456789abcdef-index.html"}


NEVER = 2**22 + 1  # more than a process ID can be


@pytest.mark.parametrize(
    ("change", "age_s", "dead"),
    [
        ({}, 1e6, False),  # this very process, however long ago it was last seen
        ({"pid": NEVER}, 0, True),
        ({"started": "1"}, 0, True),  # the ID was used again
        ({"boot": "another"}, 0, True),
        ({"namespace": "7"}, 0, False),  # another container, whose processes cannot be seen
        ({"namespace": "7"}, 61, True),
        ({"host": "elsewhere"}, 0, False),
        ({"host": "elsewhere", "pid": NEVER}, 50, False),
        ({"host": "elsewhere"}, 61, True),
    ],
)
def test_who_is_dead(tmp_path, change, age_s, dead):
    leave_lock(tmp_path / ".lock", age_s=age_s, **change)
    assert can_claim(tmp_path) == dead


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\0" * 99])
def test_a_garbled_lock_holds_for_a_minute(tmp_path, content):
    lock = tmp_path / ".lock"
    lock.write_text(content)
    assert not can_claim(tmp_path)
    os.utime(lock, (1, 1))
    assert can_claim(tmp_path)


def test_a_planted_link_is_neither_followed_nor_in_the_way(tmp_path):
    treasure, run = tmp_path / "treasure", tmp_path / "run"
    treasure.write_text("mine")
    run.mkdir()
    (run / ".lock").symlink_to(treasure)
    assert not can_claim(run)
    os.utime(run / ".lock", (1, 1), follow_symlinks=False)
    assert can_claim(run)
    assert treasure.read_text() == "mine"


def test_the_heartbeat_touches_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    with storage.claim(tmp_path, **WORDS):
        os.utime(tmp_path / ".lock", (1, 1))
        deadline = time.monotonic() + 60
        while (tmp_path / ".lock").stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > 2


def lose(folder: pathlib.Path) -> None:
    locks.HEARTBEAT_S = 0.01
    with storage.claim(folder, **WORDS):
        leave_lock(folder / ".lock", host="elsewhere")
        time.sleep(600)


def test_who_lost_the_claim_stops_and_leaves_the_new_lock(tmp_path):
    process = SPAWN.Process(target=lose, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert json.loads((tmp_path / ".lock").read_text())["host"] == "elsewhere"


def test_a_file_system_without_links_locks_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(locks.os, "link", refuse)
    with storage.claim(tmp_path, **WORDS):
        assert not can_claim(tmp_path)
    assert can_claim(tmp_path)


def contend(path: pathlib.Path, rounds: int, go) -> None:
    go.wait()
    for _ in range(rounds):
        with storage.waiting_lock(path / "it", doing="made"):
            marker = os.open(path / "inside", os.O_CREAT | os.O_EXCL)  # fails if two are inside
            os.close(marker)
            (path / "count").write_text(str(int((path / "count").read_text()) + 1))
            os.unlink(path / "inside")


@pytest.mark.slow
def test_no_two_are_inside_also_when_all_find_a_dead_lock(tmp_path, monkeypatch):
    (tmp_path / "count").write_text("0")
    go = SPAWN.Event()
    processes = [SPAWN.Process(target=contend, args=(tmp_path, 3, go)) for _ in range(4)]
    leave_lock(tmp_path / ".it.lock", pid=NEVER)
    # Whoever was about to take over died in it.
    leave_lock(tmp_path / f".it.lock-{'f' * 16}", pid=NEVER)
    for process in processes:
        process.start()
    go.set()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "12"
    assert names(tmp_path) == {"count"}


def test_caches_are_made_by_one_thread_and_opened_by_all(tmp_path):
    made, said, results = [], [], []
    start = threading.Barrier(4)

    def fill(folder: pathlib.Path) -> None:
        made.append(folder)
        time.sleep(0.3)
        (folder / "a").write_text("whole")

    def get() -> None:
        start.wait()
        results.append(storage.make_folder_once(tmp_path / "it", fill, say=said.append))

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(results) == [False] * 3 + [True]
    assert len(said) == 3
    assert all(f"it is being made by PID {os.getpid()} on host" in sentence for sentence in said)
    assert names(tmp_path) == {"it"}
    assert names(tmp_path / "it") == {"a"}


def test_a_failed_maker_leaves_nothing_and_the_next_one_makes(tmp_path):
    def fail(path: pathlib.Path) -> None:
        path.write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        storage.make_file_once(tmp_path / "a.txt", fail)
    assert not names(tmp_path)
    assert storage.make_file_once(tmp_path / "a.txt", lambda path: path.write_text("whole"))
    assert not storage.make_file_once(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_what_is_not_whole_is_replaced(tmp_path):
    folder = tmp_path / "it"
    folder.mkdir()
    (folder / "half").touch()
    whole = lambda folder: (folder / "done").exists()  # noqa: E731
    assert storage.make_folder_once(folder, lambda new: (new / "done").touch(), whole=whole)
    assert names(folder) == {"done"}


def test_opening_a_finished_cache_writes_nothing(tmp_path, monkeypatch):
    (tmp_path / "it").mkdir()
    monkeypatch.setattr(locks, "_take", lambda path: pytest.fail("a lock was taken"))
    assert not storage.make_folder_once(tmp_path / "it", lambda _: None)
