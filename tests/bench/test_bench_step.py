import dataclasses
import importlib.util
import json

import jax
import numpy as np
import pytest

from molphenix_jax import cli
from molphenix_jax.bench import step
from molphenix_jax.tasks.align.config import SIZES

pytestmark = pytest.mark.long

SMALL = step.StepCase(batch=16, size="small", profile_width=32, repeats=1, matmul=128)
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def small():
    config = step.make_config(SMALL)
    run = step.make_run(SMALL, config)
    return config, run, step.Ours(run, config)


def test_the_run_is_the_one_that_training_makes(small):
    config, run, ours = small
    assert type(run).__module__ == "molphenix_jax.tasks.align.training.run"
    assert config.train.optimizer == "adamw"
    assert config.loss.name == "s2l"
    assert run.sampler.batch_size == SMALL.batch
    before = jax.device_get(ours.state.params)
    losses = [ours() for _ in range(3)]
    assert int(ours.state.step) == 3
    assert len(set(losses)) == 3
    several = step.Ours(run, config, updates=3)
    # Another program of the same updates, so up to float32's rounding.
    assert several() == pytest.approx(losses[-1], rel=1e-6)
    changed = [
        (a != b).any()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(ours.state.params), strict=True)
    ]
    assert all(changed)


def test_products_are_counted_as_by_hand(small):
    config, run, ours = small
    b, width, hidden, dim = SMALL.batch, 128, 256, SIZES["small"]["dim"]
    inputs = 32 + 4263 + run.encoding.width
    # Of one row in both towers: the first layers without a gradient of their input, then the rest.
    dense = 2 * inputs * width + 3 * 2 * (2 * width * hidden + width * dim)
    pairs = 3 * b * b * dim + b * b * 32
    assert step.step_tflop(ours.state.params, run, config) == pytest.approx(
        2e-12 * (dense * b + pairs)
    )


def test_the_paper_has_its_size_and_targets():
    setting = step.StepCase()
    config = step.make_config(setting)
    assert config.model.phenomics.width == 1024
    assert setting.target(small=0.75, large=0.6) == 0.75
    assert dataclasses.replace(setting, batch=8192).target(small=0.75, large=0.6) == 0.6
    assert dataclasses.replace(setting, batch=64).target(small=0.75, large=0.6) is None
    assert SMALL.target(small=0.75, large=0.6) is None


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_both_sides_give_the_same_losses():
    step.check_same_losses(SMALL, updates=4)


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_another_loss_is_an_error(monkeypatch):
    monkeypatch.setattr(step.Ours, "__call__", lambda self: 1e9)
    with pytest.raises(RuntimeError, match="after 0 updates our loss is 1000000000.0, PyTorch's"):
        step.check_same_losses(SMALL)


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_a_missing_pytorch_is_said(small):
    config, run, _ = small
    assert step._torch(run, config, compiled=False) == (
        None,
        "not compared: torch is not installed",
    )


def test_the_command_writes_table_and_json(tmp_path, monkeypatch, capsys):
    """Without torch.compile, which takes a minute."""
    monkeypatch.setattr(
        step,
        "_torch",
        lambda run, config, updates, *, compiled: (None, "not compared: not installed"),
    )
    monkeypatch.setattr(step, "check_same_losses", lambda setting: None)
    out = tmp_path / "step.json"
    options = ["--size=small", "--batches=8,16", "--repeats=1", f"--json={out}"]
    assert cli.main(["bench", "step", *options]) == 0
    assert "not compared: not installed" in capsys.readouterr().out
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 8
    assert [row["case"] for row in rows if row["unit"] == "TFLOP/s"] == [
        "step, small, batch 8, float32, products",
        "step, small, batch 16, float32, products",
    ]
    for row in rows:
        assert np.isfinite(row["ours"])
        assert row["other"] is not None or row["note"]


def test_a_batch_whose_pairs_have_no_room_is_not_compared(small, monkeypatch):
    monkeypatch.setattr(step, "device_memory_gib", lambda: 1e-6)
    config, run, _ = small
    none, why = step._torch(run, config, compiled=True)
    assert none is None
    assert "PyTorch takes all pairs at once, 9.54e-07 GiB for each array" in why
