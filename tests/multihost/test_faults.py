"""Several real processes are told to end, killed, stopped, kept waiting, and given bad disks."""

import os
import pathlib
import random
import re
import resource
import shutil
import signal
import sys
import threading
import time

import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from molphenix_jax.runtime.workdir.checkpointing import saved_steps
from tests.multihost import jobs

pytestmark = pytest.mark.long
KILLED = -signal.SIGKILL
STEPS = jobs.LINE_STEPS


def kill_at(
    n: int, indices: list[int], step: int, command: list[str], run: pathlib.Path, cache
) -> None:
    """Kills some processes of a job at a checkpoint; the others name one of them and end."""
    job = jobs.start(n, command, cache)
    job.wait_for(run / "checkpoints" / f"step_{step}")
    job.send(signal.SIGKILL, *indices)
    see_them_end(job, indices)


def see_them_end(job: jobs.Job, killed: list[int]) -> None:
    n = len(job.processes)
    statuses = job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    for i in range(n):
        if i in killed:
            assert statuses[i] == KILLED, job.texts()
            continue
        assert statuses[i] == LOST_STATUS, job.texts()
        assert re.search(rf"process [{''.join(map(str, killed))}] of {n} .*is lost", job.text(i))
    assert "Traceback" not in job.texts()


def within_save(job: jobs.Job, run: pathlib.Path, entries: int) -> bool:
    """Returns within a save, once so many files and folders of it are there; False: too late."""
    folder = run / "checkpoints"
    before, deadline = {*folder.glob("step_*")}, time.monotonic() + jobs.PATIENCE_S
    while time.monotonic() < deadline:
        for path in {*folder.glob("step_*")} - before:
            if "tmp" not in path.name:
                return False
            if sum(len(names) + len(files) for _, names, files in os.walk(path)) >= entries:
                return True
        assert all(process.poll() is None for process in job.processes), job.texts()
    raise AssertionError(job.texts())


def kill_within_save(
    indices: list[int], entries: int, command: list[str], run: pathlib.Path, cache
) -> bool:
    """Kills some of two processes within a save; whether that checkpoint was left unfinished."""
    job = jobs.start(2, command, cache)
    job.wait_for(run / "checkpoints")
    while not within_save(job, run, entries):
        pass
    job.send(signal.SIGKILL, *indices)
    left = [*(run / "checkpoints").glob("*tmp*")]
    see_them_end(job, indices)
    return bool(left)


def tell_to_end(asked: list[int], command: list[str], run: pathlib.Path, cache) -> None:
    """Asks some of two processes to end: both save the same update."""
    job = jobs.start(2, command, cache)
    newest = max(saved_steps(run), default=0)
    job.wait_for(run / "checkpoints" / f"step_{newest + 5}")
    job.tell_to_end(*asked)
    said = re.findall(r"saving the state after update (\d+)", job.text(0))
    assert not said or saved_steps(run)[-1] == int(said[0])


def damage(run: pathlib.Path, how: str) -> int:
    """Spoils the newest checkpoint, and gives its step."""
    newest = saved_steps(run)[-1]
    state = run / "checkpoints" / f"step_{newest}" / "state"
    files = [path for path in state.rglob("*") if path.is_file() and "/d/" in str(path)]
    assert files
    for path in files:
        if how == "a shard missing":
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size // 2 if how == "cut" else 0)
    return newest


