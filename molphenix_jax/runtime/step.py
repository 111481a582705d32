"""The pure train step: state, one update of every ensemble member, finiteness flags."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from molphenix_jax.runtime.optimizer import global_norm, square
from molphenix_jax.runtime.random import unrolled

Params = Any

# Named random streams: one id each, never reused.
_INIT, _LOSS = 0, 1


class Differentiable(Protocol):
    """The two functions of a run that the train step is made of."""

    def init(self, key: jax.Array) -> Params:
        """Initial parameters of one member."""
        ...

    def loss(
        self, params: Params, batch: Any, tables: Any, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Loss and scalar metrics of one member; jitted."""
        ...


class State(NamedTuple):
    """Training state; every leaf but the step has a leading axis [members]."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState


def make_init(
    run: Differentiable, tx: optax.GradientTransformation, *, members: int, seed: int
) -> Callable[[], State]:
    """The function () → initial state; pure, to be jitted or evaluated for its shapes."""

    def init() -> State:
        key = jax.random.fold_in(jax.random.key(seed), _INIT)
        params = jax.vmap(run.init)(jax.random.split(key, members))
        return State(jnp.zeros((), jnp.int32), params, jax.vmap(tx.init)(params))

    return init


def make_step(
    run: Differentiable, tx: optax.GradientTransformation, *, members: int, seed: int
) -> Callable[[State, Any, Any], tuple[State, dict[str, jax.Array]]]:
    """The train step (state, batch, tables) → (state, metrics); pure, to be jitted.

    Each member is a run of its own: own initialisation, own dropout, own gradient clip. The metric
    `finite` is a vector of flags in the order of `finite_names`.
    """

    def member_step(params, opt_state, key, batch, tables):
        (loss, metrics), grads = jax.value_and_grad(run.loss, has_aux=True)(
            params, batch, tables, key
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        flags = [jnp.isfinite(loss), *(jnp.isfinite(square(g)) for g in jax.tree.leaves(grads))]
        metrics = {**metrics, "loss": loss, "grad_norm": global_norm(grads)}
        return params, opt_state, metrics, jnp.stack(flags)

    def only_member(params, opt_state, key, *rest):
        # Without a batching rule in between: what is gathered or scattered in a loss stays simple.
        first = jax.tree.map(lambda a: a[0], (params, opt_state, key))
        return jax.tree.map(lambda a: a[None], member_step(*first, *rest))

    all_members = (
        only_member if members == 1 else jax.vmap(member_step, in_axes=(0, 0, 0, None, None))
    )

    def step(state: State, batch: Any, tables: Any) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _LOSS), state.step)
        params, opt_state, metrics, finite = all_members(
            state.params, state.opt_state, unrolled(jax.random.split(key, members)), batch, tables
        )
        metrics = jax.tree.map(lambda x: x.mean(), metrics)
        return State(state.step + 1, params, opt_state), {**metrics, "finite": finite.all(0)}

    return step


def make_steps(
    step: Callable[[State, Any, Any], tuple[State, dict[str, jax.Array]]],
) -> Callable[[State, Any, Any, jax.Array], tuple[State, dict[str, jax.Array]]]:
    """Several steps in one: (state, batches, tables, n) → (state, metrics), pure, to be jitted.

    Batches are stacked, [most, batch, …], and so are the metrics that come back, [most]; the first
    n of both count. The loop's length is an argument, not a constant: a single program serves any
    n, and since XLA cannot unroll it for some n and not for others, an update gives the same bits
    however many are dispatched with it.
    """

    def steps(
        state: State, batches: Any, tables: Any, n: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        def batch_of(i: Any) -> Any:
            # Between barriers, so that XLA moves no part of an update out of the loop where `most`
            # is 1 and the batch does not seem to depend on i.
            i, stacked = jax.lax.optimization_barrier((i, batches))
            return jax.lax.optimization_barrier(jax.tree.map(lambda a: a[i], stacked))

        most = jax.tree.leaves(batches)[0].shape[0]
        shapes = jax.eval_shape(step, state, batch_of(0), tables)[1]
        metrics = jax.tree.map(lambda m: jnp.zeros((most, *m.shape), m.dtype), shapes)

        def one(i: jax.Array, carry: Any) -> Any:
            state, metrics = carry
            state, new = step(state, batch_of(i), tables)
            return state, jax.tree.map(lambda all_, m: all_.at[i].set(m), metrics, new)

        return jax.lax.fori_loop(0, n, one, (state, metrics))

    return steps


def finite_names(params: Params) -> list[str]:
    """What the flags of `make_step` stand for: the loss, then the gradient of each parameter."""
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    return ["the loss"] + [
        "the gradient of " + jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in paths
    ]


def count_parameters(params: Params) -> int:
    """Number of trainable scalars."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
