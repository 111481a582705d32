"""Arrays that processes of a job give each other, bit for bit, through the devices."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Shaped, UInt8

from molphenix_jax.errors import InputError
from molphenix_jax.runtime.processes.job import current, everyone_says, first_says

# Each device holds what goes out at once twice.
_BYTES_AT_ONCE = 1 << 26
_SMALLEST = 1 << 10  # fewer are sent as so many


def of_first(tree: Any) -> Any:
    """Arrays of the first process, bit for bit, in place of this one's of the same shapes.

    Raises:
        InputError: They have other shapes or types: the processes do not read the same data.
    """
    job = current()
    if job is None:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    shapes = [[list(leaf.shape), str(leaf.dtype)] for leaf in leaves]
    if (theirs := first_says(shapes)) != shapes:
        raise InputError(
            f"{job.name(job.index)} reads other data than the first one: arrays of {shapes}, "
            f"and there {theirs}. All have to read the same files"
        )
    if not leaves:
        return tree
    given = _sent(_bytes(leaves), sum(leaf.nbytes for leaf in leaves), sender=0)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])[:-1]
    return structure.unflatten(
        [
            part.copy().view(leaf.dtype).reshape(leaf.shape)  # which aligns it
            for part, leaf in zip(np.split(given, ends), leaves, strict=True)
        ]
    )


def rows_of_all(own: Shaped[np.ndarray, "k ..."] | None) -> Shaped[np.ndarray, "n ..."]:
    """What all processes give, below each other in their order; of one that is alone its own.

    Args:
        own: Rows of this process, None of one that has none. Types and shapes of a row are the same
            in all.

    Raises:
        ValueError: They are not, or nobody has any.
    """
    told = everyone_says(None if own is None else [len(own), list(own.shape[1:]), str(own.dtype)])
    kinds = {(tuple(shape), dtype) for _, shape, dtype in (of for of in told if of is not None)}
    if len(kinds) != 1:
        raise ValueError(f"rows of one shape and type have to be given, got {sorted(kinds)}")
    if current() is None and own is not None:
        return own
    ((shape, dtype),) = kinds
    row = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    mine = _bytes([] if own is None else [own])
    parts = [
        _sent(mine, of[0] * row, sender=i) for i, of in enumerate(told) if of is not None and of[0]
    ]
    return np.concatenate([*parts, np.zeros(0, np.uint8)]).view(dtype).reshape(-1, *shape)


def _bytes(arrays: Sequence[np.ndarray]) -> UInt8[np.ndarray, " b"]:
    parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    return np.concatenate([*parts, np.zeros(0, np.uint8)])


def _sent(mine: UInt8[np.ndarray, " b"], n: int, *, sender: int) -> UInt8[np.ndarray, " n"]:
    """The `n` bytes of one process; what the others have is not looked at."""
    sends, parts = jax.process_index() == sender, []
    for start in range(0, n, _BYTES_AT_ONCE):
        here = min(_BYTES_AT_ONCE, n - start)
        # Of few sizes: each is a program of its own.
        piece = np.zeros(max(_SMALLEST, 1 << (here - 1).bit_length()), np.uint8)
        if sends:
            piece[:here] = mine[start : start + here]
        found = multihost_utils.broadcast_one_to_all(piece, is_source=sends)
        parts.append(np.asarray(found)[:here])
    return np.concatenate([*parts, np.zeros(0, np.uint8)])
