"""The pure train step: state, one update of every ensemble member, finiteness flags; its jit."""

from collections.abc import Callable
from time import perf_counter as clock
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from molphenix_jax.memory import need_memory
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.optimizer import global_norm, square
from molphenix_jax.runtime.random import unrolled
from molphenix_jax.runtime.run import Params, Run

# Named random streams: one id each, never reused.
_INIT, _LOSS = 0, 1

# A dispatch has room for so many batches, and so many bytes of them: what it costs is small beside
# so many steps, and its batches beside the device's memory.
ROOM_STEPS = 16
ROOM_BYTES = 64 * 2**20


class State(NamedTuple):
    """Training state; every leaf but the step has a leading axis [members]."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState


def initial_params(run: Run, *, members: int, seed: int) -> Params:
    """Parameters before the first update, [members, …] each."""
    key = jax.random.fold_in(jax.random.key(seed), _INIT)
    return run.start(jax.vmap(run.init)(jax.random.split(key, members)))


def make_init(
    run: Run, tx: optax.GradientTransformation, *, members: int, seed: int
) -> Callable[[], State]:
    """The function () → initial state; pure, to be jitted."""

    def init() -> State:
        params = initial_params(run, members=members, seed=seed)
        return State(jnp.zeros((), jnp.int32), params, jax.vmap(tx.init)(params))

    return init


def state_shapes(run: Run, tx: optax.GradientTransformation, *, members: int) -> State:
    """Shapes and types of what `make_init` gives, without another trace of the model."""
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), run.shapes
    )
    return jax.eval_shape(
        lambda of: State(jnp.zeros((), jnp.int32), of, jax.vmap(tx.init)(of)), params
    )


def place_state(state: Any, mesh: Mesh, *, sharded: bool) -> Any:
    """Where each leaf of a state lies: whole on every device, or its largest axis spread.

    Moments have the shapes of their parameters and lie as they do.

    Args:
        state: Arrays or shapes; leaves but the step have a leading axis [members].
        mesh: Devices.
        sharded: `train.shard_state`.
    """
    if not sharded:
        return jax.tree.map(lambda _: meshes.replicated(mesh), state)
    return jax.tree.map(lambda leaf: meshes.largest_axis(mesh, leaf.shape, first=1), state)


def make_step(
    run: Run,
    tx: optax.GradientTransformation,
    *,
    members: int,
    seed: int,
    spread: Mesh | None = None,
) -> Callable[[State, Any, Any], tuple[State, dict[str, jax.Array]]]:
    """The train step (state, batch, tables) → (state, metrics); pure, to be jitted.

    Each member is a run of its own: own initialisation, own dropout, own gradient clip. The metric
    `finite` is a vector of flags in the order of `finite_names`.

    Args:
        run: Gives the loss.
        tx: The optimizer.
        members: Of the ensemble.
        seed: Of the loss's randomness.
        spread: Devices that a sharded state is spread over: parameters are gathered for the loss,
            and gradients and updates are computed where the moments lie.
    """

    def gathered(params):
        if spread is None:
            return params
        return jax.lax.with_sharding_constraint(params, meshes.replicated(spread))

    def scattered(grads):
        if (mesh := spread) is None:
            return grads
        placed = jax.tree.map(lambda leaf: meshes.largest_axis(mesh, leaf.shape), grads)
        return jax.lax.with_sharding_constraint(grads, placed)

    def member_step(params, opt_state, key, batch, tables):
        (loss, metrics), grads = jax.value_and_grad(run.loss, has_aux=True)(
            gathered(params), batch, tables, key
        )
        grads = scattered(grads)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = run.bounded(optax.apply_updates(params, updates))
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

    Batches are stacked, [room, batch, …], and so are the metrics that come back, [room]; the first
    n of both count. The loop's length is an argument, not a constant: a single program serves any
    n up to the room, so an update gives the same bits however many are dispatched with it.
    """
    # Traced once, for the shapes of its metrics and for the loop: half of a small run's start.
    step = jax.jit(step, inline=True)

    def steps(
        state: State, batches: Any, tables: Any, n: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        def batch_of(i: Any) -> Any:
            return jax.tree.map(lambda a: a[i], batches)

        room = jax.tree.leaves(batches)[0].shape[0]
        shapes = jax.eval_shape(step, state, batch_of(0), tables)[1]
        metrics = jax.tree.map(lambda m: jnp.zeros((room, *m.shape), m.dtype), shapes)

        def one(i: jax.Array, carry: Any) -> Any:
            state, metrics = carry
            state, new = step(state, batch_of(i), tables)
            return state, jax.tree.map(lambda all_, m: all_.at[i].set(m), metrics, new)

        return jax.lax.fori_loop(0, n, one, (state, metrics))

    return steps


def jit_steps(steps: Callable[..., Any], mesh: Mesh, tables: Any, placed_state: Any = None) -> Any:
    """The program of a dispatch, to be compiled: the state is given up, rows are spread.

    Args:
        steps: Of `make_steps`.
        mesh: Devices.
        tables: As the run places them, or their shapes and placement.
        placed_state: Of `place_state`; None: whole on every device.
    """
    everywhere = meshes.replicated(mesh)
    state = everywhere if placed_state is None else placed_state
    placed = jax.tree.map(lambda table: table.sharding, tables)
    return jax.jit(
        steps,
        donate_argnums=0,
        in_shardings=(state, meshes.stacked_rows(mesh), placed, everywhere),
        out_shardings=(state, everywhere),
    )


def room(n_bytes: int) -> int:
    """Batches of so many bytes, over all processes, that one dispatch has room for.

    A function of the batch alone, not of how many are asked for, so that one program serves any
    number of updates in a dispatch.
    """
    return max(1, min(ROOM_STEPS, ROOM_BYTES // max(n_bytes, 1)))


class Dispatch:
    """The jitted steps, compiled once for each shape of a batch.

    The batches of a dispatch are written into a room on the devices that always has the same size:
    one update and sixteen run through the same program, and so give the same bits.
    """

    def __init__(
        self, steps: Callable[..., Any], mesh: Mesh, tables: Any, placed_state: Any = None
    ):
        self._stacked, self._tables = meshes.stacked_rows(mesh), tables
        self._jitted = jit_steps(steps, mesh, tables, placed_state)
        self._write = jax.jit(_write_first, donate_argnums=0, out_shardings=self._stacked)
        self._memory = meshes.memory_per_device(mesh)
        self._compiled: dict[Any, Any] = {}
        self._room: tuple[Any, Any] = (None, None)  # shapes of a batch, arrays [room, batch, …]
        self.seconds_compiling = 0.0

    def __call__(self, state: State, batches: Any) -> tuple[State, dict[str, jax.Array]]:
        """One update for each of the batches [n, batch, …]; metrics come as [room, …]."""
        leaves, structure = jax.tree.flatten(batches)
        key = (structure, *((leaf.shape[1:], leaf.dtype) for leaf in leaves))
        n = len(leaves[0])
        size = room(sum(leaf.nbytes for leaf in leaves) // n)
        if n < size:
            batches = self._fill(key, size, batches)
        count = np.int32(n)
        if key not in self._compiled:
            began = clock()
            lowered = self._jitted.lower(state, batches, self._tables, count)
            self._compiled[key] = lowered.compile()
            self._need_memory(self._compiled[key], len(jax.tree.leaves(batches)[0][0]))
            self.seconds_compiling += clock() - began
        return self._compiled[key](state, batches, self._tables, count)

    def _need_memory(self, compiled: Any, rows: int) -> None:
        """Ends a step that needs more than a device has, where the compiler tells how much it is.

        Raises:
            InputError: It does; says how much, and what to lower.
        """
        analysis = compiled.memory_analysis()
        if analysis is None:
            return
        need_memory(
            f"one step of {rows:,} rows",
            analysis.temp_size_in_bytes + analysis.argument_size_in_bytes,
            "lower train.batch_size, train.members, or widths and depths of the model",
            there=self._memory,
        )

    def _fill(self, key: Any, size: int, batches: Any) -> Any:
        """The batches in a room of that size; what stands behind them counts for nothing."""
        of, filled = self._room
        if of != key:
            filled = jax.jit(
                lambda: jax.tree.map(lambda a: jnp.zeros((size, *a.shape[1:]), a.dtype), batches),
                out_shardings=self._stacked,
            )()
        filled = self._write(filled, batches)
        self._room = (key, filled)
        return filled


def _write_first(filled: Any, batches: Any) -> Any:
    return jax.tree.map(lambda all_, new: all_.at[: len(new)].set(new), filled, batches)


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