def test_a_run_to_which_everything_happens_ends_with_the_same_bits(straight, cache, tmp_path):
    """Five kills, one within a save, an order to end, a bad checkpoint and a full disk."""
    run = tmp_path / "run"
    command = jobs.line(run)
    kill_at(2, [0], 5, command, run, cache)
    assert kill_within_save([1], 1, command, run, cache)
    tell_to_end([1], command, run, cache)
    spoiled = damage(run, "a shard missing")
    job = jobs.start(2, command, cache)
    job.wait_until_said("continuing after update")
    assert "falling back to the one before" in job.text(0)
    assert (run / "checkpoints" / f"damaged-{spoiled}").is_dir()
    job.send(signal.SIGKILL, 0, 1)
    see_them_end(job, [0, 1])
    job = jobs.start(2, command, cache)
    job.wait_until_said("continuing after update")
    for process in job.processes:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4_000, 4_000))
    assert job.wait() == [1, 1], job.texts()
    assert re.search("cannot be written: File too large", job.text(0)), job.text(0)
    job = jobs.start(2, command, cache)
    job.wait_until_said("processes, ")  # and that is before it has read its checkpoint
    job.send(signal.SIGKILL, 0)
    see_them_end(job, [0])
    again = jobs.finish(2, command, cache)
    assert re.search(r"continuing after update \d+", again.text(0))
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.parametrize("index", [1, pytest.param(0, marks=pytest.mark.soak)])
def test_a_stopped_process_ends_the_others_with_its_name(index, cache, tmp_path):
    run = tmp_path / "run"
    changes = {"train__steps": 100_000, "train__warmup_steps": 1, "runtime__timeout_s": 8}
    job = jobs.start(2, jobs.line(run, **changes), cache)
    job.wait_for(run / "checkpoints" / "step_5")
    began = time.monotonic()
    job.send(signal.SIGSTOP, index)
    other = job.processes[1 - index]
    assert other.wait(jobs.TIMEOUT_S + jobs.SLACK_S) == LOST_STATUS, job.text(1 - index)
    assert time.monotonic() - began > 8 - 2
    pid = job.processes[index].pid
    assert re.search(
        rf"process {index} of 2 \(PID {pid} on host .* is lost.* in the phase 'train'|"
        rf"process {index} of 2 \(PID {pid} on host .* stands still",
        job.text(1 - index),
    )
    job.send(signal.SIGKILL, index)
    job.wait()


@pytest.mark.soak
def test_all_that_wait_for_ever_end_and_the_same_command_continues(straight, cache, tmp_path):
    """Twelve time limits after the last update; nobody is lost."""
    run = tmp_path / "run"
    stands = {"LINE_STANDS_AT": "12"}
    command = jobs.line(run, runtime__timeout_s=8)
    job = jobs.start(2, command, cache, environments={0: stands, 1: stands})
    job.wait_for(run / "checkpoints" / "step_10")
    began = time.monotonic()
    assert job.wait() == [LOST_STATUS] * 2, job.texts()
    assert 90 < time.monotonic() - began < 96 + jobs.SLACK_S
    assert "all 2 processes have stood at update 12 for" in job.texts()
    jobs.finish(2, jobs.line(run), cache)
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.soak
@pytest.mark.parametrize("indices", [[0], [1], [0, 1]])
@pytest.mark.parametrize("entries", [0, 6, 12, 18, 24, 30, 36])
def test_kills_within_saves_change_no_bit(entries, indices, straight, cache, tmp_path):
    """At a moment of one save, and of a later one."""
    run = tmp_path / "run"
    command, within = jobs.line(run), []
    for _ in range(2):
        within.append(kill_within_save(indices, entries, command, run, cache))
    jobs.finish(2, command, cache)
    assert not [*(run / "checkpoints").glob("damaged-*")]
    assert not [*(run / "checkpoints").glob("*tmp*")]
    assert jobs.result(run) == jobs.result(straight)
    sys.stdout.write(f"\nkilled within saves: {sum(within)} of {len(within)}\n")


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(20))
def test_kills_at_random_moments_change_no_bit(repetition, straight, cache, tmp_path):
    draw, run = random.Random(repetition), tmp_path / "run"
    for _ in range(2):
        job = jobs.start(2, jobs.line(run), cache)
        job.wait_until_said("processes, ")
        time.sleep(draw.uniform(0, 4))
        job.send(signal.SIGKILL, *draw.choice([[0], [1], [0, 1]]))
        job.wait(jobs.TIMEOUT_S + jobs.SLACK_S)
    jobs.finish(2, jobs.line(run), cache)
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.soak
@pytest.mark.parametrize("index", [0, 1])
def test_an_alignment_that_loses_a_process_continues_to_the_same_bits(
    index, whole, cache, tmp_path
):
    run = tmp_path / "run"
    command = jobs.alignment(run, cache)
    kill_at(2, [index], 5 + 10 * index, command, run, cache)
    jobs.finish(2, command, cache)
    assert jobs.result(run) == jobs.result(whole)


