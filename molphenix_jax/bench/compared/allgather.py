"""What a ring is compared with: every device gathers all molecules, as most contrastive code does.

The dense loss under jit, with rows sharded and columns wanted whole on every device; the rest
(which of the profiles are gathered, how column sums are reduced) is the compiler's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from molphenix_jax.losses import make_loss as make_dense


def make_partitioned_loss(
    name: str, *, mesh: jax.sharding.Mesh, axis: str = "data"
) -> Callable[..., Any]:
    """The dense loss, partitioned by the compiler with rows split and columns gathered.

    Args:
        name: of the loss.
        mesh: devices.
        axis: mesh axis of the batch.
    """
    dense = make_dense(name)
    everywhere = NamedSharding(mesh, PartitionSpec())

    def loss(z_x, z_m, **rest):
        z_m = jax.lax.with_sharding_constraint(z_m, everywhere)
        return dense(z_x, z_m, **rest)

    return loss
