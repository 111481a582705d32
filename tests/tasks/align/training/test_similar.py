"""What a run takes for similar, on the tiny screen."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.losses.blocks import Shared, Side
from molphenix_jax.losses.similarity import ArctanL2
from molphenix_jax.runtime.progress import console
from molphenix_jax.tasks.align.training.assets import SimilarAssets
from molphenix_jax.tasks.align.training.tables import gather
from tests import tiny


def make_run(cache, folder, **changes):
    task, _ = tiny.make(tiny.config(cache, **changes), folder)
    with console.capture():
        return task.run(0, folder)


def w_of_batch(run, step):
    """w of a batch as the loss computes it."""
    batch, tables = jax.tree.map(jnp.asarray, (run.batch(step), run.tables))
    profile = run.similar.coordinates(gather(batch, tables, run.mesh).profile)
    n = len(profile)
    side = Side(jnp.zeros((n, 1)), profile, jnp.arange(n), jnp.ones(n, bool))
    c = jnp.float32(run.similar.null_constant)
    shared = Shared(jnp.float32(1), jnp.float32(0), c, jnp.mean(profile, axis=0))
    options = run.similar.options
    w = ArctanL2(options["threshold"], options["null"])(side, side, shared)
    return np.asarray(w)


@pytest.mark.parametrize("null", ["screen", "pair"])
def test_a_share_of_the_pairs_of_batches_are_soft_positives(cache, tmp_path, null):
    run = make_run(
        cache,
        tmp_path,
        loss__soft_share=0.05,
        loss__replicate_correlation=0.2,
        loss__options__s2l__null=null,
    )
    w = np.stack([w_of_batch(run, step) for step in range(40)])
    np.testing.assert_array_equal(np.diagonal(w, axis1=1, axis2=2), 1.0)
    n = w.shape[1]
    beside = w[:, ~np.eye(n, dtype=bool)]
    assert np.mean(beside > 0) == pytest.approx(0.05, rel=0.15)
    # The bias starts where the mean target is the best answer to all pairs.
    params = run.init(jax.random.key(0))
    answer = 1 / (1 + math.exp(-float(params["params"]["bias"])))
    assert answer == pytest.approx(w.mean(), rel=0.1)
    said = next(note for note in run.notes if note.startswith("s2l"))
    assert f"{run.similar.soft.share:.2%} of the pairs" in said
    assert f"{0.05 * (n - 1):.2g} in a row of {n}" in said
    axes = run.similar.axes
    assert 0 < axes.shape[1] < run.screen.width
    assert any(f"the {axes.shape[1]} of {run.screen.width} directions" in x for x in run.notes)


def test_without_a_share_threshold_bias_and_profiles_are_those_of_the_config(cache, tmp_path):
    run = make_run(cache, tmp_path, loss__options__s2l__threshold=0.4)
    assert run.similar.options == dict(run.config.loss.options.s2l)
    assert run.similar.axes is None
    profile = jnp.ones((2, 3))
    assert run.similar.coordinates(profile) is profile
    bias = float(run.init(jax.random.key(0))["params"]["bias"])
    assert bias == pytest.approx(-math.log(run.batch_rows - 1))
    w = np.stack([w_of_batch(run, step) for step in range(40)])
    beside = w[:, ~np.eye(w.shape[1], dtype=bool)]
    assert run.similar.soft.share == pytest.approx(np.mean(beside > 0), rel=0.15, abs=0.003)


def test_gamma_and_zeta_move_the_first_bias(cache, tmp_path):
    changes = {"loss__options__s2l__gamma": 2.75, "loss__options__s2l__zeta": 1.0}
    run = make_run(cache, tmp_path, loss__soft_share=0.05, **changes)
    target = (1 + (run.batch_rows - 1) * run.similar.soft.mean) / run.batch_rows
    bias = float(run.init(jax.random.key(0))["params"]["bias"])

    def loss(b):
        return target * math.log1p(math.exp(-b)) + (2.75 - target) * math.log1p(math.exp(b))

    assert loss(bias) < min(loss(bias - 0.01), loss(bias + 0.01))


def test_where_no_direction_repeats_profiles_stay_as_they_are(cache, tmp_path):
    run = make_run(cache, tmp_path, loss__replicate_correlation=0.999)
    assert run.similar.axes is None
    told = next(note for note in run.notes if "as they are" in note)
    assert "along no direction do two wells" in told
    assert "(loss.replicate_correlation=0.999)" in told


def test_axes_and_threshold_are_those_of_the_checkpoint(cache, tmp_path):
    fields = {"loss__soft_share": 0.05, "loss__replicate_correlation": 0.2}
    run = make_run(cache, tmp_path / "a", **fields)
    stored = run.assets.null_constant
    assert isinstance(stored, SimilarAssets)
    assert stored.axes.shape == (run.screen.width,) * 2  # a checkpoint is read by shapes
    # Another processor: other last bits, and one direction more than here.
    turned = stored.axes.copy()
    turned[:, run.similar.axes.shape[1]] = turned[:, 0]
    theirs = stored._replace(axes=turned, soft=np.float32([0.4, 0.06, 0.05]))
    run.adopt(run.assets._replace(null_constant=theirs))
    assert run.similar.axes.shape[1] == np.any(stored.axes, axis=0).sum() + 1
    assert run.similar.options["threshold"] == pytest.approx(0.4)
    target = (1 + (run.batch_rows - 1) * 0.05) / run.batch_rows
    bias = float(run.init(jax.random.key(0))["params"]["bias"])
    assert bias == pytest.approx(math.log(target / (1 - target)), rel=1e-5)
    assert w_of_batch(run, 0)[w_of_batch(run, 0) > 0].min() >= 0.4


def test_without_a_share_and_axes_a_checkpoint_holds_c_alone(cache, tmp_path):
    run = make_run(cache, tmp_path)
    assert np.shape(run.assets.null_constant) == ()
    run.adopt(run.assets)
    assert run.similar.axes is None


def test_soft_positives_of_a_row_are_counted(cache, tmp_path):
    run = make_run(cache, tmp_path, loss__soft_share=0.1)
    batch, tables = jax.tree.map(jnp.asarray, (run.batch(0), run.tables))
    profile = run.similar.coordinates(gather(batch, tables, run.mesh).profile)
    w = w_of_batch(run, 0)
    expected = np.sum(w > 0, axis=1).mean() - 1
    assert expected > 0
    assert float(run.similar.soft_in_row(profile)) == pytest.approx(expected)
    _, metrics = run.loss(run.init(jax.random.key(0)), batch, tables, jax.random.key(1))
    assert float(metrics["soft_positives"]) == pytest.approx(expected)
