"""Several real processes, and killed ones, around the same files: the program as users start it."""

import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.screen import stored_array
from molphenix_jax.screens.store import open_screen
from molphenix_jax.storage import StorageError
from tests import tiny

pytestmark = pytest.mark.long
# A repetition is a test of its own: one of them in CI, twenty in the soak.
SOAK = [pytest.param(i, marks=pytest.mark.soak) for i in range(20)]
ONCE = [0, *SOAK[1:]]


def finish(process: subprocess.Popen) -> str:
    """What a process said that had to end well."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def prepare_command(out: pathlib.Path, *files: pathlib.Path) -> list[str]:
    """`molphenix prepare` of wells files, or of a small built-in screen."""
    command = [sys.executable, "-m", "molphenix_jax.cli", "prepare", *map(str, files)]
    command += [f"--out={out}", "--n_null=200", "--blocks=maccs"]
    if files:
        return command
    fields = {name: tiny.FIELDS[f"data.simulated.{name}"] for name in ("n_molecules", "n_features")}
    settings = ",".join(f"{name}={value}" for name, value in fields.items())
    return [*command, "--layout=simulated", f"--set={settings}"]


def content(folder: pathlib.Path) -> dict[str, bytes]:
    """The bytes of all files below a folder, hidden ones among them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def wells(cache, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("wells") / "wells.parquet"
    tiny.wells(cache).to_parquet(path)
    return path


def same(folder: pathlib.Path, other: pathlib.Path) -> None:
    """Two screens that were prepared apart: protobuf writes the fields of a record in any order."""
    ours, theirs = (
        {name: data for name, data in content(each).items() if "array_record" not in name}
        for each in (folder, other)
    )
    assert ours == theirs
    first, second = (open_screen(each).in_memory() for each in (folder, other))
    np.testing.assert_array_equal(first.replicates, second.replicates)
    for name, block in first.blocks.items():
        np.testing.assert_array_equal(stored_array(block), stored_array(second.blocks[name]))


@pytest.fixture(scope="module", params=["built-in", "file"])
def screen(
    request, wells, cache, tmp_path_factory
) -> tuple[list[pathlib.Path], pathlib.Path, float]:
    """What to prepare (nothing for the built-in screen), what one process alone makes, its time."""
    files = [wells] if request.param == "file" else []
    out = tmp_path_factory.mktemp("alone") / "screen"
    process = tiny.start(prepare_command(out, *files), cache)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    finish(process)
    assert names(out.parent) == {"screen"}
    return files, out, time.monotonic() - began


@pytest.mark.parametrize(
    ("n", "repetition"),
    [
        (2, 0),
        (4, 1),
        *(pytest.param(n, i, marks=pytest.mark.soak) for n in (2, 4) for i in range(20)),
    ],
)
def test_processes_that_prepare_the_same_screen_all_end_well(n, repetition, wells, cache, tmp_path):
    delays, out = random.Random(repetition), tmp_path / "screen"
    processes = []
    for i in range(n):
        time.sleep(delays.uniform(0, 2) if i else 0)
        processes.append(tiny.start(prepare_command(out, wells), cache))
    said = [finish(process) for process in processes]
    assert sum("prepared screen kept in" in text for text in said) == 1
    assert sum("prepared screen found in" in text for text in said) == n - 1
    for text in said:
        if "waiting for it" in text:
            pids = {process.pid for process in processes}
            held = re.findall(r"screen is being prepared by PID (\d+) on host \S+ since 20", text)
            assert len(held) == 1
            assert int(held[0]) in pids
    assert names(tmp_path) == {"screen"}


@pytest.mark.parametrize("repetition", ONCE)
def test_runs_that_start_on_the_same_new_screen_end_with_equal_bytes(repetition, cache, tmp_path):
    """The whole program with the built-in screen, which nobody prepared before."""
    new = tmp_path / "cache"
    runs = [tmp_path / f"run-{i}" for i in range(2)]
    processes = []
    for run in runs:
        command = tiny.command(run, cache, data__cache=str(new), train__steps=2)
        # Anew, for another seed of Python's hashes, and for pictures.
        processes.append(tiny.start(command, cache, anew=True))
        time.sleep(random.Random(repetition).uniform(0, 2))
    for process in processes:
        finish(process)
    first, second = (content(run) for run in runs)
    page = "report/index.html"
    second[page] = second[page].replace(b"run-1", b"run-0")
    different = {name for name in {*first, *second} if first.get(name) != second.get(name)}
    # Timing, the workdir's name in the page, and checkpoints, which hold times.
    assert {n for n in different if not n.startswith("checkpoints/")} <= {"timing.jsonl"}
    assert {METRICS_FILE, "evaluation.json", "splits.csv", "correction.npz"} <= {*first}
    assert not [name for name in {*first, *second, *names(new)} if name.startswith(".")]


@pytest.mark.parametrize("repetition", ONCE)
def test_a_kill_while_preparing_leaves_nothing_in_the_way(repetition, screen, cache, tmp_path):
    files, whole, seconds = screen
    command = prepare_command(tmp_path / "screen", *files)
    moments = random.Random(repetition)
    for _ in range(2):
        process = tiny.start(command, cache)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, seconds))
        process.kill()
        process.communicate()
    finish(tiny.start(command, cache))
    assert names(tmp_path) == {"screen"}
    same(tmp_path / "screen", whole)


