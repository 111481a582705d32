"""The held-out perturbations of each fold of a run, with their molecule embeddings."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from molphenix_jax.errors import InputError
from molphenix_jax.retrieval.model import NO_HELD_OUT, Model, load_folds
from molphenix_jax.retrieval.molecules import Featurised
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.wells.conditions.values import Conditions

ACTIVE_P, INACTIVE_P = 0.01, 0.9  # of replicate consistency (paper Fig. 6 and App. E.1)


@dataclasses.dataclass(frozen=True, eq=False)
class Molecules:
    """Features of all held-out molecules of a run, made once for all folds and questions.

    Attributes:
        smiles: Standardised, each once, ascending.
        found: Their features, a row for each.
    """

    smiles: Shaped[np.ndarray, " m"]
    found: Featurised

    def of(self, smiles: Shaped[np.ndarray, " h"]) -> tuple[Featurised, Int[np.ndarray, " h"]]:
        """Features of some, each molecule once, and the place of each given one among them."""
        each, at = np.unique(smiles, return_inverse=True)
        rows = np.searchsorted(self.smiles, each)
        blocks = {name: block[rows] for name, block in self.found.blocks.items()}
        graphs = [self.found.graphs[row] for row in rows] if self.found.graphs else []
        return Featurised(np.arange(len(each)), blocks, graphs, {}), at


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One model and the perturbations that it did not learn from.

    Attributes:
        model: The model.
        held: Its held-out perturbations.
        molecules: Those of all folds.
    """

    model: Model
    held: HeldOut
    molecules: Molecules
    _embedded: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False)

    @property
    def active(self) -> Bool[np.ndarray, " h"]:
        """Whose replicates agree: p ≤ .01; what has no p-value is none."""
        return self.held.p_value <= ACTIVE_P

    @property
    def inactive(self) -> Bool[np.ndarray, " h"]:
        """Whose replicates agree no better than those of others: p ≥ .9."""
        return self.held.p_value >= INACTIVE_P

    @property
    def known(self) -> Bool[np.ndarray, " h"]:
        """That have a p-value at all."""
        return np.isfinite(self.held.p_value)

    @property
    def skeleton(self) -> Shaped[np.ndarray, " h"]:
        """Molecule of each, its stereo ignored."""
        return np.array([str(key)[:14] for key in self.held.inchikey])

    @functools.cached_property
    def conditions(self) -> Conditions:
        """Those of the screen."""
        return Conditions.of_json(self.model.about["screen"]["conditions"])

    def levels(self, condition: int) -> Mapping[str, str]:
        """What the model is told of a condition."""
        told = self.conditions.told(condition)
        return {name: told[name] for name in self.model.conditions}

    def embed(self, other: "Fold") -> Float[np.ndarray, "h e"]:
        """z_m of a fold's perturbations, each at its dose and condition, by this fold's model.

        A dose that this fold's training lacks counts as the nearest, as in its evaluation.
        """
        if id(other) not in self._embedded:
            held = other.held
            found, at = self.molecules.of(held.smiles)
            doses, which = np.unique(held.concentration_um, return_inverse=True)
            z = np.zeros((len(held), self.model.width), np.float32)
            for c in np.unique(held.condition):
                rows = np.flatnonzero(held.condition == c)
                levels = self.levels(int(c))
                made = self.model.embed_features(
                    found, concentrations_um=doses.tolist(), conditions=levels
                )
                z[rows] = made[at[rows], which[rows]]
            self._embedded[id(other)] = z
        return self._embedded[id(other)]


def folds_of(run: pathlib.Path) -> list[Fold]:
    """The folds of a run, or its one model.

    Raises:
        InputError: A model takes images or embeddings of molecules from a file, or keeps no
            held-out perturbations.
        ModelError: There is no model, or other versions than the installed made its features.
    """
    found: list[tuple[Model, HeldOut]] = []
    for model in load_folds(run):
        if model.held_out is None or not len(model.held_out):
            raise InputError(f"{model.path}: {NO_HELD_OUT}; give the run of folds that it refits")
        if model.needs_embeddings:
            raise InputError(
                f"{model.path} takes embeddings of molecules from a file: figures are made of runs "
                "with blocks of this package"
            )
        model.need_profiles()
        model.featuriser.need_same_featuriser()
        found.append((model, model.held_out))
    molecules = _featurised(found)
    return [Fold(model, held, molecules) for model, held in found]


def _featurised(folds: Sequence[tuple[Model, HeldOut]]) -> Molecules:
    """Features by the first model, whose blocks are those of all."""
    smiles = np.unique(np.concatenate([held.smiles for _, held in folds]))
    model = folds[0][0]
    found = model.featuriser.of_standard(smiles.tolist(), {})
    for row, why in found.errors.items():
        raise InputError(f"{model.path}: its held-out molecule {smiles[row]}: {why}")
    return Molecules(smiles, found)
