"""How far a molecule lies from what a model has learned from."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from molphenix_jax.molecules import featurise, nearest_by_tanimoto
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
        self._model = model

    @functools.cached_property
    def _bits(self) -> np.ndarray:
        return featurise(self._smiles.tolist(), _FINGERPRINT)

    def nearest(self, smiles: Sequence[str], inchikey: Sequence[str]) -> Nearest:
        """Of n standardised molecules."""
        starts = range(0, len(self._smiles), _CHUNK)
        best, at = nearest_by_tanimoto(
            featurise(smiles, _FINGERPRINT), (self._bits[i : i + _CHUNK] for i in starts)
        )
        known = self._smiles[at] if len(self._smiles) else np.full(len(smiles), "", object)
        return Nearest(known, best.astype(np.float64), self._model.has_trained_on_keys(inchikey))
