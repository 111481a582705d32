"""The held-out perturbations of each fold of a run, with their molecule embeddings."""

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Shaped

from molphenix_jax.errors import InputError
from molphenix_jax.retrieval.model import NO_HELD_OUT, Model, load_folds
from molphenix_jax.trained.held_out import HeldOut
from molphenix_jax.wells.conditions.values import Conditions

ACTIVE_P, INACTIVE_P = 0.01, 0.9  # of replicate consistency (paper Fig. 6 and App. E.1)


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One model and the perturbations that it did not learn from.

    Attributes:
        model: The model.
        held: Its held-out perturbations.
    """

    model: Model
    held: HeldOut

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

    def embed(self, held: HeldOut) -> Float[np.ndarray, "h e"]:
        """z_m of perturbations, this fold's or another's, each at its dose and condition.

        A dose that this fold's training lacks counts as the nearest, as in its evaluation.
        """
        z = np.zeros((len(held), self.model.width), np.float32)
        for c in np.unique(held.condition):
            rows = np.flatnonzero(held.condition == c)
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                z[rows] = self.model.embed_molecules(
                    held.smiles[rows].tolist(),
                    concentration_um=held.concentration_um[rows],
                    conditions=self.levels(int(c)),
                )
        return z


def folds_of(run: pathlib.Path) -> list[Fold]:
    """The folds of a run, or its one model.

    Raises:
        InputError: A model takes images or embeddings of molecules from a file, or keeps no
            held-out perturbations.
        ModelError: There is no model.
    """
    found = []
    for model in load_folds(run):
        if model.held_out is None or not len(model.held_out):
            raise InputError(f"{model.path}: {NO_HELD_OUT}; give the run of folds that it refits")
        if model.needs_embeddings:
            raise InputError(
                f"{model.path} takes embeddings of molecules from a file: figures are made of runs "
                "with blocks of this package"
            )
        model.need_profiles()
        found.append(Fold(model, model.held_out))
    return found
