"""Where the data of an alignment run lives: in tables on the devices, or on the host or disk.

On the devices, a batch is a few indices and the step gathers what they point to. What does not fit
there streams: the host reads the same rows and the batch brings them. Either way the loss sees the
same `Pairs`, to the last bit.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from molphenix_jax.losses import LOSSES
from molphenix_jax.phenomics import aggregate
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.screens.sampling import Batch, Sampler
from molphenix_jax.screens.screen import (
    FeatureBlock,
    PackedBlock,
    Screen,
    replicate_rows,
    stored_array,
    unpacked_rows,
)
from molphenix_jax.screens.splits import Split

GIB = 2**30

# Of a device's memory: parameters, optimizer and activations need the rest.
TABLE_SHARE = 0.5


class Tables(NamedTuple):
    """What the loss gathers from. n wells, p perturbations, m molecules."""

    replicates: Any  # [n, d], rows spread over the devices
    profile: Any  # [p, d], rows spread; None where the loss compares no profiles
    blocks: Any  # name → [m, k], rows spread; bits packed
    molecule: Any  # [p], on every device
    concentration_um: Any  # [p], on every device
    condition: Any  # [p], on every device


class Pairs(NamedTuple):
    """The data of one batch. b pairs with up to r replicates of d features."""

    replicates: Any  # [b, r, d]
    weight: Any  # [b, r]
    profile: Any  # [b, d] or None
    blocks: Any  # name → [b, k]; bits packed
    concentration_um: Any  # [b]
    condition: Any  # [b]


@dataclasses.dataclass(frozen=True)
class Feed:
    """The data of one run, for either placement.

    Attributes:
        screen: In memory or on disk.
        seen: True for the replicates that training may see.
        sampler: Makes the batches.
        blocks: Molecule feature blocks, bits packed.
        with_profile: Whether the loss compares mean profiles.
        placement: "device" or "stream".
        partner: Perturbation whose molecule, dose and condition each one is paired with [p]:
            itself, unless pairs are shuffled.
    """

    screen: Screen
    seen: Bool[np.ndarray, " n"]
    sampler: Sampler
    blocks: dict[str, FeatureBlock]
    with_profile: bool
    placement: str
    partner: Int[np.ndarray, " p"]

    def batch(self, drawn: Batch) -> Batch | Pairs:
        """What the host gives to a step: the indices that were drawn, or their data."""
        return drawn if self.placement == "device" else self._read(drawn)

    def _read(self, batch: Batch) -> Pairs:
        ids = batch.perturbation
        # All wells that training may see of these perturbations, for the profiles; the replicates
        # that were drawn are among them.
        places, of_pair = replicate_rows(self.sampler.offsets, ids)
        if self.with_profile:
            needed = np.unique(self.sampler.wells[places], return_inverse=True)
        else:
            needed = np.unique(batch.replicate, return_inverse=True)
        wells, position = needed
        data = self.screen.replicates[wells]
        profile = aggregate(data[position], of_pair, len(ids)) if self.with_profile else None
        told = self.partner[ids]
        molecule = self.screen.molecule[told]
        return Pairs(
            replicates=data[np.searchsorted(wells, batch.replicate)],
            weight=batch.weight,
            profile=profile,
            blocks={name: stored_array(block)[molecule] for name, block in self.blocks.items()},
            concentration_um=self.screen.concentration_um[told].astype(np.float32),
            condition=self.screen.condition[told].astype(np.int32),
        )

    def stored_blocks(self) -> dict[str, np.ndarray]:
        """The molecule feature blocks [m, k], bits packed."""
        return {name: stored_array(block) for name, block in self.blocks.items()}

    def host_tables(self) -> Tables:
        """The tables as NumPy arrays, for a single device."""
        p = self.screen.n_perturbations
        return Tables(
            replicates=self.screen.replicates[np.arange(self.screen.n_wells)],
            profile=self._profiles(0, p) if self.with_profile else None,
            blocks=self.stored_blocks(),
            molecule=self.screen.molecule[self.partner].astype(np.int32),
            concentration_um=self.screen.concentration_um[self.partner].astype(np.float32),
            condition=self.screen.condition[self.partner].astype(np.int32),
        )

    def place(self, mesh: Mesh) -> Tables | tuple[()]:
        """The tables on the devices; nothing where the run streams."""
        if self.placement == "stream":
            return ()
        screen, partner, float32 = self.screen, self.partner, np.dtype(np.float32)
        everywhere = meshes.replicated(mesh)
        dose = screen.concentration_um[partner].astype(np.float32)
        blocks = {}
        for name, block in self.blocks.items():
            table = stored_array(block)
            blocks[name] = meshes.place_rows(
                lambda start, stop, table=table: table[start:stop], table.shape, table.dtype, mesh
            )
        return Tables(
            replicates=meshes.place_rows(
                lambda start, stop: screen.replicates[np.arange(start, stop)],
                (screen.n_wells, screen.width),
                float32,
                mesh,
            ),
            profile=meshes.place_rows(
                self._profiles, (screen.n_perturbations, screen.width), float32, mesh
            )
            if self.with_profile
            else None,
            blocks=blocks,
            molecule=jax.device_put(screen.molecule[partner].astype(np.int32), everywhere),
            concentration_um=jax.device_put(dose, everywhere),
            condition=jax.device_put(screen.condition[partner].astype(np.int32), everywhere),
        )

    def shapes(self, mesh: Mesh) -> Tables | tuple[()]:
        """What `place` gives, as shapes and placement alone."""
        if self.placement == "stream":
            return ()
        screen, p = self.screen, self.screen.n_perturbations

        def spread(n_rows: int, width: int, dtype: Any = np.float32) -> jax.ShapeDtypeStruct:
            shape = (meshes.padded(n_rows, mesh), width)
            return jax.ShapeDtypeStruct(shape, dtype, sharding=meshes.rows(mesh))

        def everywhere(dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((p,), dtype, sharding=meshes.replicated(mesh))

        return Tables(
            replicates=spread(screen.n_wells, screen.width),
            profile=spread(p, screen.width) if self.with_profile else None,
            blocks={
                name: spread(len(table), table.shape[1], table.dtype)
                for name, table in self.stored_blocks().items()
            },
            molecule=everywhere(np.int32),
            concentration_um=everywhere(np.float32),
            condition=everywhere(np.int32),
        )

    def _profiles(self, start: int, stop: int) -> Float[np.ndarray, "k d"]:
        return self.screen.profiles(np.arange(start, stop), wells=self.seen)

    def unpack(self, name: str, block: Array) -> Float[Array, "b k"]:
        """Rows of a block as floats."""
        stored = self.blocks[name]
        if isinstance(stored, PackedBlock):
            block = jnp.unpackbits(block, axis=1, count=stored.width)
        return block.astype(jnp.float32)

    def rows(self, name: str, molecules: Int[np.ndarray, " k"]) -> np.ndarray:
        """Rows of a block on the host, unpacked: uint8 bits or floats."""
        return unpacked_rows(self.blocks[name], molecules)


def make_feed(
    config: Config, screen: Screen, split: Split, sampler: Sampler, mesh: Mesh
) -> tuple[Feed, str]:
    """The data of a run, where `data.placement` or their size puts it; and a sentence on that."""
    of, loss = config.data, config.loss
    compares = "profile" in LOSSES[loss.name].uses and loss.similarity_from == "profile"
    blocks = {name: screen.blocks[name] for name in sorted(screen.block_names)}
    placement, where = choose_placement(
        of.placement,
        table_bytes(screen, blocks, with_profile=compares),
        mesh,
        device_memory_gib=of.device_memory_gib,
    )
    partner = np.arange(screen.n_perturbations)
    if of.shuffle_pairs:
        rng = np.random.default_rng([config.seed, of.split_seed])
        visited = split.train if sampler.keep_inactive > 0 else sampler.active
        partner[visited] = rng.permutation(visited)
    return Feed(screen, ~split.withheld, sampler, blocks, compares, placement, partner), where


def gather(batch: Batch | Pairs, tables: Tables, mesh: Mesh) -> Pairs:
    """The data that a batch of indices points to; a batch that streamed is data already. Jitted."""
    if isinstance(batch, Pairs):
        return batch
    molecule = tables.molecule[batch.perturbation]
    take = lambda table, index: meshes.take_rows(table, index, mesh)  # noqa: E731
    return Pairs(
        replicates=take(tables.replicates, batch.replicate),
        weight=batch.weight,
        profile=None if tables.profile is None else take(tables.profile, batch.perturbation),
        blocks={name: take(block, molecule) for name, block in tables.blocks.items()},
        concentration_um=tables.concentration_um[batch.perturbation],
        condition=tables.condition[batch.perturbation],
    )


def table_bytes(screen: Screen, blocks: dict[str, FeatureBlock], *, with_profile: bool) -> int:
    """Size of all tables together."""
    rows = screen.n_wells + (screen.n_perturbations if with_profile else 0)
    stored = sum(stored_array(block).nbytes for block in blocks.values())
    return 4 * screen.width * rows + stored + 12 * screen.n_perturbations


def choose_placement(
    wanted: str, n_bytes: int, mesh: Mesh, *, device_memory_gib: float
) -> tuple[str, str]:
    """Where the tables go, and a sentence with the sizes.

    Args:
        wanted: auto, device or stream.
        n_bytes: Size of the tables.
        mesh: Devices.
        device_memory_gib: Memory of a device; 0 asks the device.
    """
    each = n_bytes / mesh.devices.size
    memory = device_memory_gib * GIB or meshes.memory_per_device(mesh)
    n = mesh.devices.size
    sizes = (
        f"{each / GIB:.3g} GiB of profiles and molecule features for each of {n} "
        f"device{'s' * (n > 1)} with {memory / GIB:.3g} GiB"
    )
    if wanted == "stream":
        return "stream", f"data.placement=stream: {sizes} stay on the host"
    if wanted == "device":
        return "device", f"data.placement=device: {sizes} live there"
    if each <= TABLE_SHARE * memory:
        return "device", f"{sizes} live there"
    return "stream", (
        f"{sizes} are more than {TABLE_SHARE:.0%} of the memory: they stream from the host"
    )
