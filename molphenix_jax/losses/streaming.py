"""All pairs without the matrix of all pairs: a loss as a walk over tiles, or as a ring of devices.

A loss over n rows looks at n² pairs, but what it keeps of them is small: a log-sum-exp of each row,
a sum. So the matrix is never made. As in FlashAttention it is walked tile by tile, and what each
tile says (`Kernel.partial`) is merged into running statistics (`Kernel.merge`):

               columns (molecules)                 device 0   device 1   device 2
             ┌──────┬──────┬──────┐                ┌──────┐   ┌──────┐   ┌──────┐
    rows     │  →   │  →   │  → · │ row         rows│  0   │   │  1   │   │  2   │ stay
    (pro-    ├──────┼──────┼──────┤ statistics     ├──────┤   ├──────┤   ├──────┤
    files)   │  →   │  →   │  → · │           cols │  0   │ ← │  1   │ ← │  2   │ ← travel
             └──────┴──────┴──────┘                └──────┘   └──────┘   └──────┘
               ·      ·      ·  column statistics     └──────────→──────────┘

A ring is the same walk with the columns spread out. Each device keeps its rows and walks over the
block of columns that visits it, then hands that block on with `ppermute`, and with it whatever was
learnt about those columns. After as many steps as there are devices every block is home again, its
statistics complete. A chunked loss is a ring of one device.

The backward pass is the same walk once more, in the same order. Given the *final* statistics, each
tile knows its own part of the gradient (`Kernel.pullback`): gradients of rows stay, gradients of
columns travel home with their block. Nothing but the statistics is kept between the two passes.

Where pairs (or rows) do not depend on each other the final statistics of a tile are known at once,
and a chunked loss takes value and gradient in a single walk, with no logit computed twice
(`_at_once`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from molphenix_jax.losses import blocks

Execution = Literal["dense", "chunked", "ring"]
Summed = tuple[Float[Array, ""], Float[Array, ""]]
Visit = Callable[[Any, Any, blocks.Stats], blocks.Stats]

# Sides of a tile. On two CPU cores products of 1,024 rows are a fifth faster than those of 512, and
# larger ones no faster; in a ring, where eight devices may share 8,192 rows, a tile of 512 keeps
# what a device holds small. Where a tile must span all columns it has 128 rows.
TILE = 1024
RING_TILE = 512
STRIPE = 128
# On a GPU a tile has to be worth the start of its kernels. On an H200 at batch 65,536 S2L takes
# 1.19, 1.04 and 1.07 of dense's time for a pair with tiles of 2,048, 4,096 and 8,192 rows, SigLIP
# 1.16 and 1.13 with the last two; with 1,024 rows S2L takes 2.4. A tile of 8,192 holds .9 GiB.
GPU_TILE = 8192
GPU_STRIPE = 1024


class SummedKernel(blocks.Kernel, Protocol):
    """A kernel whose statistics end in a loss summed over rows."""

    @property
    def separable(self) -> Literal["pairs", "rows", "no"]:
        """Whether the loss is a plain sum over pairs, over rows, or neither."""
        ...

    def finish(self, stats: blocks.Stats) -> Summed:
        """The summed loss, and the sum of w over all pairs."""
        ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a reduction over pairs is carried out; see `make_loss`."""

    execution: Execution = "dense"
    chunk_size: int = 0
    mesh: jax.sharding.Mesh | None = None
    axis: str = "data"

    def __post_init__(self):
        if self.execution not in get_args(Execution):
            raise ValueError(
                f"execution must be one of {', '.join(get_args(Execution))}; got {self.execution!r}"
            )
        if self.chunk_size < 0:
            raise ValueError(f"chunk_size must be 0 (chosen here) or more, got {self.chunk_size}")
        if self.execution == "dense" and self.chunk_size:
            raise ValueError("chunk_size has no meaning under execution 'dense'; use 'chunked'")
        if self.execution == "ring":
            if self.mesh is None:
                raise ValueError("execution 'ring' needs mesh=, the devices that form it")
            if self.axis not in self.mesh.shape:
                axes = ", ".join(self.mesh.shape)
                raise ValueError(f"the mesh has no axis {self.axis!r}; its axes: {axes}")

    @property
    def devices(self) -> int:
        """Devices that share the batch."""
        return self.mesh.shape[self.axis] if self.execution == "ring" and self.mesh else 1

    @property
    def tile(self) -> int:
        """Side of a tile."""
        if jax.default_backend() == "gpu":
            return self.chunk_size or GPU_TILE
        return self.chunk_size or (RING_TILE if self.execution == "ring" else TILE)

    @property
    def stripe(self) -> int:
        """Rows of a tile that spans all columns."""
        return self.chunk_size or (GPU_STRIPE if jax.default_backend() == "gpu" else STRIPE)

    def check_rows(self, n: int) -> None:
        """Raises ValueError where n rows do not divide among the devices."""
        if n % self.devices:
            raise ValueError(
                f"{n} rows do not divide among the {self.devices} devices of axis {self.axis!r}; "
                f"pad the batch to a multiple of {self.devices} and pass mask="
            )


