"""The training step of a config as the program of a pod: its memory, its messages, its work."""

import dataclasses
import json
import pathlib
from time import perf_counter as clock
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from molphenix_jax.errors import InputError
from molphenix_jax.memory import in_words
from molphenix_jax.pods.chips import Chip
from molphenix_jax.pods.collectives import Collective, collectives
from molphenix_jax.pods.described import Described
from molphenix_jax.pods.products import product_flops
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.optimizer import optimizer_of
from molphenix_jax.runtime.step import (
    count_parameters,
    jit_steps,
    make_step,
    make_steps,
    room,
)
from molphenix_jax.train import abstract_state

_REMEDY = "lower train.batch_size, widths and depths of the model, or take more chips"
_RING = "; loss.execution=ring never holds all pairs of a batch at once"


@dataclasses.dataclass(frozen=True)
class Program:
    """One update on one chip.

    Attributes:
        command: That compiles it.
        topology: It was compiled for.
        chips: Of the topology.
        rows: Of a global batch.
        parameters: Of one member.
        about: Where the sizes of the data are from.
        memory: Bytes of a chip: "arguments" (state, tables, batches), "temporary", "results" that
            take no argument's place, and "code".
        collectives: What the chips send to each other.
        flops: Operations of the matrix products, a chip's share.
        bytes_accessed: Of a chip's memory, as XLA counts: each body of a loop once.
        compile_seconds: Of tracing and compiling.
    """

    command: str
    topology: str
    chips: int
    rows: int
    parameters: int
    about: str
    memory: dict[str, int]
    collectives: list[Collective]
    flops: float
    bytes_accessed: float
    compile_seconds: float

    @property
    def memory_bytes(self) -> int:
        """All memory of a chip that the program takes."""
        return sum(self.memory.values())

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            **dataclasses.asdict(self),
            "collectives": [each._asdict() for each in self.collectives],
            "memory_bytes": self.memory_bytes,
        }


def read_programs(path: pathlib.Path) -> list[Program]:
    """The programs that a `--json` of `molphenix compile` holds.

    Raises:
        InputError: The file is missing, or none of these.
    """
    names = [field.name for field in dataclasses.fields(Program)]

    def program(told: dict[str, Any]) -> Program:
        values = {name: told[name] for name in names}
        values["collectives"] = [Collective(**each) for each in told["collectives"]]
        return Program(**values)

    try:
        told = json.loads(path.read_text())
        return [program(each) for each in (told if isinstance(told, list) else [told])]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no file that `molphenix compile --json={path}` wrote: write it anew"
        ) from error


def compile_step(
    config: Config, described: Described, mesh: Mesh, chip: Chip, *, topology: str, command: str
) -> Program:
    """Compiles what a dispatch of the training loop runs, and reads what it takes.

    Args:
        config: Of the run.
        described: Its data.
        mesh: Of the topology.
        chip: Of the topology.
        topology: Its name.
        command: To be kept with the numbers.

    Raises:
        InputError: It needs more memory than a chip has.
    """
    run, t = described.run, config.train
    tx = optimizer_of(run, t)
    state = abstract_state(run, tx, mesh, members=t.members, sharded=t.shard_state)
    spread = mesh if t.shard_state else None
    steps = make_steps(make_step(run, tx, members=t.members, seed=config.seed, spread=spread))
    n_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(described.batch))
    size, stacked = room(n_bytes), meshes.stacked_rows(mesh)
    batches = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype, sharding=stacked),
        described.batch,
    )
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=meshes.replicated(mesh))
    what = f"one step of {described.rows:,} rows on {topology}"
    remedy = _REMEDY + ("" if config.get("loss", {}).get("execution", "ring") == "ring" else _RING)
    began = clock()
    placed = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jit_steps(steps, mesh, described.tables, placed)
    traced = jitted.trace(state, batches, described.tables, count)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        told = next(line for line in str(error).splitlines() if "RESOURCE_EXHAUSTED" in line)
        reason = told.partition("RESOURCE_EXHAUSTED: ")[2]
        raise InputError(f"{what} does not fit a chip: {remedy}. libtpu says: {reason}") from error
    seconds = clock() - began
    told = compiled.memory_analysis()
    memory = {
        "arguments": told.argument_size_in_bytes,
        "temporary": told.temp_size_in_bytes,
        "results": told.output_size_in_bytes - told.alias_size_in_bytes,
        "code": told.generated_code_size_in_bytes,
    }
    if sum(memory.values()) > chip.memory:
        needs, has = in_words(sum(memory.values())), in_words(chip.memory)
        raise InputError(f"{what} would need {needs}, a chip has {has}: {remedy}")
    n = mesh.devices.size
    return Program(
        command=command,
        topology=topology,
        chips=n,
        rows=described.rows,
        parameters=count_parameters(run.shapes),
        about=described.about,
        memory=memory,
        collectives=collectives(compiled.as_text()),
        flops=product_flops(traced.jaxpr) / n,
        bytes_accessed=float(compiled.cost_analysis()["bytes accessed"]),
        compile_seconds=round(seconds, 1),
    )
