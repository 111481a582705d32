"""How far a molecule lies from what a model has learned from."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from molphenix_jax.molecules import featurise, tanimoto
from molphenix_jax.retrieval.model import Model

# From this Tanimoto similarity on (Morgan radius 2, 2,048 bits) to the nearest training molecule a
# molecule counts as near; recall on either side of it: docs/use.md, "Ranking".
IN_DOMAIN = 0.3
_FINGERPRINT = "morgan_r2"
_CHUNK = 4096  # training molecules compared at once


@dataclasses.dataclass(frozen=True, eq=False)
class Nearest:
    """The training molecule next to each of n molecules.

    Attributes:
        smiles: Of the training molecule; "" where the model has none.
        tanimoto: Similarity to it, from 0 to 1.
        trained_on: Whether the molecule, its stereo ignored, is a training molecule itself.
    """

    smiles: np.ndarray
    tanimoto: Float[np.ndarray, " n"]
    trained_on: Bool[np.ndarray, " n"]

    @property
    def in_domain(self) -> Bool[np.ndarray, " n"]:
        """Whether each is near enough to the training for its recall to hold."""
        return self.tanimoto >= IN_DOMAIN


class Domain:
    """The training molecules of a model."""

    def __init__(self, model: Model):
        table = model.molecules
        train = table.loc[table["split"] == "train"].drop_duplicates("inchikey")
        self._smiles = train["smiles"].to_numpy(object)
        self._keys = {str(key)[:14] for key in train["inchikey"]}

    @functools.cached_property
    def _bits(self) -> np.ndarray:
        return featurise(self._smiles.tolist(), _FINGERPRINT)

    def has_trained_on(self, inchikey: Sequence[str]) -> Bool[np.ndarray, " n"]:
        """Which keys, their stereo ignored, are those of training molecules."""
        return np.array([bool(key) and key[:14] in self._keys for key in inchikey], bool)

    def nearest(self, smiles: Sequence[str], inchikey: Sequence[str]) -> Nearest:
        """Of n standardised molecules."""
        best, at = np.zeros(len(smiles)), np.zeros(len(smiles), np.int64)
        bits = featurise(smiles, _FINGERPRINT)
        for start in range(0, len(self._smiles), _CHUNK):
            similar = tanimoto(bits, self._bits[start : start + _CHUNK])
            column = similar.argmax(axis=1)
            value = similar[np.arange(len(smiles)), column]
            at = np.where(value > best, start + column, at)
            best = np.maximum(best, value)
        known = self._smiles[at] if len(self._smiles) else np.full(len(smiles), "", object)
        return Nearest(known, best, self.has_trained_on(inchikey))
