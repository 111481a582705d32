"""Features of some molecules, as a model was trained on: whether another RDKit makes the same ones.

A version alone tells nothing of what changed between two, and a model that is given away meets
many. Where a folder holds a probe, its features are what has to be the same.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from molphenix_jax.molecules import FINGERPRINTS, featurise_blocks
from molphenix_jax.storage import read_npz

MOLECULES = 32
_CLOSE = 1e-4  # of a number, relative: sums in another order


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """Molecules with their features.

    Attributes:
        smiles: n standard SMILES.
        blocks: Of each block its features [n, k], those of bits packed.
    """

    smiles: np.ndarray
    blocks: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, smiles: Sequence[str], blocks: Sequence[str]) -> "Probe":
        """Computes the features of some of the molecules, those blocks that are computed here."""
        distinct = list(dict.fromkeys(smiles))
        some = distinct[:: max(1, -(-len(distinct) // MOLECULES))]
        return cls(np.array(some, np.str_), _features(some, blocks))

    @functools.cached_property
    def difference(self) -> str:
        """What is not the same today, in words; "" where all is."""
        today = _features(self.smiles.tolist(), list(self.blocks))
        for name, was in self.blocks.items():
            now = today[name]
            if was.shape != now.shape:
                return f"block {name} has another width"
            same = np.isclose(now, was, rtol=_CLOSE, atol=_CLOSE, equal_nan=True).all(axis=1)
            if not same.all():
                return f"block {name} of {self.smiles[int((~same).argmax())]} is another"
        return ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as one NumPy archive."""
        arrays: dict[str, Any] = {"smiles": self.smiles, **self.blocks}
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Probe":
        """Reads what `save` wrote.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds something else.
        """
        found = dict(read_npz(path, what="features of molecules"))
        if "smiles" not in found or {len(array) for array in found.values()} != {
            len(found["smiles"])
        }:
            raise ValueError(f"{path}: holds no features of molecules")
        return cls(found.pop("smiles"), found)


def _features(smiles: list[str], blocks: Sequence[str]) -> dict[str, np.ndarray]:
    computed = [name for name in blocks if name in FINGERPRINTS]
    found = {}
    for name, block in featurise_blocks(smiles, computed).items():
        bits = block.dtype == np.uint8 and (not block.size or block.max() <= 1)
        found[name] = np.packbits(block, axis=1) if bits else block
    return found
