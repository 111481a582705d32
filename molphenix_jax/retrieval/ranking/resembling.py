"""Molecules against profiles: which wells a molecule resembles, and from which dose on it acts.

A molecule is predicted active at a dose where it lies far enough from the control profiles in the
model's space (`activity`). Its onset is the lowest dose from which on every higher one is active.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.files import Molecules
from molphenix_jax.retrieval.hits import Column, add_curves, made_by, write_table
from molphenix_jax.retrieval.model import Model
from molphenix_jax.retrieval.molecule_names import name_column
from molphenix_jax.retrieval.ranking.activity import activity_rule
from molphenix_jax.retrieval.ranking.domain import Domain
from molphenix_jax.retrieval.ranking.null import NullEmbeddings, empirical_p
from molphenix_jax.retrieval.ranking.queries import Queries, null_wells
from molphenix_jax.trained.folder import ModelError

# Of `Resembling.profiles`, in the order in which files have them.
COLUMNS = {
    "id": Column("molecule", "Name of the molecule whose list this is."),
    "rank": Column("rank", "1 is the profile that the molecule resembles most."),
    "query": Column("profile", "What the wells are of."),
    "cosine": Column(
        "cosine", "Similarity of molecule and profile in the space of the model, from -1 to 1."
    ),
    "best_dose_um": Column("dose, µM", "The concentration at which the molecule is most similar."),
    "p_value": Column(
        "p", "Share of control profiles that are as similar to the molecule; small is good."
    ),
    "name": Column("name", "Name of the wells in their file."),
    "smiles": Column("SMILES", "What is in the wells, in its standard form, where that is known."),
    "inchikey": Column("InChIKey", "Its key; two with one key are one molecule."),
    "concentration_um": Column("dose of the wells, µM", "Of what is in them."),
    "condition": Column("condition", "What else the wells differ by."),
    "wells": Column("wells", "How many the profile is the mean of."),
    "plates": Column("plates", "How many these are from."),
    "activity_p": Column(
        "activity p",
        "How likely as many control wells look as active; above 0.05 the profile looks inactive.",
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Resembling:
    """What molecules resemble.

    Attributes:
        molecules: A row for each: id (unique), smiles, inchikey, onset_um (NaN: predicted inactive
            at the highest dose, or there is no rule), `control_cosine_at_<dose>_um` (to the centre
            of the control profiles), nearest_smiles, nearest_tanimoto, in_domain, trained_on.
        profiles: A row for each (molecule, profile), each molecule's best first: `COLUMNS` and
            `curve`, k cosines at `doses_um`.
        rejected: Rows of the file of molecules that cannot be used: row, value, reason.
        rule: What counts as active, in words, or why there is no rule.
        cut: The cosine to the centre of control profiles below which a molecule counts as active;
            NaN where there is no rule.
        doses_um: k concentrations at which molecules were looked at, in µM, ascending.
        about: What made them, as pairs.
    """

    molecules: pd.DataFrame
    profiles: pd.DataFrame
    rejected: pd.DataFrame
    rule: str
    cut: float
    doses_um: tuple[float, ...]
    about: Mapping[str, Any]

    @property
    def has_rule(self) -> bool:
        """Whether anything is predicted active or inactive."""
        return not np.isnan(self.cut)

    def flat(self) -> pd.DataFrame:
        """The profiles as files have them: a column for each dose of the curves."""
        flat = pd.DataFrame(self.profiles[list(COLUMNS)])
        add_curves(flat, self.profiles["curve"].tolist(), self.doses_um)
        return flat

    def write(self, folder: str | pathlib.Path) -> list[pathlib.Path]:
        """Writes molecules.csv, .parquet and .sdf, profiles.csv and .parquet into a folder.

        Raises:
            StorageError: One cannot be written.
        """
        folder = pathlib.Path(folder)
        paths = write_table(folder, "molecules", self.molecules, structures=True)
        return paths + write_table(folder, "profiles", self.flat(), structures=False)


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
    told = rule.described if rule else no_rule
    return Resembling(
        table,
        profiles,
        rejected,
        told,
        rule.cut if rule else np.nan,
        tuple(doses.tolist()),
        made_by(model, profiles=f"{len(queries.table):,}", onset=told),
    )


def names_of(molecules: Molecules) -> list[str]:
    """What molecules are called, each differently: by their column of names, else by their rows."""
    column = name_column([str(name) for name in molecules.others.columns])
    given = molecules.others[column].tolist() if column else [""] * len(molecules.row)
    names = [text or f"row {row}" for text, row in zip(given, molecules.row, strict=True)]
    often = {name for name, n in collections.Counter(names).items() if n > 1}
    return [
        f"{name} (row {row})" if name in often else name
        for name, row in zip(names, molecules.row, strict=True)
    ]


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
        known["curve"] = similar[at].tolist()
        parts.append(known)
    return pd.concat(parts, ignore_index=True)
