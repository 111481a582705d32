"""Exact search on accelerators: each device has its share of a block, and its best so far.

A block of the library is spread over the mesh by rows; every device scores its share for all
queries of the block and keeps what is best of all its shares. The host joins the devices' lists
once, at the end. Equal scores go to the lower molecule, then the lower dose, as on the host.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float32, Int

from molphenix_jax.retrieval.index.search import Block, Found
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.trained.sides import padded_size

ROWS = 32_768  # of a block, on each device; rows are molecules at a dose


def search_on_devices(
    blocks: Iterable[Block],
    queries: Float32[np.ndarray, "q d"],
    *,
    top: int,
    size: int,
    best_dose: bool,
    mesh: Mesh,
) -> Found:
    """As `search.search_blocks`, on the devices of a mesh.

    Args:
        blocks: In the order of their numbers.
        queries: Unit vectors.
        top: How many for each query.
        size: Molecules in a block at most, a multiple of the mesh's size.
        best_dose: A molecule comes once, at its best dose.
        mesh: Devices.
    """
    n, devices = len(queries), mesh.devices.size
    padded = np.zeros((padded_size(n, max(n, 1024)), queries.shape[1]), np.float32)
    padded[:n] = queries
    z = jax.device_put(padded, meshes.replicated(mesh))
    step = _step(mesh, top, best_dose)
    shape = (devices, len(padded), top)
    spread = meshes.rows(mesh)
    best: Any = (
        jax.device_put(np.full(shape, -np.inf, np.float32), spread),
        jax.device_put(np.full(shape, -1, np.int32), spread),
        jax.device_put(np.full(shape, -1, np.int32), spread),
    )
    for block in blocks:
        embeddings = np.zeros((size, *block.embeddings.shape[1:]), np.float32)
        embeddings[: len(block.embeddings)] = block.embeddings
        counts = np.arange(size) < len(block.embeddings)
        counts[block.dropped] = False
        given = jax.device_put((embeddings, counts), spread)
        best = step(best, *given, z, jnp.int32(block.start))
    return _joined(best, n, top)


def _joined(best: Any, n: int, top: int) -> Found:
    scores, molecule, dose = (np.concatenate(list(np.asarray(each)), axis=1)[:n] for each in best)
    # The last key is the first to sort by.
    order = np.lexsort((dose, molecule, -scores), axis=1)[:, :top]
    scores, molecule, dose = (
        np.take_along_axis(each, order, axis=1) for each in (scores, molecule, dose)
    )
    none = np.isneginf(scores)
    return Found(
        scores, np.where(none, -1, molecule).astype(int), np.where(none, -1, dose).astype(int)
    )


@functools.lru_cache(maxsize=8)
def _step(mesh: Mesh, top: int, best_dose: bool) -> Any:
    """One block more: what is best so far of each device."""

    def local(
        best: tuple[Array, Array, Array],
        embeddings: Float32[Array, "b k d"],
        counts: Bool[Array, " b"],
        queries: Float32[Array, "q d"],
        start: Int[Array, ""],
    ) -> tuple[Array, Array, Array]:
        rows, doses, _ = embeddings.shape
        first = start + jax.lax.axis_index(meshes.DATA_AXIS) * rows
        # Full products: a device's default would change which molecules come first.
        scores = jnp.einsum("qd,bkd->qbk", queries, embeddings, precision="highest")
        scores = jnp.where(counts[None, :, None], scores, -jnp.inf)
        if best_dose:
            chosen, flat = jnp.argmax(scores, axis=2), jnp.max(scores, axis=2)
        else:
            chosen, flat = None, scores.reshape(len(queries), rows * doses)
        found, column = jax.lax.top_k(flat, min(top, flat.shape[1]))
        if chosen is None:
            molecule, dose = column // doses, column % doses
        else:
            molecule, dose = column, jnp.take_along_axis(chosen, column, axis=1)
        new = (found, (first + molecule).astype(jnp.int32), dose.astype(jnp.int32))
        # Those of before come first, for they have the lower numbers.
        joined = [
            jnp.concatenate([old[0], add], axis=1) for old, add in zip(best, new, strict=True)
        ]
        kept, column = jax.lax.top_k(joined[0], top)
        others = [jnp.take_along_axis(each, column, axis=1) for each in joined[1:]]
        return kept[None], others[0][None], others[1][None]

    spread = P(meshes.DATA_AXIS)
    return jax.jit(
        jax.shard_map(
            local, mesh=mesh, in_specs=(spread, spread, spread, P(), P()), out_specs=spread
        )
    )
