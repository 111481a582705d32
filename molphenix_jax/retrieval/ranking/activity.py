"""Whether a molecule is predicted to do anything at a dose: its distance from control profiles.

The cosine of z_m to the centre of embedded control profiles falls as a molecule is predicted to act
more. Where active begins is learned from the model's held-out perturbations, whose replicates agree
beyond chance or do not.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from molphenix_jax.retrieval.model import NO_HELD_OUT, Model
from molphenix_jax.retrieval.ranking.calibration import fold_of_molecules
from molphenix_jax.retrieval.ranking.null import NullEmbeddings
from molphenix_jax.retrieval.ranking.queries import null_wells
from molphenix_jax.wells.conditions.values import Conditions

ACTIVE_P = 0.01  # of replicate consistency, as in evaluation
_FEWEST = 5  # held-out molecules of either kind
_REPLICATES = 4  # wells behind each control profile


@dataclasses.dataclass(frozen=True, eq=False)
class ActivityRule:
    """Active below a cosine to the centre of control profiles.

    Attributes:
        cut: That cosine.
        balanced: Mean of the shares of active and inactive held-out perturbations that are told
            right, each by a cut that was chosen without its molecule.
        described: All of it in words.
    """

    cut: float
    balanced: float
    described: str
    _model: Model

    def cosine(
        self, z_m: Float[np.ndarray, "*n e"], levels: Mapping[str, str]
    ) -> Float[np.ndarray, "*n"]:
        """Of molecules to the centre of the control profiles of a condition."""
        return z_m.astype(np.float64) @ centre_of_controls(self._model, levels)


def centre_of_controls(model: Model, levels: Mapping[str, str]) -> Float[np.ndarray, " e"]:
    """Where embedded control profiles of a condition lie, as a unit vector."""
    control = NullEmbeddings(model, null_wells(model, levels)).of(_REPLICATES)
    centre = control.mean(axis=0, dtype=np.float64)
    return centre / np.linalg.norm(centre)


def activity_rule(model: Model) -> tuple[ActivityRule | None, str]:
    """The rule of a model, or why there is none."""
    held = model.held_out
    if held is None:
        return None, f"no onset: {NO_HELD_OUT}. A fold of a run tells one"
    if model.needs_embeddings:
        return None, "no onset: the model takes embeddings of molecules that only their file has"
    if len(model.null_profiles) < 2:
        return None, "no onset: the training screen had no controls"
    known = ~np.isnan(held.p_value)
    active, molecule = held.p_value[known] <= ACTIVE_P, held.inchikey[known]
    sizes = [len(np.unique(molecule[active == kind])) for kind in (True, False)]
    if min(sizes) < _FEWEST:
        return None, (
            f"no onset: {sizes[0]} held-out molecules are active at some dose and {sizes[1]} "
            f"inactive, at least {_FEWEST} of each are needed"
        )
    cosine = _of_held_out(model)[known]
    cut, right = best_cut(cosine, active), np.zeros(len(cosine), bool)
    fold = fold_of_molecules(molecule)
    for k in np.unique(fold):
        left, rest = fold == k, fold != k
        right[left] = (cosine[left] < best_cut(cosine[rest], active[rest])) == active[left]
    balanced = float(np.mean([right[active].mean(), right[~active].mean()]))
    n_molecules = len(np.unique(molecule))
    described = (
        f"active below a cosine of {cut:.2f} to the centre of control profiles, which tells "
        f"{right[active].mean():.0%} of {active.sum()} active and {right[~active].mean():.0%} of "
        f"{(~active).sum()} inactive held-out perturbations right ({n_molecules} molecules)"
    )
    return ActivityRule(cut, balanced, described, model), ""


def _of_held_out(model: Model) -> Float[np.ndarray, " h"]:
    held = model.held_out
    assert held is not None
    conditions = Conditions.of_json(model.about["screen"]["conditions"])
    cosine = np.zeros(len(held))
    for c in np.unique(held.condition):
        at = np.flatnonzero(held.condition == c)
        levels = conditions.told(c)
        z_m = model.embed_molecules(
            held.smiles[at].tolist(),
            concentration_um=held.concentration_um[at],
            conditions={name: levels[name] for name in model.conditions},
        )
        cosine[at] = z_m.astype(np.float64) @ centre_of_controls(model, levels)
    return cosine


def best_cut(cosine: Float[np.ndarray, " h"], active: Bool[np.ndarray, " h"]) -> float:
    """The cosine below which most of the active and fewest of the inactive lie, each kind alike."""
    if active.all() or not active.any():
        return np.inf if active.all() else -np.inf
    order = np.argsort(cosine)
    of_active = np.cumsum(active[order]) / active.sum()
    of_inactive = np.cumsum(~active[order]) / (~active).sum()
    i = int(np.argmax(of_active - of_inactive))
    following = cosine[order][min(i + 1, len(order) - 1)]
    return float((cosine[order][i] + following) / 2)
