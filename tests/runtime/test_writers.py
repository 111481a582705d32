"""Events for TensorBoard: what `metrics.jsonl` has, once, however often a run began."""

import importlib
import json
import struct
import sys

import pytest

from molphenix_jax.extras import MissingExtraError
from molphenix_jax.runtime.workdir.writers import Events
from tests import tiny

FIELDS = {"train__tensorboard": True, "train__steps": 4, "train__checkpoint_every": 2}


def read(folder):
    """(tag, step) → value of all events of a folder, which are framed as TensorFlow's records."""
    event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")
    found = []
    for path in folder.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            found += [((v.tag, event.step), v.simple_value) for v in event.summary.value]
            at += 12 + length + 4
    assert len(dict(found)) == len(found)
    return dict(found)


def written(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {
        (f"{line['kind']}/{name}", line["step"]): value
        for line in lines
        for name, value in line.items()
        if name not in ("kind", "step") and value is not None
    }


@pytest.mark.slow
def test_a_run_that_was_trained_on_has_every_event_once(cache, tmp_path):
    tiny.train_here(tiny.config(cache, **FIELDS), tmp_path / "run")
    assert len(read(tmp_path / "run" / "tensorboard")) > 5
    tiny.train_here(tiny.config(cache, **FIELDS | {"train__steps": 6}), tmp_path / "run")
    events, metrics = read(tmp_path / "run" / "tensorboard"), written(tmp_path / "run")
    assert events.keys() == metrics.keys()
    assert {step for _, step in events} == {0, 1, 2, 3, 4, 5, 6}
    for key, value in metrics.items():
        assert events[key] == pytest.approx(value, rel=1e-6, abs=1e-30)


def test_without_the_extra_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"train.tensorboard=True.*\[tensorboard\]"):
        Events(tmp_path / "events")
