import json

import pytest

from molphenix_jax.runtime.workdir.metrics import MetricsError, MetricsFile, read_metrics


def write(path, restored, entries):
    file = MetricsFile(path, restored_step=restored)
    for kind, step, value in entries:
        file.write(kind, step, {"x": value})
    file.close()


STREAM = [
    ("validation", 0, 0.0),
    ("train", 10, 1.0),
    ("validation", 10, 2.0),
    ("train", 20, 3.0),
    ("validation", 20, float("nan")),
]


def test_a_restart_gives_the_same_bytes(tmp_path):
    write(tmp_path / "whole.jsonl", None, STREAM)
    # Killed after update 20, newest checkpoint 10: the loop begins with the validation at 10.
    write(tmp_path / "cut.jsonl", None, STREAM[:4])
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    write(tmp_path / "cut.jsonl", 10, STREAM[2:])
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_kill_before_the_validation_comes_again_loses_no_line(tmp_path):
    """A run that ended after 20 updates may also be trained on without one there."""
    path = tmp_path / "metrics.jsonl"
    write(path, None, STREAM)
    before = path.read_bytes()
    for _ in range(2):
        MetricsFile(path, restored_step=20, n_lines=len(STREAM)).close()
        assert path.read_bytes() == before
    write(path, 20, [STREAM[-1]])
    assert path.read_bytes() == before


def test_a_new_run_begins_with_an_empty_file(tmp_path):
    write(tmp_path / "m.jsonl", None, STREAM)
    write(tmp_path / "m.jsonl", None, STREAM[:1])
    assert len(list(read_metrics(tmp_path / "m.jsonl"))) == 1


def test_undefined_metrics_are_null(tmp_path):
    write(tmp_path / "m.jsonl", None, STREAM[-1:])
    assert json.loads((tmp_path / "m.jsonl").read_text())["x"] is None


@pytest.mark.parametrize(
    "line", [b"{nonsense", b"[1]", b'{"kind": "train"}', b"\xff\xfe", b"[" * 9000]
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"kind": "train", "step": 1}\n' + line + b"\n")
    with pytest.raises(MetricsError, match=r"m\.jsonl: line 2 is damaged: remove that line"):
        list(read_metrics(path))


@pytest.mark.parametrize("end", [b"", b'{"ki', b'{"kind": "train", "step": 2, "loss": 0.'])
def test_a_line_cut_short_by_a_kill_is_left_out_and_garbage_is_not(tmp_path, end):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"kind": "train", "step": 1}\n' + end)
    assert [line["step"] for line in read_metrics(path)] == [1]
    path.write_bytes(b'{"kind": "train", "step": 1}\n' + b"\xff\x00" + end)
    with pytest.raises(MetricsError, match="line 2 is damaged"):
        list(read_metrics(path))
