"""Several updates in one dispatch give the bytes of one at a time, at the right moments."""

import pathlib
import time

import pytest

from molphenix_jax import tasks, train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.metrics import METRICS_FILE, TIMING_FILE, read_metrics
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks.align.run import AlignRun
from tests import tiny

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


@pytest.mark.parametrize("n", [4, 5, 100])
def test_metrics_are_those_of_one_at_a_time(n, one_by_one, cache, tmp_path):
    fit(cache, tmp_path, train__steps_per_dispatch=n)
    assert (tmp_path / METRICS_FILE).read_bytes() == (one_by_one / METRICS_FILE).read_bytes()
    lines = [(line["kind"], line["step"]) for line in read_metrics(tmp_path / METRICS_FILE)]
    assert [step for kind, step in lines if kind == "train"] == list(range(1, 13))
    assert [step for kind, step in lines if kind == "validation"] == [0, 5, 10, 12]
    saved = {path.name for path in (tmp_path / "checkpoints").glob("step_*")}
    assert saved == {"step_0", "step_6", "step_12"}


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


def test_timing_tells_what_the_devices_waited_for_data(one_by_one, cache, tmp_path, monkeypatch):
    lines = list(read_metrics(one_by_one / TIMING_FILE))
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert all(0 <= line["data_wait_share"] < 1 for line in lines)
    assert lines[0]["compile_seconds"] > 0
    assert lines[1]["compile_seconds"] == 0

    def slow_batch(self, step, rows=None):
        time.sleep(0.3)
        return batch(self, step, rows)

    batch = AlignRun.batch
    monkeypatch.setattr(AlignRun, "batch", slow_batch)
    fit(cache, tmp_path, train__steps_per_dispatch=1, train__prefetch=0)
    assert list(read_metrics(tmp_path / TIMING_FILE))[1]["data_wait_share"] > 0.5
