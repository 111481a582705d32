import contextlib
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.runtime.workdir import checkpointing
from molphenix_jax.runtime.workdir.checkpointing import CheckpointError, Checkpoints

ASSETS = {"mean": np.arange(3, dtype=np.float32), "empty": np.zeros((4, 0), np.float32)}


def state(step):
    return {"step": jnp.int32(step), "w": jnp.full((64, 64), step, jnp.float32)}


def saved(folder, steps, keep=3):
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(step, state(step), ASSETS, {"next_index": step})
    checkpoints.close()


def restore(folder, step=None):
    said = []
    checkpoints = Checkpoints(folder, keep=3)
    try:
        return checkpoints.restore(step, state(0), ASSETS, say=said.append), said
    finally:
        checkpoints.close()


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip_of_the_newest_and_of_a_chosen_step(tmp_path):
    saved(tmp_path, [1, 2])
    for wanted, step in ((None, 2), (1, 1)):
        restored, said = restore(tmp_path, wanted)
        assert restored.step == step
        assert restored.assets["empty"].shape == (4, 0)
        assert restored.position == {"next_index": step}
        np.testing.assert_array_equal(restored.state["w"], state(step)["w"])
        np.testing.assert_array_equal(restored.assets["mean"], ASSETS["mean"])
        assert not said


def test_only_the_newest_are_kept(tmp_path):
    saved(tmp_path, [1, 2, 3], keep=2)
    with pytest.raises(CheckpointError, match=r"no checkpoint 1 .*\[2, 3\]"):
        restore(tmp_path, 1)


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path):
    saved(tmp_path, [1, 2])
    truncate(tmp_path / "step_2")
    restored, said = restore(tmp_path)
    assert restored.step == 1
    assert "checkpoint 2" in said[0]
    assert "falling back" in said[0]
    assert (tmp_path / "damaged-2").exists()
    # Training goes on and writes checkpoint 2 anew.
    saved(tmp_path, [2])
    assert restore(tmp_path)[0].step == 2


@pytest.mark.parametrize("item", ["state", "assets", "position"])
def test_a_number_that_changed_on_the_disk_is_damage(tmp_path, item):
    """Orbax takes a flipped bit in an array for what was written, and JSON any number."""
    noise = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)  # is not compressed
    noisy, assets = {**state(0), "w": jnp.asarray(noise)}, {"mean": noise}
    with contextlib.closing(Checkpoints(tmp_path, keep=3)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, noisy, assets, {"next_index": step})
    files = [path for path in (tmp_path / "step_2" / item).rglob("*") if path.is_file()]
    files = [path for path in files if path.name != "commit_success.txt"]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    if item == "position":
        content = content.replace(b'"n_lines": 0', b'"n_lines": 1')
        assert bytes(content) != largest.read_bytes()
    else:
        content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    said = []
    with contextlib.closing(Checkpoints(tmp_path, keep=3)) as checkpoints:
        assert checkpoints.restore(None, noisy, assets, say=said.append).step == 1
    assert f"is damaged: its {item} is not what was written; falling back" in said[0]


def test_checkpoints_of_before_have_no_sums(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpointing, "_sums", lambda *_, **__: {})
        saved(tmp_path, [1])
    restored, said = restore(tmp_path)
    assert (restored.step, said) == (1, [])


def test_no_readable_checkpoint_is_an_error(tmp_path):
    saved(tmp_path, [1])
    truncate(tmp_path / "step_1")
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        restore(tmp_path)


def test_no_checkpoint_at_all_is_an_error_that_says_train_first(tmp_path):
    with pytest.raises(CheckpointError, match="train first"):
        restore(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(8))
def test_a_checkpoint_that_a_training_deletes_while_a_reader_looks_is_none(
    moment, tmp_path, monkeypatch
):
    saved(tmp_path, [1, 2])
    looks, stat = 0, os.stat

    def deleted_at(path, *args, **kwargs):
        nonlocal looks
        if str(path).endswith("step_1"):
            looks += 1
            if looks == moment + 1:
                shutil.rmtree(path)
        return stat(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", deleted_at)
        with contextlib.closing(Checkpoints(tmp_path, keep=None)) as checkpoints:
            assert checkpoints.steps()[-1] == 2
            assert checkpoints.steps() == ([2] if looks > moment else [1, 2])
            assert checkpoints.read_state(2)["step"] == 2
    assert looks > moment