def reduce(
    kernel: blocks.Kernel,
    rows: blocks.Side,
    cols: blocks.Side,
    shared: blocks.Shared,
    plan: Plan,
) -> blocks.Stats:
    """A kernel's statistics over all pairs, differentiable in z, scale and bias."""
    if plan.execution == "dense":
        return kernel.partial(rows, cols, shared)
    return _streamed(kernel, plan, rows, cols, shared)


def summed(
    kernel: SummedKernel,
    rows: blocks.Side,
    cols: blocks.Side,
    shared: blocks.Shared,
    plan: Plan,
) -> Summed:
    """A loss summed over rows, and the sum of w; differentiable in z, scale and bias."""
    if plan.execution == "chunked" and kernel.separable != "no":
        return _at_once(kernel, plan, rows, cols, shared)
    return kernel.finish(reduce(kernel, rows, cols, shared, plan))


# Two walks: statistics, then gradients. -----------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _streamed(kernel: blocks.Kernel, plan: Plan, rows, cols, shared) -> blocks.Stats:
    return statistics(kernel, rows, cols, shared, plan)


def statistics(
    kernel: blocks.Kernel,
    rows: blocks.Side,
    cols: blocks.Side,
    shared: blocks.Shared,
    plan: Plan,
    *,
    done: Array | None = None,
) -> blocks.Stats:
    """The first walk, begun after `done` (see `after`); not to be differentiated."""

    def walk(rows, cols, shared):
        def visit(rows, cols, stats):
            (row_side,), (col_side,) = rows, cols
            return kernel.merge(stats, kernel.partial(row_side, col_side, shared))

        return _travel(visit, (rows,), (cols,), after(kernel.empty(rows, cols), done), plan)

    return _on_devices(walk, plan)(rows, cols, shared)


def _streamed_fwd(kernel: blocks.Kernel, plan: Plan, rows, cols, shared):
    stats = _streamed(kernel, plan, rows, cols, shared)
    return stats, (rows, cols, shared, stats)


def _streamed_bwd(kernel: blocks.Kernel, plan: Plan, residuals, cotangent: blocks.Stats):
    rows, cols, shared, stats = residuals
    recap = kernel.recap(stats, cotangent)
    return cotangents(pulled_back(kernel, rows, cols, shared, recap, plan), rows, cols)


_streamed.defvjp(_streamed_fwd, _streamed_bwd)


def pulled_back(
    kernel: blocks.Kernel,
    rows: blocks.Side,
    cols: blocks.Side,
    shared: blocks.Shared,
    recap: blocks.Stats,
    plan: Plan,
    *,
    start: blocks.Stats | None = None,
) -> blocks.Stats:
    """The second walk: gradients of z by row and by column, of scale and bias in `total`.

    Args:
        kernel: the block mathematics.
        rows: as in the first walk.
        cols: as in the first walk.
        shared: as in the first walk.
        recap: what `kernel.recap` made of the final statistics and their cotangents.
        plan: how to walk.
        start: gradients to add to, for a chunked walk; None starts from zero.
    """

    def walk(rows, cols, shared, total):
        def visit(rows, cols, gradients):
            (row_side, row_recap), (col_side, col_recap) = rows, cols
            tile_recap = blocks.Stats(row_recap, col_recap, total)

            def pullback(*inputs):
                return kernel.pullback(
                    *_with_inputs(row_side, col_side, shared, inputs), tile_recap
                )

            here = jax.grad(pullback, argnums=(0, 1, 2, 3))(*_inputs(row_side, col_side, shared))
            return jax.tree.map(jnp.add, gradients, blocks.Stats(here[0], here[1], here[2:]))

        so_far = no_gradients(rows[0], cols[0]) if start is None else start
        return _travel(visit, rows, cols, so_far, plan)

    return _on_devices(walk, plan)((rows, recap.rows), (cols, recap.cols), shared, recap.total)


