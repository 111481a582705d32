"""The devices of a pod that is not there: libtpu compiles for them, and nothing can run on them."""

import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from molphenix_jax import extras
from molphenix_jax.errors import InputError, first_line
from molphenix_jax.pods.chips import CHIPS, Chip
from molphenix_jax.runtime.mesh import DATA_AXIS

# libtpu looks for a pod around this machine otherwise, and waits for it; and it refuses a second
# process, as two would use the same chips.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def pod_mesh(topology: str) -> tuple[Mesh, Chip]:
    """A one-axis mesh of all chips of a topology, and what one of them can do.

    Args:
        topology: `v5e:4x4`, `v5p:4x4x4` and so on.

    Raises:
        MissingExtraError: libtpu is not installed.
        InputError: There is no such topology.
    """
    from jax.experimental import topologies

    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise InputError(
            f"--topology={topology}: no chip {name!r}; give one of {', '.join(CHIPS)} and its "
            "shape, e.g. v5e:4x4"
        )
    os.environ.update(_ALONE)
    # A process that has looked for a backend has one by now.
    jax.config.update("jax_platforms", "cpu")
    extras.load("libtpu", extra="tpu-compile", what="compiling for TPUs")
    options = {"chip_config_name": CHIPS[name].config} if CHIPS[name].config else {}
    try:
        found = topologies.get_topology_desc(topology, platform="tpu", **options)
    except (jax.errors.JaxRuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"--topology={topology} is none that libtpu knows: {first_line(error)}"
        ) from error
    mesh = Mesh(np.array(found.devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))
    return mesh, CHIPS[name]
