"""Several updates in one dispatch: the program of one at a time, and so its bits, when due."""

import pathlib

import jax
import pytest

from molphenix_jax import tasks, train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime import step as steps
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, TIMING_FILE, read_metrics
from molphenix_jax.tasks.align.training.run import AlignRun
from tests import tiny

pytestmark = pytest.mark.slow

# Neither the validations nor the checkpoints nor the end are at multiples of 4 or 5.
STEPS = {"train__steps": 12, "train__validate_every": 5, "train__checkpoint_every": 6}


def fit(cache: pathlib.Path, folder: pathlib.Path, **changes) -> str:
    config = tiny.config(cache, **{**STEPS, **changes})
    mesh = meshes.make_mesh(1)
    folder.mkdir(exist_ok=True)
    with console.capture() as said:
        run = tasks.make(config, mesh, folder).run(0, folder)
        train.fit(run, config, mesh, folder)
    return said.get()


@pytest.fixture(scope="module")
def one_by_one(cache, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("one")
    fit(cache, folder, train__steps_per_dispatch=1, train__prefetch=0)
    return folder


@pytest.mark.parametrize("n", [4, pytest.param(5, marks=pytest.mark.long), 100])
def test_metrics_are_those_of_one_at_a_time(n, one_by_one, cache, tmp_path):
    fit(cache, tmp_path, train__steps_per_dispatch=n)
    assert (tmp_path / METRICS_FILE).read_bytes() == (one_by_one / METRICS_FILE).read_bytes()
    lines = [(line["kind"], line["step"]) for line in read_metrics(tmp_path / METRICS_FILE)]
    assert [step for kind, step in lines if kind == "train"] == list(range(1, 13))
    assert [step for kind, step in lines if kind == "validation"] == [0, 5, 10, 12]
    saved = {path.name for path in (tmp_path / "checkpoints").glob("step_*")}
    assert saved == {"step_0", "step_6", "step_12"}
    # One dispatch ends at each of 5, 6, 10 and 12, whatever more fits.
    at_once = [line["steps_per_dispatch"] for line in read_metrics(tmp_path / TIMING_FILE)]
    assert at_once == ([2.5, 2.5, 2.0] if n == 4 else [5.0, 2.5, 2.0])


def test_any_number_of_updates_is_the_same_program(cache, tmp_path, monkeypatch):
    """What equal bits rest on; bits that happen to be equal on this machine would not show it."""
    programs = {}
    compile_ = jax.stages.Lowered.compile

    for n in (1, 3, 12):
        texts = programs.setdefault(n, [])

        def noted(lowered, *args, texts=texts):
            texts.append(lowered.as_text())
            return compile_(lowered, *args)

        monkeypatch.setattr(jax.stages.Lowered, "compile", noted)
        fit(cache, tmp_path / str(n), train__steps_per_dispatch=n)
    assert len(programs[1]) == 1
    assert "stablehlo.while" in programs[1][0]
    assert programs[1] == programs[3] == programs[12]


def test_a_dispatch_takes_no_more_batches_than_there_is_room_for(
    one_by_one, cache, tmp_path, monkeypatch
):
    """A room of two, as large batches have; no bits to compare, for that is another program."""
    batch_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(first_batch(cache, tmp_path)))
    assert steps.room(batch_bytes) == steps.ROOM_STEPS
    assert steps.room(2 * steps.ROOM_BYTES) == 1
    monkeypatch.setattr(steps, "ROOM_BYTES", 2 * batch_bytes + 1)
    fit(cache, tmp_path, train__steps_per_dispatch=5)
    ours, alone = (
        [line for line in read_metrics(folder / METRICS_FILE) if line["kind"] == "train"]
        for folder in (tmp_path, one_by_one)
    )
    assert [line["step"] for line in ours] == list(range(1, 13))
    assert [line["loss"] for line in ours] == pytest.approx(
        [line["loss"] for line in alone], rel=1e-4
    )
    at_once = [line["steps_per_dispatch"] for line in read_metrics(tmp_path / TIMING_FILE)]
    assert at_once == pytest.approx([5 / 3, 5 / 3, 2], abs=1e-3)


def first_batch(cache: pathlib.Path, folder: pathlib.Path):
    task, _ = tiny.make(tiny.config(cache, **STEPS), folder / "made")
    with console.capture():
        return task.run(0, folder / "made").batch(0)


def test_a_stop_between_two_dispatches_continues_with_the_next_batch(one_by_one, cache, tmp_path):
    fit(cache, tmp_path, train__steps_per_dispatch=4)
    (tmp_path / "checkpoints" / "step_12").rename(tmp_path / "lost")
    said = fit(cache, tmp_path, train__steps_per_dispatch=5)
    assert "continuing after update 6" in said
    assert (tmp_path / METRICS_FILE).read_bytes() == (one_by_one / METRICS_FILE).read_bytes()


def test_the_update_that_is_not_finite_is_named_within_its_dispatch(cache, tmp_path):
    changes = {"train__learning_rate": 1e38, "train__grad_clip": 1e38}
    messages = []
    for n in (1, 12):
        with pytest.raises(train.NonFiniteError) as raised:
            fit(cache, tmp_path / str(n), train__steps_per_dispatch=n, **changes)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(("hidden", "share"), [(False, 0.75), (True, 0.0)])
def test_timing_tells_what_the_devices_waited_for_data(hidden, share, cache, tmp_path, monkeypatch):
    """On a clock of our own: reading takes 3 s, starting an update 1 s, compiling 7 s."""
    now = [0.0]

    def taking(seconds, function):
        def wrapped(*args, **kwargs):
            now[0] += seconds
            return function(*args, **kwargs)

        return wrapped

    for module in (train, steps):
        monkeypatch.setattr(module, "clock", lambda: now[0])
    monkeypatch.setattr(AlignRun, "batch", taking(3, AlignRun.batch))
    monkeypatch.setattr(steps.Dispatch, "__call__", taking(1, steps.Dispatch.__call__))
    monkeypatch.setattr(jax.stages.Lowered, "compile", taking(7, jax.stages.Lowered.compile))
    # Whether the devices are still busy when a batch has come is the machine's; here it is ours.
    monkeypatch.setattr(type(jax.numpy.zeros(())), "is_ready", lambda array: not hidden)
    fit(cache, tmp_path, train__steps_per_dispatch=1, train__prefetch=0)
    lines = list(read_metrics(tmp_path / TIMING_FILE))
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert [line["seconds"] for line in lines] == [20, 20, 8]
    assert [line["steps_per_second"] for line in lines] == [0.25] * 3
    assert [line["compile_seconds"] for line in lines] == [7, 0, 0]
    assert [line["data_wait_share"] for line in lines] == [share] * 3