@pytest.mark.soak
@pytest.mark.parametrize("indices", [[2], [0, 3], [0, 1, 2, 3]])
def test_kills_among_four_processes(indices, cache, tmp_path):
    command = jobs.line(tmp_path / "run")
    kill_at(4, indices, 10, command, tmp_path / "run", cache)
    jobs.finish(4, command, cache)


@pytest.mark.soak
@pytest.mark.parametrize("asked", [[0], [1], [0, 1]])
def test_one_that_is_told_to_end_ends_all_at_the_same_update(asked, straight, cache, tmp_path):
    """All of them, as a scheduler tells them, or a single one."""
    run = tmp_path / "run"
    tell_to_end(asked, jobs.line(run), run, cache)
    jobs.finish(2, jobs.line(run), cache)
    assert jobs.result(run) == jobs.result(straight)


@pytest.mark.soak
@pytest.mark.parametrize("asked", [[0], [1]])
def test_an_alignment_that_is_told_to_end_continues_to_the_same_bits(asked, whole, cache, tmp_path):
    run = tmp_path / "run"
    command = jobs.alignment(run, cache)
    tell_to_end(asked, command, run, cache)
    jobs.finish(2, command, cache)
    assert jobs.result(run) == jobs.result(whole)


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(5))
def test_orders_to_end_at_random_moments_change_no_bit(repetition, whole, cache, tmp_path):
    """In whatever phase: of starting, compiling, saving and evaluating, too."""
    draw, run = random.Random(repetition), tmp_path / "run"
    command = jobs.alignment(run, cache)
    for _ in range(3):
        job = jobs.start(2, command, cache)
        job.wait_until_said("processes, ")
        time.sleep(draw.uniform(0, 8))
        job.tell_to_end(*draw.choice([[0], [1], [0, 1]]))
    jobs.finish(2, command, cache)
    assert jobs.result(run) == jobs.result(whole)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["a shard missing", "cut", "empty"])
def test_a_damaged_checkpoint_is_set_aside_by_all(how, straight, cache, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    (run / "evaluation.json").unlink()
    assert damage(run, how) == STEPS
    job = jobs.finish(2, jobs.line(run), cache)
    assert "falling back to the one before" in job.text(0)
    assert f"continuing after update {STEPS - 5}" in job.text(0)
    assert (run / "checkpoints" / f"damaged-{STEPS}").is_dir()
    assert jobs.result(run) == jobs.result(straight)


class Halting(threading.Thread):
    """Stops a process again and again, for less than the limit, until its job ends."""

    def __init__(self, job: jobs.Job, index: int, stopped_s: tuple[float, float], going_s: float):
        super().__init__(daemon=True)
        self.job, self.index, self.stopped_s, self.going_s = job, index, stopped_s, going_s
        self.times, self._draw = 0, random.Random(index)

    def run(self) -> None:
        process = self.job.processes[self.index]
        while process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            self.times += 1
            time.sleep(self._draw.uniform(*self.stopped_s))
            process.send_signal(signal.SIGCONT)
            time.sleep(self.going_s)


@pytest.mark.soak
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("stopped_s", [(0.1, 0.4), (4.0, 8.0)], ids=["often", "long"])
def test_a_slow_host_is_waited_for(stopped_s, index, straight, cache, tmp_path):
    """A quarter of its time or less is left to it, in every phase."""
    job = jobs.start(2, jobs.line(tmp_path / "run", runtime__timeout_s=60), cache)
    job.wait_until_said("processes, ")
    slow = Halting(job, index, stopped_s, going_s=stopped_s[0] / 2)
    slow.start()
    assert job.wait() == [0, 0], job.texts()
    slow.join()
    assert slow.times > 2
    assert jobs.result(tmp_path / "run") == jobs.result(straight)