# One walk: value and gradient together. -----------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _at_once(kernel: SummedKernel, plan: Plan, rows, cols, shared) -> Summed:
    return kernel.finish(_streamed(kernel, plan, rows, cols, shared))


def _at_once_fwd(kernel: SummedKernel, plan: Plan, rows, cols, shared):
    value, gradients = value_and_gradients(kernel, rows, cols, shared, plan)
    return value, (gradients, rows, cols)


def _at_once_bwd(kernel: SummedKernel, plan: Plan, residuals, cotangent: Summed):
    del kernel, plan
    return scaled_cotangents(residuals, cotangent)


_at_once.defvjp(_at_once_fwd, _at_once_bwd)


def value_and_gradients(
    kernel: SummedKernel,
    rows: blocks.Side,
    cols: blocks.Side,
    shared: blocks.Shared,
    plan: Plan,
    *,
    done: Array | None = None,
) -> tuple[Summed, blocks.Stats]:
    """What `summed` gives, and its gradients, in a single chunked walk; not for separable "no".

    It begins after `done`, see `after`.
    """

    def visit(rows, cols, so_far):
        (row_side,), (col_side,) = rows, cols

        def value(*inputs):
            return kernel.finish(kernel.partial(*_with_inputs(row_side, col_side, shared, inputs)))

        value_here, here = jax.value_and_grad(value, argnums=(0, 1, 2, 3), has_aux=True)(
            *_inputs(row_side, col_side, shared)
        )
        here = blocks.Stats(here[0], here[1], (here[2:], value_here))
        return jax.tree.map(jnp.add, so_far, here)

    start = no_gradients(rows, cols)
    start = start._replace(total=(start.total, (jnp.zeros(()), jnp.zeros(()))))
    any_tile = kernel.separable == "pairs"
    walked = _sweep(
        visit,
        (rows,),
        (cols,),
        after(start, done),
        row_tile=plan.tile if any_tile else plan.stripe,
        col_tile=plan.tile if any_tile else cols.z.shape[0],
    )
    scalars, value = walked.total
    return value, walked._replace(total=scalars)


def after(start: Any, done: Array | None) -> Any:
    """The same start of a walk, but not made before the scalar `done` is known.

    The compiler puts work in the order that it likes, and makes the zeros that all walks start from
    before the first of them: as many arrays at once as there are walks. What is added here is 0,
    and no simplification finds out.
    """
    if done is None:
        return start
    zero = (done > 0.0).astype(jnp.int32) >> 1
    return jax.tree.map(lambda a: a + zero.astype(a.dtype), start)


# What is differentiated: z of both sides, scale and bias; all else is frozen. ---------------------


def _inputs(rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared) -> tuple[Array, ...]:
    return rows.z, cols.z, shared.scale, shared.bias


def _with_inputs(rows: blocks.Side, cols: blocks.Side, shared: blocks.Shared, inputs):
    z_row, z_col, scale, bias = inputs
    return rows._replace(z=z_row), cols._replace(z=z_col), shared._replace(scale=scale, bias=bias)


def scaled_cotangents(residuals, cotangent: Summed):
    """Gradients known at cotangent 1; the sum of w has none."""
    gradients, rows, cols = residuals
    return cotangents(jax.tree.map(lambda g: cotangent[0] * g, gradients), rows, cols)


def no_gradients(rows: blocks.Side, cols: blocks.Side) -> blocks.Stats:
    """Zero gradients of z (in float32, whatever z is), of scale and of bias."""
    return blocks.Stats(
        jnp.zeros(rows.z.shape, jnp.float32),
        jnp.zeros(cols.z.shape, jnp.float32),
        (jnp.zeros(()), jnp.zeros(())),
    )


