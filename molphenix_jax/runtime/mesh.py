"""The one place where a device mesh is made.

Its axis is of type Auto: Linen dropout and jraph.segment_sum raise under JAX's default, Explicit.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, Shaped

from molphenix_jax.memory import memory_of_process
from molphenix_jax.runtime.config import ConfigError

DATA_AXIS = "data"
# Of tables that a run gathers from: on the devices, or read by the host for each batch.
PLACEMENTS = ("auto", "device", "stream")


def make_mesh(n_devices: int = 0) -> Mesh:
    """A one-axis mesh over the first `n_devices` devices; 0 means all.

    Raises:
        ConfigError: More devices are asked for than there are, or not all of several processes.
    """
    devices = jax.devices()
    if n_devices > len(devices):
        raise ConfigError(f"train.devices={n_devices}, but there are {len(devices)} devices")
    if n_devices not in (0, len(devices)) and jax.process_count() > 1:
        raise ConfigError(
            f"train.devices={n_devices}, but {jax.process_count()} processes share all of their "
            f"{len(devices)} devices: leave it at 0, or start fewer processes"
        )
    n = n_devices or len(devices)
    return jax.make_mesh((n,), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices[:n])


def rows(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays whose first axis is spread over the mesh."""
    return NamedSharding(mesh, P(DATA_AXIS))


def stacked_rows(mesh: Mesh) -> NamedSharding:
    """Sharding of batches of several steps: arrays whose second axis is spread over the mesh."""
    return NamedSharding(mesh, P(None, DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, P())


def largest_axis(mesh: Mesh, shape: tuple[int, ...], *, first: int = 0) -> NamedSharding:
    """Sharding along the largest axis that the mesh divides, the last of equals; or none.

    Args:
        mesh: Devices.
        shape: Of the array.
        first: Axes before this one stay whole, as that of the members of an ensemble.
    """
    axes = [i for i in range(first, len(shape)) if shape[i] % mesh.devices.size == 0]
    axis = max(axes, key=lambda i: (shape[i], i), default=-1)
    return NamedSharding(mesh, P(*(DATA_AXIS if i == axis else None for i in range(len(shape)))))


def abstract(tree: Any, placement: Any) -> Any:
    """Shapes and types of arrays, placed; none is touched."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=placement), tree
    )


def describe(mesh: Mesh) -> str:
    """One line for the terminal: how many devices of what kind."""
    device = mesh.devices.flat[0]
    return f"{mesh.devices.size} × {device.device_kind} ({device.platform})"


def padded(n_rows: int, mesh: Mesh) -> int:
    """Rows of a table that are spread over the mesh: as many on each device."""
    return -(-n_rows // mesh.devices.size) * mesh.devices.size


def place_rows(
    read: Callable[[int, int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype, mesh: Mesh
) -> jax.Array:
    """A table whose rows are spread over the mesh: each device holds 1/size of them.

    Args:
        read: Gives rows start to stop of the table; asked only for rows of this process's devices.
        shape: Of the table; its rows are padded with zeros to a multiple of the mesh's size.
        dtype: Of the table.
        mesh: Devices.
    """
    n_rows = padded(shape[0], mesh)

    def part(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(n_rows)
        rows = read(start, min(stop, shape[0])) if start < shape[0] else np.zeros((0, *shape[1:]))
        missing = stop - start - len(rows)
        if not missing:
            return np.asarray(rows, dtype)
        return np.concatenate([rows, np.zeros((missing, *shape[1:]))]).astype(dtype)

    return jax.make_array_from_callback((n_rows, *shape[1:]), rows(mesh), part)


def take_rows(
    table: Shaped[Array, "n ..."], index: Int[Array, "b ..."], mesh: Mesh
) -> Shaped[Array, "b ..."]:
    """table[index] for a table from `place_rows` and an index whose first axis is spread as well.

    XLA would gather every row of the global batch on every device and then sum. Here each device's
    request passes around the ring, every device on its way fills in the rows that it holds, and
    after a full turn it is home: no device ever holds more than its share of table and batch.
    """
    n = mesh.devices.size
    if n == 1:
        return table[index]
    onward = [(i, (i + 1) % n) for i in range(n)]

    def local(block: jax.Array, wanted: jax.Array) -> jax.Array:
        first = jax.lax.axis_index(DATA_AXIS) * block.shape[0]

        def visit(_: int, travelling: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            wanted, found = travelling
            at = wanted - first
            here = (at >= 0) & (at < block.shape[0])
            mine = block[jnp.where(here, at, 0)]
            here = here.reshape(here.shape + (1,) * (mine.ndim - here.ndim))
            found = jnp.where(here, mine, found)
            return jax.lax.ppermute((wanted, found), DATA_AXIS, onward)

        # Of the block's own values, so that shard_map knows that it differs between devices.
        nothing = jnp.zeros_like(block[jnp.zeros_like(wanted)])
        return jax.lax.fori_loop(0, n, visit, (wanted, nothing))[1]

    spread = P(DATA_AXIS)
    return jax.shard_map(local, mesh=mesh, in_specs=(spread, spread), out_specs=spread)(
        table, index
    )


def memory_per_device(mesh: Mesh) -> int:
    """Bytes of memory of one device; devices of a CPU share the process's."""
    device = mesh.local_mesh.devices.flat[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return memory_of_process() // mesh.local_mesh.devices.size
