"""Molecules against profiles: which wells a molecule resembles, and from which dose on it acts.

A molecule is predicted active at a dose where it lies far enough from the control profiles in the
model's space (`activity`). Its onset is the lowest dose from which on every higher one is active.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.files import Molecules
from molphenix_jax.retrieval.model import Model
from molphenix_jax.retrieval.ranking.activity import activity_rule
from molphenix_jax.retrieval.ranking.domain import Domain
from molphenix_jax.retrieval.ranking.null import NullEmbeddings, empirical_p
from molphenix_jax.retrieval.ranking.queries import Queries, null_wells
from molphenix_jax.tables.columns import COMPOUND_NAMES, normal
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.wells.names import NUMBERS


@dataclasses.dataclass(frozen=True, eq=False)
class Resembling:
    """What molecules resemble.

    Attributes:
        molecules: A row for each: id, smiles, inchikey, onset_um (NaN: predicted inactive at the
            highest dose, or there is no rule), `control_cosine_at_<dose>_um` (to the centre of the
            control profiles), nearest_smiles, nearest_tanimoto, in_domain, trained_on.
        profiles: A row for each (molecule, profile), best first: id, rank, query, cosine,
            concentration_um of the best dose, p_value, and what is known of the profile.
        rejected: Rows of the file of molecules that cannot be used: row, value, reason.
        rule: What counts as active, in words, or why there is no rule.
    """

    molecules: pd.DataFrame
    profiles: pd.DataFrame
    rejected: pd.DataFrame
    rule: str


def resemble(
    molecules: Molecules,
    queries: Queries,
    model: Model,
    *,
    doses_um: Sequence[float],
    top: int,
    conditions: Mapping[str, Any],
) -> Resembling:
    """Ranks profiles for molecules.

    Args:
        molecules: Of a file.
        queries: The profiles.
        model: The model.
        doses_um: At which molecules are looked at, in µM.
        top: Profiles for each molecule.
        conditions: That the model is told of molecules, if it is.

    Raises:
        ModelError: A dose or condition cannot be used, or no molecule can.
    """
    doses = np.sort(np.asarray(doses_um, np.float64))
    features = model.featuriser
    features.need_same_featuriser()
    features.need_outside({}, remedy="embeddings={'NAME': array}")
    features.told(conditions)
    model.warn_of_doses(doses)
    forms = standardise(molecules.smiles)
    why = np.array([text or "" for text in molecules.why(forms["error"].tolist())], object)
    readable = np.flatnonzero(why == "")
    found = features.of_standard(forms["smiles"].iloc[readable].tolist(), {})
    why[readable[list(found.errors)]] = "the model cannot take it: its graph is too large"
    usable, lost = np.flatnonzero(why == ""), np.flatnonzero(why != "")
    rejected = pd.DataFrame(
        {
            "row": np.array(molecules.row)[lost],
            "value": np.array(molecules.smiles, object)[lost],
            "reason": why[lost],
        }
    )
    if not len(usable):
        raise ModelError(
            f"none of {len(why)} molecules can be used; the first, row {molecules.row[0]}, "
            f"{molecules.smiles[0]!r}: {why[0]}"
        )
    known = forms.iloc[usable].reset_index(drop=True)
    z_m = model.embed_features(found, concentrations_um=doses.tolist(), conditions=conditions)
    standard = known["smiles"].tolist()
    z_x = model.embed_profiles(queries.profiles, corrected=True)
    names = np.array(names_of(molecules), object)[usable]
    table = pd.DataFrame(
        {"id": names, "smiles": standard, "inchikey": known["inchikey"].to_numpy(object)}
    )
    levels = {name: str(value) for name, value in conditions.items()}
    null = NullEmbeddings(model, null_wells(model, levels))
    rule, no_rule = activity_rule(model)
    near = rule.cosine(z_m, levels) if rule else np.full(z_m.shape[:2], np.nan)
    table["onset_um"] = onset(near < (rule.cut if rule else -np.inf), doses)
    for k, dose in enumerate(doses):
        table[f"control_cosine_at_{dose:g}_um"] = near[:, k]
    nearest = Domain(model).nearest(standard, table["inchikey"].tolist())
    table["nearest_smiles"], table["nearest_tanimoto"] = nearest.smiles, nearest.tanimoto
    table["in_domain"], table["trained_on"] = nearest.in_domain, nearest.trained_on
    profiles = _profiles(names, z_m, z_x, queries, null, doses, top)
    return Resembling(table, profiles, rejected, rule.described if rule else no_rule)


def names_of(molecules: Molecules) -> list[str]:
    """What molecules are called: by their column of names, else by their rows."""
    wanted = ("id", "name", *COMPOUND_NAMES, *NUMBERS)
    known = [name for name in molecules.others.columns if normal(name) in wanted]
    known.sort(key=lambda name: wanted.index(normal(name)))
    given = molecules.others[known[0]].tolist() if known else [""] * len(molecules.row)
    return [text or f"row {row}" for text, row in zip(given, molecules.row, strict=True)]


def onset(active: Bool[np.ndarray, "m k"], doses: Float[np.ndarray, " k"]) -> np.ndarray:
    """The lowest dose from which on all are active; NaN where the highest is not."""
    from_here = np.flip(np.logical_and.accumulate(np.flip(active, axis=1), axis=1), axis=1)
    first = np.where(from_here.any(axis=1), from_here.argmax(axis=1), 0)
    return np.where(from_here.any(axis=1), doses[first], np.nan)


def _profiles(
    names: np.ndarray,
    z_m: Float[np.ndarray, "m k e"],
    z_x: Float[np.ndarray, "q e"],
    queries: Queries,
    null: NullEmbeddings,
    doses: Float[np.ndarray, " k"],
    top: int,
) -> pd.DataFrame:
    """The profiles that each molecule resembles most, at its best dose."""
    n = min(top, len(z_x))
    wells = queries.table["wells"].to_numpy()
    parts = []
    for i, name in enumerate(names):
        similar = z_x @ z_m[i].T
        best, dose = similar.max(axis=1), similar.argmax(axis=1)
        at = np.argsort(-best, kind="stable")[:n]
        p_value = np.full(n, np.nan)
        if len(null) >= 2:
            for r in np.unique(wells[at]):
                same = wells[at] == r
                as_null = null.of(int(r)) @ z_m[i][dose[at[same]]].T
                p_value[same] = empirical_p(as_null, best[at[same]])
        known = queries.table.iloc[at].reset_index(drop=True)
        known.insert(0, "id", name)
        known.insert(1, "rank", np.arange(1, n + 1))
        known.insert(3, "cosine", best[at])
        known.insert(4, "best_dose_um", doses[dose[at]])
        known.insert(5, "p_value", p_value)
        parts.append(known)
    return pd.concat(parts, ignore_index=True)
