"""`molphenix bench device` at sizes for a CPU: every part's rows, and what is kept when it ends."""

import json
import math
import subprocess

import pytest

from molphenix_jax.bench import device
from molphenix_jax.cli import main
from molphenix_jax.runtime.progress import console

TINY = device.SIZES["tiny"]


def only(monkeypatch, *names):
    monkeypatch.setattr(device, "PARTS", {name: device.PARTS[name] for name in names})


@pytest.mark.long
@pytest.mark.parametrize("part", ["losses", "steps", "open_clip", "images", "search"])
def test_a_part_gives_rows(part):
    rows = [row for some in device.PARTS[part](TINY) for row in some]
    assert rows
    for row in rows:
        assert row.ours is None or (math.isfinite(row.ours) and row.ours >= 0), row
        assert row.ours is not None or row.note, row
    if part == "steps":
        epoch, step = rows[-1].ours, rows[0].ours
        assert epoch == pytest.approx(device.EPOCH_PAIRS / 16 * step)
    if part == "images":
        assert "tiny, 5 × 16² pixels" in rows[0].case


@pytest.mark.long
def test_the_command_keeps_rows_and_says_what_failed(tmp_path, monkeypatch):
    only(monkeypatch, "products", "molecules")
    # The child finds no molecules: its own failure, and the other part's rows stay.
    tried = subprocess.run

    def run(command, **options):
        if "molecules" in command:
            command = [*command[:2], "molphenix_jax.bench.gone"]
        return tried(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    with console.capture() as said:
        assert main(["bench", "device", "--size=tiny", f"--out={tmp_path / 'out'}"]) == 0
    rows = json.loads((tmp_path / "out" / "products.json").read_text())["rows"]
    assert [row["case"] for row in rows] == [
        *("product of 64², bfloat16", "product of 64², float32")
    ]
    report = (tmp_path / "out" / device.REPORT).read_text()
    assert "| product of 64², float32 | TFLOP/s |" in report
    assert "- molecules: failed: " in report
    assert "left out: molecules: failed: " in said.get()


def test_what_the_time_does_not_allow_is_said(tmp_path, monkeypatch):
    only(monkeypatch, "products", "losses", "search")
    now = [0.0]
    monkeypatch.setattr(device, "clock", lambda: now[0])

    def run(command, *, timeout, **_):
        name = command[3]
        now[0] += 60 if name == "products" else timeout
        if name == "losses":  # half done: what it has written stays
            content = {"machine": {}, "rows": []}
            (tmp_path / "losses.json").write_text(json.dumps(content))
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "search.json").write_text("of a run before")
    left = device.run(tmp_path, budget_s=100, size="tiny", say=lambda _: None)
    assert left == [
        "losses: not finished, the time was over",
        "search: not begun, the 100 s were over",
    ]
    assert (tmp_path / "losses.json").exists()
    assert not (tmp_path / "search.json").exists()
    assert "- search: not begun" in (tmp_path / device.REPORT).read_text()
