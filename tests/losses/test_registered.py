"""A loss from outside, with a state of its own from tile to tile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import molphenix_jax
from molphenix_jax import plugins
from molphenix_jax.losses import LOSSES, LossSpec, PairSum, make_loss
from molphenix_jax.parts import PartError
from tests.losses import cases

# Each profile against the molecule that is most like it among the wrong ones: a maximum and whose
# it is, over all columns, which no tile knows alone.
HARDEST = """
import dataclasses

import jax
import jax.numpy as jnp

import molphenix_jax
from molphenix_jax.losses import LossSpec, blocks


@dataclasses.dataclass(frozen=True)
class Hardest:
    margin: float
    separable = "no"

    def partial(self, rows, cols, shared):
        logit, own = blocks.logits(rows, cols, shared), blocks.positive_pairs(rows, cols)
        valid = blocks.valid_pairs(rows, cols)
        wrong = jnp.where(valid & ~own, logit, -jnp.inf)
        right = jnp.where(valid & own, logit, 0.0).sum(axis=1)
        at = jnp.argmax(wrong, axis=1)
        most = jnp.take_along_axis(wrong, at[:, None], axis=1)[:, 0]
        return blocks.Stats((right, most, cols.index[at]), (), ())

    def merge(self, a, b):
        (right, most, at), (also, other, its) = a.rows, b.rows
        newer = other > most
        best = (right + also, jnp.where(newer, other, most), jnp.where(newer, its, at))
        return blocks.Stats(best, (), ())

    def empty(self, rows, cols):
        n = len(rows.z)
        nothing = (jnp.zeros(n), jnp.full(n, -jnp.inf), jnp.full(n, -1, jnp.int32))
        return blocks.Stats(nothing, (), ())

    def recap(self, stats, cotangent):
        return blocks.Stats((stats.rows[2], cotangent.rows[0], cotangent.rows[1]), (), ())

    def pullback(self, rows, cols, shared, recap):
        at, by_right, by_most = recap.rows
        hardest = cols.index[None, :] == at[:, None]
        weight = jnp.where(blocks.positive_pairs(rows, cols), by_right[:, None], 0.0)
        weight += jnp.where(hardest, by_most[:, None], 0.0)
        logit = blocks.logits(rows, cols, shared)
        return jnp.where(blocks.valid_pairs(rows, cols), weight * logit, 0.0).sum()

    def finish(self, stats):
        right, most, _ = stats.rows
        some = jnp.isfinite(most)
        margin = self.margin + jnp.where(some, most, 0.0) - right
        return jnp.where(some, jax.nn.relu(margin), 0.0).sum(), jnp.zeros(())


molphenix_jax.register(
    "loss", "hardest", LossSpec("margin to the most alike", Hardest, {"margin": 2.0})
)
"""


@pytest.fixture
def hardest(tmp_path):
    (tmp_path / "hardest.py").write_text(HARDEST)
    assert plugins.load([str(tmp_path / "hardest.py")]) == [
        f"plugin {tmp_path / 'hardest.py'}: loss hardest"
    ]
    yield "hardest"
    plugins.unload()
    assert "hardest" not in LOSSES


def evaluated(execution, batch, **options):
    """Value and gradients in z_x, z_m, scale and bias."""
    loss = make_loss("hardest", **execution, **options)

    def run(z_x, z_m, scale, bias):
        return loss(z_x, z_m, scale=scale, bias=bias, mask=jnp.asarray(batch.mask))[0]

    step = jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2, 3)))
    return step(batch.z_x, batch.z_m, jnp.float32(cases.SCALE), jnp.float32(cases.BIAS))


def in_numpy(batch, margin):
    real = batch.real()
    logit = cases.SCALE * real.z_x.astype(np.float64) @ real.z_m.T.astype(np.float64)
    wrong = np.where(np.eye(len(logit), dtype=bool), -np.inf, logit).max(axis=1)
    return np.maximum(margin + wrong - np.diag(logit), 0).sum() / len(logit)


@pytest.mark.slow
@pytest.mark.parametrize("margin", [2.0, 0.5])
def test_its_state_goes_from_tile_to_tile_and_device_to_device(hardest, margin):
    batch = cases.make_batch()
    dense = evaluated({}, batch, margin=margin)
    np.testing.assert_allclose(dense[0], in_numpy(batch, margin), rtol=1e-5)
    assert np.abs(dense[1][0]).max() > 0
    for execution in (
        *({"execution": "chunked", "chunk_size": size} for size in (1, 5, 24)),
        *({"execution": "ring", "mesh": cases.ring_of(devices)} for devices in (2, 8)),
        {"execution": "ring", "mesh": cases.ring_of(4), "chunk_size": 4},
    ):
        for ours, expected in zip(
            jax.tree.leaves(evaluated(execution, batch, margin=margin)),
            jax.tree.leaves(dense),
            strict=True,
        ):
            np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


def test_a_new_margin_is_an_option_with_its_default(hardest):
    batch = cases.make_batch()
    assert evaluated({}, batch)[0] == evaluated({}, batch, margin=2.0)[0]
    with pytest.raises(ValueError, match="no option margins; its options: margin"):
        make_loss("hardest", margins=1.0)


@pytest.mark.parametrize(
    ("kind", "name", "spec", "message"),
    [
        ("losses", "mine", None, "there is no kind of part 'losses'; choose one of loss, head"),
        ("loss", "clip", LossSpec("", PairSum), "loss 'clip' is taken"),
        ("loss", "my loss", LossSpec("", PairSum), "'my loss': a name begins with a letter"),
        ("loss", "", LossSpec("", PairSum), "a name begins with a letter"),
        ("loss", "mine", PairSum, "loss 'mine': must be a LossSpec, got "),
        ("loss", "mine", LossSpec("", "clip"), "build must be a function"),  # pyright: ignore
        ("loss", "mine", LossSpec("", PairSum, ["a"]), "options must map"),  # pyright: ignore
        ("loss", "mine", LossSpec("", PairSum, uses=("profiles",)), "uses names profiles"),
    ],
)
def test_what_cannot_be_registered_is_a_sentence(kind, name, spec, message):
    before = list(LOSSES)
    with pytest.raises(PartError, match=message):
        molphenix_jax.register(kind, name, spec)
    assert list(LOSSES) == before


@pytest.mark.parametrize(
    ("built", "message"), [(3, "has no separable, partial"), ([], "neither a function nor a kern")]
)
def test_a_spec_that_builds_no_kernel_is_a_sentence(built, message):
    molphenix_jax.register("loss", "mine", LossSpec("", lambda: built))
    try:
        with pytest.raises(ValueError, match=message):
            make_loss("mine")
    finally:
        molphenix_jax.parts.forget([("loss", "mine")])
