"""Molecules that a model cannot tell apart, since every feature that it is given is the same."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

_BYTES = 16


def row_digests(blocks: Sequence[np.ndarray]) -> UInt8[np.ndarray, "m 16"]:
    """A digest of each molecule's features: equal rows in all blocks, equal digests.

    Args:
        blocks: [m, k] each, at least one; bits or floats.
    """
    # Zeros of both signs are one number.
    rows = [np.ascontiguousarray(b if b.dtype == np.uint8 else b + 0.0) for b in blocks]
    digests = np.empty((len(rows[0]), _BYTES), np.uint8)
    for i in range(len(digests)):
        state = hashlib.blake2b(digest_size=_BYTES)
        for block in rows:
            state.update(block[i])
        digests[i] = np.frombuffer(state.digest(), np.uint8)
    return digests


def describe_ties(digests: UInt8[np.ndarray, "m 16"], features: Sequence[str]) -> list[str]:
    """A sentence on the molecules that share all their features; none where all differ.

    Args:
        digests: Of all molecules.
        features: What the features are, by name.
    """
    _, count = np.unique(digests, axis=0, return_counts=True)
    tied = int(count[count > 1].sum())
    if not tied:
        return []
    remedy = (
        ""
        if "morgan_chiral" in features
        else "; stereoisomers mostly, which the block morgan_chiral tells apart"
    )
    return [
        f"{tied:,} of {len(digests):,} molecules share all features "
        f"({', '.join(sorted(features))}) with another one: a model that sees no more cannot tell "
        f"them apart, and ties count against it{remedy}"
    ]
