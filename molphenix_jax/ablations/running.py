"""The runs of ablations: one after the other, in processes, or as parts of a job array."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from molphenix_jax import plugins, storage, train
from molphenix_jax.ablations.grid import AblationError, Cell, Tier, config_of, why_skipped
from molphenix_jax.errors import sentence_of
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.progress import duration, say
from molphenix_jax.runtime.workdir.folder import read_json
from molphenix_jax.tasks.stored import find_run

_INPUTS_FILE = "ablations.json"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell that can be run.

    Attributes:
        cell: Which.
        config: Its config.
        folder: Its `--workdir`.
        finished: Whether the run there is done.
    """

    cell: Cell
    config: Config
    folder: pathlib.Path
    finished: bool

    @property
    def record(self) -> pathlib.Path:
        """Beside the run: the seconds that it took and the bytes that it left."""
        return self.folder.with_name(f"{self.folder.name}.json")


def plan(
    cells: Sequence[Cell],
    tier: Tier,
    inputs: Mapping[str, str],
    fields: Mapping[str, str],
    workdir: pathlib.Path,
) -> list[Planned]:
    """What there is to run, every config built and checked; nothing is written.

    Raises:
        AblationError: A config that cannot be, or a folder that holds a run of another one.
    """
    planned = []
    for cell in cells:
        if why_skipped(cell.row, tier, inputs):
            continue
        config, folder = config_of(cell, tier, inputs, fields), workdir / cell.place
        begun = find_run(folder, config)
        if begun.steps not in (0, config.train.steps):
            raise AblationError(
                f"{folder} holds a run of {begun.steps:,} updates, {config.train.steps:,} are "
                "asked for: take another --workdir"
            )
        planned.append(Planned(cell, config, folder, begun.finished))
    return planned


def tell_cost(
    planned: Sequence[Planned], tier: Tier, workdir: pathlib.Path, processes: int
) -> None:
    """Says how many runs there are, how long they take and what they leave on disk.

    Raises:
        AblationError: The disk has not as much room.
    """
    left = [p for p in planned if not p.finished]
    known = [read_json(p.record) for p in planned if p.finished and p.record.exists()]
    seconds = _mean([r["seconds"] for r in known]) or tier.seconds
    megabytes = _mean([r["bytes"] / 2**20 for r in known]) or tier.megabytes
    how = "as measured" if known else "as stated for this tier, on one CPU core"
    say(
        f"{len(planned):,} runs, {len(planned) - len(left):,} of them finished. For the others "
        f"{duration(len(left) * seconds / processes)} and {len(left) * megabytes:,.0f} MiB of disk "
        f"({seconds:,.0f} s and {megabytes:.1f} MiB each, {how}; {processes} at a time)"
    )
    there = next(p for p in (workdir, *workdir.resolve().parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**20
    if len(left) * megabytes > free:
        raise AblationError(
            f"{there} has {free:,.0f} MiB left, fewer than the runs will need: free some space, or "
            "take another --workdir"
        )


def run_here(planned: Sequence[Planned]) -> list[str]:
    """Trains and evaluates what is not finished; what each run says goes into a file beside it.

    Returns:
        A sentence for each run that failed; the others were made all the same.
    """
    left, failed, spent = [p for p in planned if not p.finished], [], 0.0
    for number, each in enumerate(left, 1):
        began, folder = time.monotonic(), each.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _said_to(folder.with_name(f"{folder.name}.log")):
                train.train_and_evaluate(each.config, folder)
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            failed.append(f"{each.cell.place}: {sentence}")
            say(f"failed: {failed[-1]}")
            continue
        seconds = time.monotonic() - began
        spent += seconds
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        storage.write_json(each.record, {"seconds": round(seconds, 2), "bytes": size})
        rest = (len(left) - number) * spent / (number - len(failed))
        say(f"{number}/{len(left)} {each.cell.place}: {seconds:.0f} s; {duration(rest)} left")
    return failed


def run_in_processes(arguments: Sequence[str], shard: tuple[int, int], processes: int) -> bool:
    """The same command in several processes, each with its part of the runs.

    Args:
        arguments: Of `molphenix`, without `--shard` and `--processes`.
        shard: This process' own part (i, n), i from 1.
        processes: How many.

    Returns:
        Whether all of them ended well.
    """
    i, n = shard
    given = [f"--plugin={name}" for name in plugins.names()]
    command = [sys.executable, "-m", "molphenix_jax.cli", *given, *arguments]
    # Threads of BLAS and OpenMP wait by spinning: more of them than cores slow all down.
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"--shard={i + n * part}/{n * processes}"], env=environment
                )
            )
            for part in range(processes)
        ]
        try:
            return all(process.wait() == 0 for process in started)
        except BaseException:
            for process in started:  # they save what they have; the stack waits for them
                process.terminate()
            raise


def part_of(planned: Sequence[Planned], shard: tuple[int, int]) -> list[Planned]:
    """Every n-th run from the i-th on, i from 1."""
    i, n = shard
    return list(planned[i - 1 :: n])


def need_same_inputs(workdir: pathlib.Path, told: Mapping[str, object]) -> None:
    """Stops where the runs in the workdir are made with something else.

    Raises:
        AblationError: The runs there are of another tier or of other inputs.
    """
    path = workdir / _INPUTS_FILE
    if path.exists() and read_json(path) != told:
        raise AblationError(
            f"{workdir} holds runs of another tier or other inputs ({path.name} there tells "
            "which): take another --workdir"
        )


def note_inputs(workdir: pathlib.Path, told: Mapping[str, object]) -> None:
    """Notes in the workdir what its runs are made with."""
    if not (workdir / _INPUTS_FILE).exists():
        storage.write_json(workdir / _INPUTS_FILE, told)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


@contextlib.contextmanager
def _said_to(path: pathlib.Path) -> Iterator[None]:
    """What a run says goes into a file."""
    with path.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield
