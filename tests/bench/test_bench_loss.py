import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from molphenix_jax import cli
from molphenix_jax.bench import loss, measure, torch_losses


def test_medians_are_taken_in_turn():
    order = []

    def slow():
        order.append("slow")
        time.sleep(0.02)

    medians = measure.interleaved_medians(
        {"fast": lambda: order.append("fast"), "slow": slow}, repeats=2
    )
    assert order == ["fast", "slow"] * 3
    assert medians["fast"] < 0.01 < medians["slow"]


def test_ratio_and_missed_target_are_in_table_and_json(tmp_path):
    rows = [
        measure.Row("a", "s", 3.0, 2.0, "dense", target=1.1),
        measure.Row("b", "s", None, other_name="PyTorch", note="not compared: torch is missing"),
    ]
    text = _rendered(measure.table("t", rows))
    assert "1.5 missed" in text
    assert "b: not compared: torch is missing" in text
    measure.write_json(tmp_path / "sub" / "rows.json", rows)
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
    assert loss.Setting().target(1.1) == 1.1
    assert loss.Setting(batch=64).target(1.1) is None


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


@pytest.mark.slow
def test_the_command_writes_table_and_json(tmp_path):
    out = tmp_path / "loss.json"
    command = [sys.executable, "-m", "molphenix_jax.cli", "bench", "loss"]
    options = ["--batch=64", "--width=16", "--repeats=1", "--losses=siglip", f"--json={out}"]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    done = subprocess.run(
        command + options, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "siglip" in done.stdout
    content = json.loads(out.read_text())
    assert content["machine"]["devices"].startswith("8")
    cases = [row["case"] for row in content["rows"]]
    assert len(cases) == len(set(cases)) == 5
    for row in content["rows"]:
        assert {"case", "unit", "ours", "other", "other_name", "ratio"} <= row.keys()
        assert row["ours"] is not None or row["note"]
