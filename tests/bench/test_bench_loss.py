import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from molphenix_jax import cli
from molphenix_jax.bench import loss, measure
from molphenix_jax.bench.compared import torch_losses

pytestmark = pytest.mark.long


def test_medians_are_taken_in_turn(monkeypatch):
    order, now = [], [0.0]
    monkeypatch.setattr(measure, "clock", lambda: now[0])

    def runs(name, *seconds):
        def run():
            now[0] += seconds[order.count(name)]
            order.append(name)

        return run

    # The first round counts nothing, and an interruption moves no median.
    medians = measure.interleaved_medians(
        {"fast": runs("fast", 90, 1, 2, 1), "slow": runs("slow", 90, 5, 5, 80)}, repeats=3
    )
    assert order == ["fast", "slow"] * 4
    assert medians == {"fast": 1, "slow": 5}


def test_ratio_and_missed_target_are_in_table_and_json(tmp_path):
    rows = [
        measure.Row("a", "s", 3.0, 2.0, "dense", target=1.1),
        measure.Row("b", "s", None, other_name="PyTorch", note="not compared: torch is missing"),
    ]
    text = _rendered(measure.table("t", rows))
    assert "1.5 missed" in text
    assert "b: not compared: torch is missing" in text
    measure.write_rows(tmp_path / "sub" / "rows.json", rows)
    content = json.loads((tmp_path / "sub" / "rows.json").read_text())
    assert content["machine"]["jax"]
    assert content["rows"][0]["ratio"] == 1.5
    assert content["rows"][1]["ratio"] is None


def _rendered(table) -> str:
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_targets_hold_for_the_size_they_were_set_for():
    assert loss.LossCase().target(1.1) == 1.1
    assert loss.LossCase(batch=64).target(1.1) is None


@pytest.mark.parametrize(
    ("kib", "said"), [(40, "it needs"), (20, "every array of pairs takes 1.53e-05 of 1.91e-05 GiB")]
)
def test_a_dense_loss_that_does_not_fit_is_said_and_left_out(monkeypatch, kib, said):
    monkeypatch.setattr(loss, "device_memory_gib", lambda: kib / 2**20)
    setting = loss.LossCase(batch=64, width=8, repeats=1, dtype="bfloat16")
    memory, seconds, rate = loss.chunked_rows("siglip", setting)
    assert (memory.other is None) == (kib == 20)
    assert seconds.ours > 0
    assert seconds.other is None
    assert f"dense is not run: {said}" in seconds.note
    assert rate.unit == measure.RATE
    assert rate.ours > 0


def test_products_of_profiles_are_counted_at_their_width():
    setting = loss.LossCase(batch=100, width=30, profile_width=7)
    np.testing.assert_allclose(setting.tflop("siglip"), [2e-12 * 100**2 * 90] * 2)
    np.testing.assert_allclose(setting.tflop("s2l"), [2e-12 * 100**2 * 97] * 2)
    dense, chunked = setting.tflop("clip")
    assert chunked / dense == 4 / 3


def test_a_rate_misses_its_target_from_below():
    assert measure.Row("a", measure.RATE, 0.5, 1.0, target=0.75).missed
    assert not measure.Row("a", measure.RATE, 0.8, 1.0, target=0.75).missed
    assert measure.Row("a", "s", 0.8, 1.0, target=0.75).missed
    assert not measure.Row("a", "s", None, 1.0, target=0.75).missed


def test_a_missing_pytorch_is_said():
    if importlib.util.find_spec("torch"):
        pytest.skip("torch is installed here")
    z = np.eye(2, dtype=np.float32)
    run, reason = torch_losses.value_and_grad("s2l", z, z, z, np.float32(1.0), scale=1.0, bias=0.0)
    assert run is None
    assert reason == "not compared: torch is not installed"


def test_an_unknown_loss_is_an_error_that_names_the_known(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "loss", "--losses=clip,sigclip"])
    assert "no loss named 'sigclip'; there are clip" in capsys.readouterr().err


def test_the_command_writes_table_and_json(tmp_path):
    out = tmp_path / "loss.json"
    command = [sys.executable, "-m", "molphenix_jax.cli", "bench", "loss", "--dtype=bfloat16"]
    options = ["--batches=64,128", "--width=16", "--repeats=1", "--losses=siglip", f"--json={out}"]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    done = subprocess.run(
        command + options, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "siglip" in done.stdout
    content = json.loads(out.read_text())
    assert content["machine"]["devices"].startswith("8")
    cases = [row["case"] for row in content["rows"]]
    # Memory, time and rate at both batches; ring, growth and PyTorch at the first.
    assert len(cases) == len(set(cases)) == 9
    assert sum("batch 128" in case for case in cases) == 3
    for row in content["rows"]:
        assert {"case", "unit", "ours", "other", "other_name", "ratio"} <= row.keys()
        assert row["ours"] is not None or row["note"]
