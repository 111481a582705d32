import jax
import jax.numpy as jnp
import numpy as np
import pytest

from molphenix_jax.runtime.optimizer import make_optimizer, train_fields
from molphenix_jax.runtime.run import Run
from molphenix_jax.runtime.step import finite_names, make_init, make_step


class Regression(Run):
    """y = x·kernel + bias; the smallest thing with an init and a loss."""

    def init(self, key):
        return {"kernel": jax.random.normal(key, (3,)), "bias": jnp.zeros(())}

    def loss(self, params, batch, tables, key):
        prediction = tables["x"][batch] @ params["kernel"] + params["bias"]
        return jnp.mean((prediction - tables["y"][batch]) ** 2), {}


@pytest.fixture
def tables():
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    return {"x": jnp.asarray(x), "y": jnp.asarray(x @ [1.0, -2.0, 0.5] + 3.0)}


def train_config(**changes):
    t = train_fields(steps=300, batch_size=8, learning_rate=0.1)
    t.update(
        warmup_steps=10,
        weight_decay=0.0,
        grad_clip=10.0,
        decay_rules=((r"/kernel$", True), (r"/bias$", False)),
    )
    t.update(changes)
    return t


def run_steps(tables, *, n, members=2, seed=0, **changes):
    run, config = Regression(), train_config(**changes)
    tx = make_optimizer(config, jax.eval_shape(run.init, jax.random.key(0)))
    state = make_init(run, tx, members=members, seed=seed)()
    step = jax.jit(make_step(run, tx, members=members, seed=seed))
    metrics = {}
    for i in range(n):
        state, metrics = step(state, jnp.arange(i % 4, 32, 4), tables)
    return state, metrics


@pytest.mark.slow
def test_every_member_learns_on_its_own(tables):
    state, metrics = run_steps(tables, n=300)
    assert int(state.step) == 300
    assert float(metrics["loss"]) < 1e-3
    for kernel in state.params["kernel"]:
        np.testing.assert_allclose(kernel, [1.0, -2.0, 0.5], atol=0.05)
    start, _ = run_steps(tables, n=0)
    assert not np.allclose(start.params["kernel"][0], start.params["kernel"][1])


@pytest.mark.slow
def test_a_member_does_not_depend_on_how_it_is_clipped_beside_others(tables):
    both, _ = run_steps(tables, n=5, members=2, grad_clip=0.1)
    run, config = Regression(), train_config(grad_clip=0.1)
    tx = make_optimizer(config, jax.eval_shape(run.init, jax.random.key(0)))
    params = jax.tree.map(lambda p: p[1], run_steps(tables, n=0)[0].params)
    opt_state = tx.init(params)
    for i in range(5):
        grads = jax.grad(lambda p, b: run.loss(p, b, tables, None)[0])(
            params, jnp.arange(i % 4, 32, 4)
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(both.params["kernel"][1], params["kernel"], rtol=1e-5)


def test_a_run_that_bounds_its_parameters_is_bounded_after_every_update(tables):
    class Bounded(Regression):
        def bounded(self, params):
            return {**params, "bias": jnp.minimum(params["bias"], 0.25)}

    run, config = Bounded(), train_config()
    tx = make_optimizer(config, jax.eval_shape(run.init, jax.random.key(0)))
    state = make_init(run, tx, members=2, seed=0)()
    step = jax.jit(make_step(run, tx, members=2, seed=0))
    for i in range(40):
        state, _ = step(state, jnp.arange(i % 4, 32, 4), tables)
    np.testing.assert_array_equal(state.params["bias"], 0.25)  # 3 without


def test_the_culprit_of_a_non_finite_step_is_named(tables):
    bad = {**tables, "y": tables["y"].at[0].set(jnp.inf)}
    _, metrics = run_steps(bad, n=1)
    names = finite_names(Regression().init(jax.random.key(0)))
    flags = dict(zip(names, np.asarray(metrics["finite"]), strict=True))
    assert flags == {
        "the loss": False,
        "the gradient of bias": False,
        "the gradient of kernel": False,
    }


def test_one_member_alone_is_trained_as_the_first_of_several(tables):
    alone, _ = run_steps(tables, n=5, members=1)
    run, config = Regression(), train_config()
    tx = make_optimizer(config, jax.eval_shape(run.init, jax.random.key(0)))
    start = make_init(run, tx, members=1, seed=0)()
    twice = jax.tree.map(lambda a: jnp.repeat(a, 2, 0) if a.ndim else a, start)
    step = jax.jit(make_step(run, tx, members=2, seed=0))
    for i in range(5):
        twice, _ = step(twice, jnp.arange(i % 4, 32, 4), tables)
    np.testing.assert_allclose(alone.params["kernel"][0], twice.params["kernel"][0], rtol=1e-5)


def test_weight_decay_reaches_only_what_the_rules_name(tables):
    still = {**tables, "x": tables["x"] * 0, "y": tables["y"] * 0 + 1.0}
    start, _ = run_steps(still, n=0)
    end, _ = run_steps(still, n=20, weight_decay=0.5)
    assert np.all(np.abs(end.params["kernel"]) < np.abs(start.params["kernel"]))
    assert np.all(end.params["bias"] > 0)