def cotangents(gradients: blocks.Stats, rows: blocks.Side, cols: blocks.Side):
    """Gradients in the shape of the arguments; None, which custom_vjp takes for 0, where frozen."""
    frozen: Any = None

    def side(z: Array, like: blocks.Side) -> blocks.Side:
        return blocks.Side(z.astype(like.z.dtype), frozen, frozen, frozen)

    scale, bias = gradients.total
    return (
        side(gradients.rows, rows),
        side(gradients.cols, cols),
        blocks.Shared(scale, bias, frozen, frozen),
    )


# The walk. ----------------------------------------------------------------------------------------


def _on_devices(walk: Callable[..., blocks.Stats], plan: Plan) -> Callable[..., blocks.Stats]:
    """Runs walk(rows, cols, *shared) on each device's share of the rows and columns."""
    if plan.mesh is None or plan.execution != "ring":
        return walk
    split, same = PartitionSpec(plan.axis), PartitionSpec()

    def on_device(rows, cols, *shared):
        # Marked as varying, a scalar's gradient stays this device's part until the psum below;
        # otherwise differentiation would sum it over the devices in every tile.
        result = walk(rows, cols, *_varying(shared, plan))
        return result._replace(total=jax.lax.psum(result.total, plan.axis))

    def run(rows, cols, *shared):
        return jax.shard_map(
            on_device,
            mesh=plan.mesh,
            in_specs=(split, split, *(same for _ in shared)),
            out_specs=blocks.Stats(split, split, same),
        )(rows, cols, *shared)

    return run


def _travel(
    visit: Visit, rows: tuple, cols: tuple, start: blocks.Stats, plan: Plan
) -> blocks.Stats:
    """Brings every block of columns past these rows once; in a ring, from the other devices too."""
    sweep = functools.partial(_sweep, visit, row_tile=plan.tile, col_tile=plan.tile)
    if plan.execution != "ring":
        return sweep(rows, cols, start)
    n = plan.devices
    to_previous = [(i, (i - 1) % n) for i in range(n)]

    def step(_, state):
        cols, so_far = state
        so_far = sweep(rows, cols, so_far)
        cols, learnt = jax.lax.ppermute((cols, so_far.cols), plan.axis, to_previous)
        return cols, so_far._replace(cols=learnt)

    return jax.lax.fori_loop(0, n, step, (cols, _varying(start, plan)))[1]


def _varying(tree: Any, plan: Plan) -> Any:
    """The same values, typed as differing from device to device."""
    return jax.tree.map(lambda a: jax.lax.pcast(a, plan.axis, to="varying"), tree)


def _sweep(
    visit: Visit, rows: tuple, cols: tuple, start: blocks.Stats, *, row_tile: int, col_tile: int
) -> blocks.Stats:
    """Visits every tile of rows × cols, row by row, and returns the running result.

    `rows` and `cols` are tuples of pytrees of a common leading length, a `Side` first.
    """
    n, m = rows[0].z.shape[0], cols[0].z.shape[0]
    row_tile, col_tile = min(row_tile, n), min(col_tile, m)
    across = -(-m // col_tile)

    def step(at, so_far: blocks.Stats) -> blocks.Stats:
        row_at, col_at = (at // across) * row_tile, (at % across) * col_tile
        tile = visit(
            fresh(rows, row_at, row_tile),
            fresh(cols, col_at, col_tile),
            blocks.Stats(
                take(so_far.rows, row_at, row_tile),
                take(so_far.cols, col_at, col_tile),
                so_far.total,
            ),
        )
        return blocks.Stats(
            put(so_far.rows, tile.rows, row_at), put(so_far.cols, tile.cols, col_at), tile.total
        )

    return jax.lax.fori_loop(0, -(-n // row_tile) * across, step, start)


def take(tree: Any, at: Int[Array, ""], size: int) -> Any:
    """The tile at a row."""
    # A last tile that does not fit starts earlier: dynamic slices are clamped to the array.
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, at, size), tree)


def put(tree: Any, tile: Any, at: Int[Array, ""]) -> Any:
    """The tree with its tile at a row replaced."""
    return jax.tree.map(lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, at, 0), tree, tile)


def fresh(sides: tuple, at: Int[Array, ""], size: int) -> tuple:
    """The tile at a row of (side, …), with rows masked out that an earlier tile has seen."""
    first = jnp.minimum(at, sides[0].z.shape[0] - size)
    side, *others = take(sides, at, size)
    unseen = first + jnp.arange(size) >= at
    return (side._replace(mask=side.mask & unseen), *others)