def kill_when(process: subprocess.Popen, ready: Callable[[], bool]) -> None:
    """Kills a process at the first moment at which it is time."""
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def test_kills_at_the_files_of_the_built_in_screen_leave_nothing_in_the_way(cache, tmp_path):
    new = tmp_path / "cache"
    command = tiny.command(tmp_path / "run", cache, data__cache=str(new), train__steps=2)
    # Under a private name still, or just published: the same command continues.
    for name in ("truth.parquet", "index.npz"):
        process = tiny.start(command, cache)
        kill_when(process, lambda name=name: any(new.glob(f"*/{name}")))
    finish(tiny.start(command, cache))
    assert not [each for each in names(new) if each.startswith(".")]
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_a_second_training_in_a_workdir_is_refused_and_the_first_undisturbed(cache, tmp_path):
    run = tmp_path / "run"
    command = tiny.command(run, cache, train__steps=60, train__checkpoint_every=20)
    first = tiny.start(command, cache)
    deadline = time.monotonic() + 120
    while not (run / ".lock").exists() and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = tiny.start(command, cache)
    said, _ = second.communicate(timeout=120)
    assert first.poll() is None, "it ended before the second began"
    assert second.returncode == 1, said
    assert re.search(
        rf"error: .*run is being trained by PID {first.pid} on host \S+ since 20\d\d.*; "
        "wait for it or take another --workdir\n$",
        said,
    )
    assert "Traceback" not in said
    finish(first)
    trained = [line["step"] for line in read_metrics(run / METRICS_FILE) if line["kind"] == "train"]
    assert trained == list(range(1, 61))
    assert ".lock" not in names(run)


def limited(command: list[str], cache: pathlib.Path, *, n_bytes: int) -> tuple[int, str]:
    """Status and words of a command whose files may not grow beyond so much: the disk is full."""
    process = tiny.start(command, cache)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def test_a_full_disk_is_a_sentence(wells, cache, tmp_path):
    out = tmp_path / "screen"
    status, said = limited(prepare_command(out, wells), cache, n_bytes=20_000)
    assert status == 1, said
    assert re.search(r"screen cannot be written: File too large; .*ulimit", said)
    assert "Traceback" not in said
    assert not names(tmp_path)
    # As a checkpoint is written, by threads of a library that prints its own traces.
    wide = {f"model__{side}__width": 128 for side in ("phenomics", "molecules")}
    tiny.make(tiny.config(cache, **wide), tmp_path / "task")
    command = tiny.command(tmp_path / "full", cache, **wide)
    status, said = limited(command, cache, n_bytes=41_000)
    assert status == 1, said
    assert re.search(r"full/checkpoints cannot be written: File too large; .*ulimit", said)
    assert "Traceback" not in said


def test_a_folder_that_cannot_be_made_is_a_sentence(wells, cache, tmp_path):
    nowhere = pathlib.Path("/proc/self/screen")  # where nobody can make a folder, not even root
    done = tiny.finish(tiny.start(prepare_command(nowhere, wells), cache))
    said = done.stdout
    assert done.returncode == 1, said
    says = r"/proc/self/screen\S* cannot be written: .*; .*folder"
    assert re.search(says, said)
    assert "Traceback" not in said
    with pytest.raises(StorageError, match=says):
        tiny.train_here(tiny.config(cache), nowhere)
    config = tiny.config(cache, data__cache=str(nowhere), data__wells=str(wells))
    with pytest.raises(StorageError, match=says):
        tiny.make(config, tmp_path / "run")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_finished_screen_is_read_where_nothing_may_be_written(wells, cache, tmp_path):
    finish(tiny.start(prepare_command(tmp_path / "screen", wells), cache))
    tmp_path.chmod(0o500)
    assert "found in" in finish(tiny.start(prepare_command(tmp_path / "screen", wells), cache))
