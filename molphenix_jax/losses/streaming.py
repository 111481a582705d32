"""Executions of a loss (streaming follows in the next commit)."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, get_args

import jax
from jaxtyping import Array, Float

from molphenix_jax.losses import blocks

Execution = Literal["dense", "chunked", "ring"]


class SummedKernel(blocks.Kernel, Protocol):
    """A kernel whose statistics end in a loss summed over rows."""

    def finish(self, stats: blocks.Stats) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The summed loss, and the sum of w over all pairs."""
        ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a reduction over pairs is carried out."""

    execution: Execution = "dense"
    chunk_size: int = 0
    mesh: jax.sharding.Mesh | None = None
    axis: str = "data"

    def __post_init__(self):
        if self.execution not in get_args(Execution):
            raise ValueError(
                f"execution must be one of {get_args(Execution)}, got {self.execution!r}"
            )
        if self.execution != "dense":
            raise NotImplementedError(self.execution)

    def check_rows(self, n: int) -> None:
        """Raises if n rows cannot be laid out."""


def reduce(kernel, rows, cols, shared, plan: Plan) -> blocks.Stats:
    """Statistics over all pairs."""
    return kernel.partial(rows, cols, shared)


def summed(kernel: SummedKernel, rows, cols, shared, plan: Plan):
    """The loss summed over rows and the sum of w."""
    return kernel.finish(reduce(kernel, rows, cols, shared, plan))
