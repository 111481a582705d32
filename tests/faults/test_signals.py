"""Ctrl-C and SIGTERM, sent to real commands at moments of every kind."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from molphenix_jax import signals
from molphenix_jax.runtime.workdir.checkpointing import CheckpointError, Checkpoints
from tests import tiny
from tests.commands.stopping import Ended, listens, stop

pytestmark = pytest.mark.long

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def first(number: signal.Signals) -> pytest.MarkDecorator:
    """This signal in every run of the tests, the other one too in `make soak`."""
    (other,) = {signal.SIGINT, signal.SIGTERM} - {number}
    return pytest.mark.parametrize(
        "number",
        [number, pytest.param(other, marks=pytest.mark.soak)],
    )


SENTENCES = {
    signal.SIGINT: "stopped by Ctrl-C: the same command continues",
    signal.SIGTERM: "stopped by SIGTERM: the same command continues",
}


def assert_ended(ended: Ended, number: signal.Signals) -> None:
    assert ended.status == 128 + number, ended.said
    assert ended.said.splitlines()[-1] == SENTENCES[number]
    assert "Traceback" not in ended.said
    assert "KeyboardInterrupt" not in ended.said
    assert "resource_tracker" not in ended.said


def test_the_grace_leaves_room_within_five_seconds():
    assert 1 < signals.GRACE_S < 4.5


@BOTH
@pytest.mark.parametrize("module", ["molphenix_jax.main", "molphenix_jax.cli"])
def test_during_the_imports(module, number, cache):
    arguments = {"molphenix_jax.main": "--workdir=none", "molphenix_jax.cli": "prepare"}
    command = [sys.executable, "-m", module, arguments[module]]
    environment = tiny.environment(cache)
    assert_ended(stop(command, environment, number=number, when=listens, anew=True), number)


@first(signal.SIGINT)
def test_while_workers_featurise(number, cache, tmp_path):
    """More than 2,000 molecules: in processes, which must go too and must not chatter."""
    command = tiny.command(
        tmp_path / "run",
        cache,
        data__cache=str(tmp_path / "cache"),
        data__simulated__n_molecules=2_500,
        data__n_null=2_000,
    )
    ended = stop(command, tiny.environment(cache), number=number, when="^featurising", wait_s=1)
    assert_ended(ended, number)
    assert not (tmp_path / "run").exists(), "a start that ended early claimed the workdir"
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert not [name for name in left if not name.startswith("simulated-wells")], left


@first(signal.SIGTERM)
def test_while_xla_compiles(number, cache, tmp_path):
    """One call of C++ for minutes: Python's own handlers would wait for its end."""
    environment = {
        **tiny.environment(cache),
        "XLA_FLAGS": "",
        "JAX_LOG_COMPILES": "1",
        "JAX_ENABLE_COMPILATION_CACHE": "0",
    }
    command = tiny.command(tmp_path / "run", cache, model__phenomics__n_blocks=16)
    conversion = r"Finished jaxpr to MLIR module conversion jit\(steps\)"
    ended = stop(command, environment, number=number, when=conversion, wait_s=0.2, anew=True)
    assert_ended(ended, number)
    assert "Finished XLA compilation of jit(steps)" not in ended.said


def test_during_the_evaluation(cache, tmp_path):
    workdir = tmp_path / "run"
    changes = {"eval__n_bootstrap": 5_000, "eval__baselines": "knn"}
    command = tiny.command(workdir, cache, **changes)
    ended = stop(
        command,
        tiny.environment(cache),
        number=signal.SIGINT,
        when=lambda _: (workdir / "checkpoints" / "step_4").is_dir(),
    )
    assert_ended(ended, signal.SIGINT)
    assert not (workdir / "evaluation.json").exists()
    done = tiny.run(workdir, cache, **changes)
    assert done.returncode == 0, done.stdout
    assert "continuing after update 4" in done.stdout


def test_a_command_of_molphenix(cache, tmp_path):
    out = tmp_path / "screen"
    command = [sys.executable, "-m", "molphenix_jax.cli", "prepare", "--layout=simulated"]
    command += ["--set=n_molecules=400", f"--out={out}"]
    ended = stop(
        command, tiny.environment(cache), number=signal.SIGTERM, when="^correcting", wait_s=0.2
    )
    assert_ended(ended, signal.SIGTERM)
    assert not list(tmp_path.iterdir()), "half of a screen is left"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workdir=none"], "--config is missing"),
        (["--config=configs/s2l.py", "--workdir=none", "more"], "unknown arguments: more"),
        (["--config=configs/s2l.py"], "workdir"),
    ],
)
def test_usage_ends_with_2(arguments, sentence, cache, tmp_path):
    command = [sys.executable, "-m", "molphenix_jax.main", *arguments]
    done = tiny.finish(tiny.start(command, cache))
    assert done.returncode == 2
    assert sentence in done.stdout.splitlines()[-1]
    assert not pathlib.Path("none").exists()


# In this process: what a block does with a signal.


@pytest.fixture
def asked(monkeypatch):
    """Sends this process a signal as one that listens would have noted it."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signals._State, "mode", signals._UNWIND)
    monkeypatch.setattr(signals._State, "number", None)
    signal.signal(signal.SIGTERM, signals._handle)
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_a_signal_unwinds_the_work(asked):
    with pytest.raises(signals.Stopped):
        asked()


def test_what_must_not_be_torn_is_done_first(asked):
    done = []

    def work() -> None:
        with signals.deferred():
            asked()
            done.append(signals.asked())

    with pytest.raises(signals.Stopped):
        work()
    assert done == [True]


def test_a_part_that_may_be_torn_is(asked):
    done = []

    def part() -> None:
        with signals.prompt():
            done.append("begun")
            asked()
            done.append("torn")

    def work() -> None:
        with signals.deferred():
            for _ in range(2):  # the second is not begun at all
                with pytest.raises(signals.Stopped):
                    part()
            done.append("after")

    with pytest.raises(signals.Stopped):
        work()
    assert done == ["begun", "after"]


def test_an_interrupt_is_no_damage_of_a_checkpoint(asked, monkeypatch, tmp_path):
    """Orbax turns it into errors of its own; a good checkpoint must not be set aside for it."""
    (tmp_path / "step_3").mkdir()
    checkpoints = Checkpoints(tmp_path, keep=1)

    def restore(*_, **__):
        try:
            asked()
        except signals.Stopped as error:
            raise ValueError("cancelled") from error

    monkeypatch.setattr(checkpoints._manager, "restore", restore)
    with pytest.raises(signals.Stopped):
        checkpoints._read(3, None)
    signals._State.number = None
    monkeypatch.setattr(checkpoints._manager, "restore", lambda *_, **__: 1 / 0)
    with pytest.raises(CheckpointError):
        checkpoints._read(3, None)
    checkpoints.close()


def test_workers_do_not_hear_the_terminal():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    command = [sys.executable, "-c", code]
    with signals.starting_workers():
        inside = subprocess.check_output(command, text=True)
    assert (inside.strip(), subprocess.check_output(command, text=True).strip()) == (
        "True",
        "False",
    )
