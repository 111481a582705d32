"""How likely a list holds the true molecule: counted on molecules that the model never saw.

The model folder keeps held-out profiles with their molecules. Each is ranked against the library at
hand as a query is, with its own molecule put among the others; how often that comes into the list
is the chance, so that it is of this library, this length and these filters. It presumes that the
true molecule is in the library (and passes the filters). What a profile looks like moves the chance
only if that predicts left-out molecules better than the plain share does, beyond what as many
molecules give by accident.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.errors import InputError
from molphenix_jax.retrieval.index import Index
from molphenix_jax.retrieval.model import NO_HELD_OUT, Model
from molphenix_jax.retrieval.ranking.selecting import Listed, Wanted, select
from molphenix_jax.storage import read_csv
from molphenix_jax.wells.conditions.values import Conditions, differing

INACTIVE_P = 0.05  # above it a profile looks like control wells
FEWEST_MOLECULES = 10
# Fewer calibrate no curve: by the 21 to 24 of one model 12% held where it said 20 to 30%.
FEWEST_OF_CURVE = 50
_SURE = 1.96  # standard errors
_FOLDS, _SEED = 5, 0
_STRENGTH = 3.0  # of the ridge on standardised covariates, where each molecule counts once
_TIE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Chances:
    """What was counted, and what it says of a query.

    Attributes:
        found: Whether the list of each held-out profile held its molecule.
        molecule: Key of each one's molecule.
        says: The chance that was given to each without its molecule.
        described: All of it in words.
        share: The chance of a query whose looks tell nothing.
    """

    found: Bool[np.ndarray, " h"]
    molecule: np.ndarray
    says: Float[np.ndarray, " h"]
    described: str
    share: float
    _fitted: Any

    def of(
        self, profiles: Float[np.ndarray, "q d"], lists: Sequence[Listed]
    ) -> Float[np.ndarray, " q"]:
        """The chance of each query by its profile and its list."""
        if self._fitted is None or not len(profiles):
            return np.full(len(profiles), self.share)
        return self._fitted.predict_proba(covariates(profiles, lists))[:, 1]

    def reliability(self, edges: tuple[float, ...] = (0, 0.05, 0.1, 0.2, 0.4, 1)) -> pd.DataFrame:
        """Says against holds: profiles, molecules, says, holds, by what was said."""
        bins = pd.cut(self.says, list(edges), include_lowest=True)
        frame = pd.DataFrame({"says": self.says, "holds": self.found, "molecule": self.molecule})
        table = frame.groupby(bins, observed=True).agg(
            profiles=("says", "size"),
            molecules=("molecule", "nunique"),
            says=("says", "mean"),
            holds=("holds", "mean"),
        )
        return table.reset_index(drop=True)


def covariates(
    profiles: Float[np.ndarray, "q d"], lists: Sequence[Listed]
) -> Float[np.ndarray, "q 2"]:
    """What a chance may depend on: how far a profile is from the controls, how steep its list."""
    length = np.linalg.norm(profiles.astype(np.float64), axis=1)
    drop = [each.score[0] - each.score[-1] if len(each.score) else 0.0 for each in lists]
    return as_covariates(length, np.array(drop))


def as_covariates(
    length: Float[np.ndarray, " q"], drop: Float[np.ndarray, " q"]
) -> Float[np.ndarray, "q 2"]:
    """The same of profiles and lists whose length and drop are known."""
    return np.stack([np.log(np.maximum(length, 1e-12)), drop], axis=1)


def measure_chances(
    model: Model, index: Index, wanted: Wanted, *, skip: bool = False
) -> tuple[Chances | None, str]:
    """Counts how often the lists of held-out profiles hold their molecule.

    Returns:
        The chances, or why there are none.
    """
    held = model.held_out
    if skip:
        return None, "it was not asked for"
    if held is None:
        return (
            None,
            f"{NO_HELD_OUT}. A fold of a run tells one, and --chances=FILE that of all folds",
        )
    if model.needs_embeddings:
        return None, "the model takes embeddings of molecules that only their file has"
    known = _comparable(model, index) & ~(np.nan_to_num(held.activity_p) > INACTIVE_P)
    molecule = held.inchikey[known]
    if (n := len(np.unique(molecule))) < FEWEST_MOLECULES:
        return None, f"{n} held-out molecules are active, at least {FEWEST_MOLECULES} are needed"
    z = model.embed_profiles(held.profile[known], corrected=True)
    own = _own_score(model, index, z, held.smiles[known])
    lists = select(index, z, wanted)
    worst = np.array(
        [each.score[-1] if len(each.score) == wanted.top else -np.inf for each in lists]
    )
    found = own >= worst - _TIE
    curve = fit_curve(covariates(held.profile[known], lists), found, molecule)
    described = _described(curve, found, n, index, wanted)
    return Chances(found, molecule, curve.says, described, curve.mean, curve.fitted), ""


def _described(curve: "Curve", found: np.ndarray, n: int, index: Index, wanted: Wanted) -> str:
    from scipy.stats import beta

    if curve.fitted is not None:
        told = "more often far from the controls and where a list's first lead its last"
    else:
        low, high = beta.ppf([0.025, 0.975], curve.hits, curve.misses)
        told = f"so {curve.mean:.0%} [{low:.0%}, {high:.0%}] of such lists, "
        told += (
            f"whichever the profile: {n} molecules are too few to tell which, "
            f"{FEWEST_OF_CURVE} are needed; molphenix bench library asks those of all folds"
            if n < FEWEST_OF_CURVE
            else "and nothing tells which"
        )
    return (
        f"{int(found.sum())} of {len(found)} held-out profiles ({n} molecules) had their molecule "
        f"among the {wanted.top} of {len(index):,}, {told}"
    )


def chances_of_table(
    path: pathlib.Path, index: Index, wanted: Wanted
) -> tuple[Chances | None, str]:
    """Chances by what all folds of a run have found, each of molecules that it never saw.

    Args:
        path: What `molphenix bench library --table` wrote of this library.
        index: The library.
        wanted: What the lists hold.

    Returns:
        The chances, or why there are none.

    Raises:
        InputError: The file cannot be read, or was measured otherwise; it says how.
    """
    table = read_csv(path)
    needed = ("fold", "inchikey", "activity_p", "length", "drop", "rank", "gallery", "top", "doses")
    if missing := [name for name in needed if name not in table.columns]:
        raise InputError(
            f"{path}: no column {missing[0]!r}, which molphenix bench library RUN --table={path} "
            "writes"
        )
    if wanted.filtered or not wanted.best_dose:
        return None, f"{path} is of lists without filters, each molecule at its best dose"
    doses = ",".join(f"{dose:g}" for dose in index.doses_um)
    for what, measured, asked in (
        ("lists of", f"{table['top'].max()}", f"{wanted.top}"),
        ("doses of", str(table["doses"].iloc[0]), doses),
    ):
        if measured != asked:
            raise InputError(
                f"{path}: measured for {what} {measured}, and {asked} are asked for: run molphenix "
                "bench library again with the same --top and --concentrations"
            )
    gallery = int(table["gallery"].to_numpy().max(initial=0))
    if abs(gallery - len(index)) > 1 + len(index) // 100:
        raise InputError(
            f"{path}: measured among {gallery:,} molecules, and {index.path} has "
            f"{len(index):,}: run molphenix bench library with the library of this index"
        )
    kept = pd.DataFrame(table[~(table["activity_p"].fillna(0) > INACTIVE_P)])
    molecule = kept["inchikey"].to_numpy(str)
    if (n := len(np.unique(molecule))) < FEWEST_MOLECULES:
        return None, f"{path}: {n} molecules are active, at least {FEWEST_MOLECULES} are needed"
    found = kept["rank"].to_numpy() <= wanted.top
    x = as_covariates(kept["length"].to_numpy(float), kept["drop"].to_numpy(float))
    curve = fit_curve(x, found, molecule, fold=kept["fold"].to_numpy())
    described = f"{path}: {_described(curve, found, n, index, wanted)}"
    return Chances(found, molecule, curve.says, described, curve.mean, curve.fitted), ""


def _comparable(model: Model, index: Index) -> Bool[np.ndarray, " h"]:
    """Which held-out profiles are of the condition that the library was told."""
    held, told = model.held_out, index.about["conditions"]
    assert held is not None
    conditions = Conditions.of_json(model.about["screen"]["conditions"])
    fits = [not differing(conditions.told(c), told) for c in range(len(conditions))]
    return np.array(fits, bool)[held.condition]


def _own_score(
    model: Model, index: Index, z: Float[np.ndarray, "h e"], smiles: np.ndarray
) -> Float[np.ndarray, " h"]:
    """The cosine of each profile with its own molecule, at the best dose of the library."""
    unique, at = np.unique(smiles, return_inverse=True)
    z_m = model.embed_features(
        model.featuriser.of(unique.tolist(), {}, invalid="raise"),
        concentrations_um=index.doses_um.tolist(),
        conditions=index.about["conditions"],
    )
    return np.einsum("he,hke->hk", z, z_m[at]).max(axis=1)


def fold_of_molecules(molecule: np.ndarray) -> Int[np.ndarray, " h"]:
    """One of five folds for each row, the same for all rows of a molecule."""
    names = np.unique(molecule)
    fold = np.random.default_rng(_SEED).permutation(len(names)) % _FOLDS
    return fold[np.searchsorted(names, molecule)]


class Curve(NamedTuple):
    """How often lists held the molecule, as far as anything tells.

    Attributes:
        fitted: A logistic curve over all; None where molecules are few, or where it predicts no
            better than the share alone.
        says: The chance of each held-out profile, said without its molecule and fold.
        share: The same by the share alone.
        hits: Lists that held theirs, one more than there are; a molecule counts once.
        misses: The others, one more than there are.
    """

    fitted: Any
    says: Float[np.ndarray, " h"]
    share: Float[np.ndarray, " h"]
    hits: float
    misses: float

    @property
    def mean(self) -> float:
        """The share of all."""
        return self.hits / (self.hits + self.misses)


def fit_curve(
    x: Float[np.ndarray, "h k"],
    found: Bool[np.ndarray, " h"],
    molecule: np.ndarray,
    *,
    fold: np.ndarray | None = None,
) -> Curve:
    """A logistic curve of how often lists held the molecule.

    Args:
        x: What the chance may depend on.
        found: Whether the list of each held-out profile held its molecule.
        molecule: Of each.
        fold: Of each, of which no two share a molecule: what is said of one is learned from the
            others. None parts the molecules into five at random.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Profiles of one molecule tell little more than one of them.
    weight = 1 / pd.Series(molecule).map(pd.Series(molecule).value_counts()).to_numpy(np.float64)

    def curve(rows: Bool[np.ndarray, " h"]) -> Any:
        made = make_pipeline(StandardScaler(), LogisticRegression(C=1 / _STRENGTH))
        return made.fit(x[rows], found[rows], logisticregression__sample_weight=weight[rows])

    plain, told = np.zeros(len(found)), np.zeros(len(found))
    if fold is None or len(np.unique(fold)) == 1:
        fold = fold_of_molecules(molecule)
    for k in np.unique(fold):
        rest, left = fold != k, fold == k
        # One hit and one miss more, so that no chance is 0 or 1.
        plain[left] = (weight[rest] @ found[rest] + 1) / (weight[rest].sum() + 2)
        told[left] = plain[left]
        if len(np.unique(found[rest])) == 2:
            told[left] = curve(rest).predict_proba(x[left])[:, 1]
    counts = float(weight @ found) + 1, float(weight @ ~found) + 1
    few = len(np.unique(molecule)) < FEWEST_OF_CURVE or len(np.unique(found)) < 2
    if few or not _is_better(told, plain, found, molecule):
        return Curve(None, plain, plain, *counts)
    return Curve(curve(np.ones(len(found), bool)), told, plain, *counts)


def _is_better(
    told: Float[np.ndarray, " h"],
    plain: Float[np.ndarray, " h"],
    found: Bool[np.ndarray, " h"],
    molecule: np.ndarray,
) -> bool:
    """Whether what is told loses less than the share, by more than its standard error tells."""
    _, of = np.unique(molecule, return_inverse=True)
    apart = np.bincount(of, _losses(told, found) - _losses(plain, found))
    return bool(apart.sum() < -_SURE * np.sqrt((apart**2).sum()))


def log_loss(says: Float[np.ndarray, " h"], found: Bool[np.ndarray, " h"]) -> float:
    """Mean of -log of the chance that was given to what happened, in nats."""
    return float(_losses(says, found).mean())


def _losses(
    says: Float[np.ndarray, " h"], found: Bool[np.ndarray, " h"]
) -> Float[np.ndarray, " h"]:
    says = np.clip(says, 1e-6, 1 - 1e-6)
    return -np.log(np.where(found, says, 1 - says))
