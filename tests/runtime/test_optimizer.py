import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.runtime.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    check_training,
    clip_by_norm,
    decay_mask,
    global_norm,
    learning_rate,
    make_optimizer,
    train_fields,
    warmup_note,
)

PARAMS = {"kernel": jnp.asarray([1.0, -2.0]), "bias": jnp.asarray(3.0)}


def fields(**changes):
    t = train_fields(steps=100, batch_size=8, learning_rate=0.1)
    t.update(changes)
    return t


def walk(t, *, steps, gradient=1.0):
    """Sizes of the updates of the bias, whose gradient never changes."""
    tx = make_optimizer(t, PARAMS)

    def update(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(lambda p: p * 0 + gradient, params), state, params)
        return (optax.apply_updates(params, updates), state), -updates["bias"]

    walked = jax.jit(lambda: jax.lax.scan(update, (PARAMS, tx.init(PARAMS)), length=steps)[1])
    return np.asarray(walked())


@pytest.mark.slow
@pytest.mark.parametrize("max_norm", [0.1, 1e4])
def test_the_clip_is_that_of_optax(max_norm):
    rng = np.random.default_rng(0)
    shapes = {"kernel": (300, 200), "stack": (2, 3, 50), "bias": (70,), "scale": ()}
    gradients = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    ours, theirs = (
        tx.update(gradients, tx.init(gradients), gradients)[0]
        for tx in (clip_by_norm(max_norm), optax.clip_by_global_norm(max_norm))
    )
    for name in shapes:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


def test_the_norm_of_many_numbers_is_exact_to_float32():
    leaf = np.random.default_rng(0).normal(size=(2048, 1024)).astype(np.float32)
    exact = np.sqrt(np.square(leaf, dtype=np.float64).sum())
    np.testing.assert_allclose(
        jax.jit(global_norm)({"a": leaf, "b": jnp.float32(0)}), exact, rtol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_peaks_after_the_warm_up(optimizer, schedule):
    # With a constant gradient, Adam and Lion take steps of the learning rate itself.
    sizes = walk(fields(optimizer=optimizer, schedule=schedule, grad_clip=1e9), steps=100)
    assert sizes[10] == pytest.approx(0.1, rel=1e-2)
    assert np.all(np.diff(sizes[:10]) > 0)
    assert sizes.max() < 0.1 * 1.01
    if schedule == "constant":
        np.testing.assert_allclose(sizes[10:], 0.1, rtol=1e-3)
    else:
        assert np.all(np.diff(sizes[11:]) < 0)
        assert sizes[-1] < 0.003


def test_linear_falls_in_a_straight_line():
    sizes = walk(fields(schedule="linear", grad_clip=1e9), steps=100)
    assert sizes[55] == pytest.approx(0.05, rel=1e-2)


def test_learning_rate_rules_scale_the_updates_they_name():
    t = fields(lr_rules=((r"/bias$", 0.25),), weight_decay=0.0)
    plain, scaled = walk(fields(weight_decay=0.0), steps=3), walk(t, steps=3)
    np.testing.assert_allclose(scaled, plain * 0.25, rtol=1e-6)


@pytest.mark.slow
def test_adam_does_not_decay():
    decayed = make_optimizer(fields(optimizer="adamw", warmup_steps=0), PARAMS)
    free = make_optimizer(fields(optimizer="adam", warmup_steps=0), PARAMS)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    moved = [tx.update(zero, tx.init(PARAMS), PARAMS)[0]["kernel"] for tx in (decayed, free)]
    assert np.all(np.abs(moved[0]) > 0)
    np.testing.assert_array_equal(moved[1], 0.0)


def test_decay_rules_must_cover_every_parameter():
    params = {"head": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    rules = ((r"/kernel$", True), (r"/bias$", False))
    assert decay_mask(params, rules) == {"head": {"kernel": True, "bias": False}}
    with pytest.raises(ConfigError, match="no rule covers the parameter /head/bias"):
        decay_mask(params, rules[:1])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(4, 0), (50, 5), (100, 10), (101, 100)])
def test_a_training_no_longer_than_the_warmup_has_a_tenth_of_it(schedule, steps, warmup):
    t = fields(steps=steps, warmup_steps=100, schedule=schedule)
    assert not problems(t)
    assert learning_rate(t, warmup) == pytest.approx(0.1)
    assert warmup == 0 or learning_rate(t, warmup - 1) < 0.1
    note = f"train.warmup_steps=100 is no part of train.steps={steps}: {warmup} is taken"
    assert warmup_note(t) == ("" if warmup == 100 else note)


def problems(train) -> list[str]:
    checks = Checks(ml_collections.ConfigDict({"train": train}))
    check_training(checks)
    return checks.problems


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "train.steps=0"),
        ({"optimizer": "sgd"}, "choose one of adamw, adam, lion"),
        ({"schedule": "step"}, "choose one of cosine"),
        ({"schedule": "onecycle", "warmup_steps": 0}, "onecycle needs"),
        ({"b2": 1.0}, "train.b2=1.0"),
        ({"lr_rules": (("x", 0.0),)}, "the factor of 'x'"),
        ({"grad_clip": 0.0}, "train.grad_clip"),
    ],
)
def test_a_field_that_cannot_be_is_named(changes, said):
    assert not problems(fields())
    assert any(said in sentence for sentence in problems(fields(**changes)))
