"""The one place where a device mesh is made.

Its axis is of type Auto: Linen dropout and jraph.segment_sum raise under JAX's default, Explicit.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from molphenix_jax.runtime.config import ConfigError

DATA_AXIS = "data"


def make_mesh(n_devices: int = 0) -> Mesh:
    """A one-axis mesh over the first `n_devices` devices; 0 means all.

    Raises:
        ConfigError: More devices are asked for than there are.
    """
    devices = jax.devices()
    if n_devices > len(devices):
        raise ConfigError(f"train.devices={n_devices}, but there are {len(devices)} devices")
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


def describe(mesh: Mesh) -> str:
    """One line for the terminal: how many devices of what kind."""
    device = mesh.devices.flat[0]
    return f"{mesh.devices.size} × {device.device_kind} ({device.platform})"
