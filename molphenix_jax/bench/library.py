"""What a list out of a library holds: each fold of a run asked for its held-out molecules.

Each fold keeps profiles of molecules that it has not learned from. Each is ranked in the library,
its own molecule put among the others, at the best of the given doses; a fold sees every molecule
once, so that nothing is kept of the library and features are computed once for all folds.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter as clock

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from molphenix_jax.bench.measure import Row
from molphenix_jax.errors import InputError
from molphenix_jax.evaluation.bootstrap import interval, resampled_means
from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.files import open_molecules
from molphenix_jax.molecules.parallel import n_workers
from molphenix_jax.phenomics import activity_within_conditions
from molphenix_jax.retrieval import Model
from molphenix_jax.retrieval.model import load_folds
from molphenix_jax.retrieval.molecules import Featurised
from molphenix_jax.retrieval.ranking.calibration import (
    FEWEST_MOLECULES,
    INACTIVE_P,
    as_covariates,
    fit_curve,
    log_loss,
)
from molphenix_jax.retrieval.ranking.domain import IN_DOMAIN, Domain
from molphenix_jax.runtime.progress import Progress
from molphenix_jax.wells.conditions.values import Conditions

ACTIVE_P = 0.01  # of replicate consistency, as in evaluation
CHUNK_ROWS = 4096
_TIE = 1e-6
_EDGES = (0, 0.1, 0.2, 0.3, 0.4, 1)
_PSEUDO = 500  # queries of control wells


@dataclasses.dataclass(frozen=True)
class LibraryCase:
    """What is asked.

    Attributes:
        run: A finished run; with folds all of them are asked.
        library: File of molecules.
        doses_um: That the library is embedded at.
        top: Length of the list whose chance is measured.
        percent: Of the library, for recall.
    """

    run: pathlib.Path
    library: pathlib.Path
    doses_um: tuple[float, ...]
    top: int = 100
    percent: float = 1.0


class _Asked:
    """Held-out profiles of a fold under one condition, and what the library has shown so far."""

    def __init__(
        self, model: Model, rows: Int[np.ndarray, " h"], levels: Mapping[str, str], k: int
    ):
        held = model.held_out
        assert held is not None
        self.model, self.rows = model, rows
        self.levels = {name: levels[name] for name in model.conditions}
        self.z = model.embed_profiles(held.profile[rows], corrected=True)
        self.key = np.array([key[:14] for key in held.inchikey[rows]])
        self._best = np.zeros((len(rows), 0), np.float32)
        self._k = k
        self.better, self.others = (np.zeros(len(rows), np.int64) for _ in range(2))
        self.own = np.zeros(len(rows), np.float32)

    def ask_own(self, doses_um: Sequence[float]) -> None:
        """How similar each profile is to its own molecule."""
        held = self.model.held_out
        assert held is not None
        smiles, at = np.unique(held.smiles[self.rows], return_inverse=True)
        found = self.model.featuriser.of(smiles.tolist(), {}, invalid="raise")
        z_m = self._embedded(found, doses_um)
        self.own = np.einsum("he,hke->hk", self.z, z_m[at]).max(axis=1)

    def see(self, found: Featurised, key: np.ndarray, doses_um: Sequence[float]) -> None:
        """Ranks some molecules of the library; the own one of a profile is left out."""
        z_m = self._embedded(found, doses_um)
        score = np.stack([self.z @ z_m[:, k].T for k in range(len(doses_um))]).max(axis=0)
        same = self.key[:, None] == key[None]
        score[same] = -np.inf
        self.others += (~same).sum(axis=1)
        self.better += (score >= self.own[:, None] - _TIE).sum(axis=1)
        both = np.concatenate([self._best, score], axis=1)
        self._best = -np.sort(-both, axis=1)[:, : self._k]

    @property
    def drop(self) -> Float[np.ndarray, " h"]:
        """How far the first of each list leads its last, the own molecule in its place."""
        best = -np.sort(-np.concatenate([self._best, self.own[:, None]], axis=1), axis=1)
        return best[:, 0] - best[:, min(self._k, best.shape[1]) - 1]

    def _embedded(self, found: Featurised, doses_um: Sequence[float]) -> np.ndarray:
        return self.model.embed_features(found, concentrations_um=doses_um, conditions=self.levels)


@dataclasses.dataclass
class Spent:
    """Where the time of a library goes.

    Attributes:
        rows: Of the library.
        standard: Seconds for standard forms, reading them from the file among it.
        features: Seconds for feature blocks.
        ranking: Seconds for embedding by all models and ranking by all profiles.
    """

    rows: int = 0
    standard: float = 0.0
    features: float = 0.0
    ranking: float = 0.0


def ranked(setting: LibraryCase) -> tuple[pd.DataFrame, list[Model], Spent]:
    """Every held-out profile of every fold, ranked.

    Returns:
        A row for each: fold, inchikey, smiles, concentration_um, condition, p_value, activity_p,
        length (of the profile), rank (from 1, ties counted against it), gallery, drop, tanimoto
        (to the nearest training molecule), top and doses (of the library); the models; and where
        the time went.

    Raises:
        InputError: The run has no held-out profiles, or the library cannot be read.
    """
    models = _models(setting.run)
    asked = [_asked(model, setting.top) for model in models]
    for one in (one for of_model in asked for one in of_model):
        one.ask_own(setting.doses_um)
    spent = Spent()
    for found, key in _library(setting.library, models[0], spent):
        began = clock()
        for one in (one for of_model in asked for one in of_model):
            one.see(found, key, setting.doses_um)
        spent.ranking += clock() - began
    if not any(one.others.any() for of_model in asked for one in of_model):
        raise InputError(f"{setting.library}: holds no molecule that can be used")
    tables = [
        _table(model, one, fold)
        for fold, (model, of_model) in enumerate(zip(models, asked, strict=True))
        for one in of_model
    ]
    doses = ",".join(f"{dose:g}" for dose in sorted(setting.doses_um))
    joined = pd.concat(tables, ignore_index=True).assign(top=setting.top, doses=doses)
    return joined, models, spent


def _models(run: pathlib.Path) -> list[Model]:
    models = load_folds(run)
    for model in models:
        if model.held_out is None or model.needs_embeddings:
            raise InputError(
                f"{model.path} keeps no held-out profiles that could be asked, or takes embeddings "
                "of molecules from a file: give a run of wells with the fingerprints of this "
                "package, trained by this version"
            )
    return models


def _asked(model: Model, top: int) -> list[_Asked]:
    held = model.held_out
    assert held is not None
    conditions = Conditions.of_json(model.about["screen"]["conditions"])
    return [
        _Asked(model, np.flatnonzero(held.condition == c), conditions.told(c), top)
        for c in np.unique(held.condition)
    ]


def _library(
    path: pathlib.Path, model: Model, spent: Spent
) -> Iterator[tuple[Featurised, np.ndarray]]:
    """Usable molecules, each once, with the first block of their keys; a chunk at a time."""
    file, seen = open_molecules(path), set[str]()
    with Progress("ranking: ", total=file.count(), done=0, unit="row") as progress:
        began = clock()
        for some in file.chunks(CHUNK_ROWS):
            table = standardise(some.smiles)
            usable = [reason is None for reason in some.why(table["error"].tolist())]
            good = pd.DataFrame(table[np.array(usable, bool)]).drop_duplicates("inchikey")
            good = pd.DataFrame(good[~good["inchikey"].isin(list(seen))])
            seen |= set(good["inchikey"])
            standard = clock()
            found = model.featuriser.of_standard(good["smiles"].tolist(), {})
            keys = good["inchikey"].str[:14].to_numpy(str)
            spent.rows += len(some.row)
            spent.standard += standard - began
            spent.features += clock() - standard
            yield found, keys[found.rows]
            progress.advance(len(some.row))
            began = clock()


def _table(model: Model, one: _Asked, fold: int) -> pd.DataFrame:
    held, rows = model.held_out, one.rows
    assert held is not None
    smiles, at = np.unique(held.smiles[rows], return_inverse=True)
    nearest = Domain(model).nearest(smiles.tolist(), [""] * len(smiles))
    return pd.DataFrame(
        {
            "fold": fold,
            "inchikey": held.inchikey[rows],
            "smiles": held.smiles[rows],
            "concentration_um": held.concentration_um[rows],
            "condition": held.condition[rows],
            "p_value": held.p_value[rows],
            "activity_p": held.activity_p[rows],
            "length": np.linalg.norm(held.profile[rows].astype(np.float64), axis=1),
            "rank": 1 + one.better,
            "gallery": 1 + one.others,
            "drop": one.drop,
            "tanimoto": nearest.tanimoto[at],
        }
    )


def run(setting: LibraryCase, *, table: pathlib.Path | None = None) -> list[Row]:
    """Measures; `table` takes the rank of every profile as CSV."""
    from molphenix_jax import storage

    found, models, spent = ranked(setting)
    if table is not None:
        storage.write_csv(table, found)
    rows = _recall(found, setting)
    rows += _chances(found, setting.top)
    return rows + _abstained(models) + [_speed(spent, models, len(found), setting)]


def _speed(spent: Spent, models: Sequence[Model], profiles: int, setting: LibraryCase) -> Row:
    parts = {
        "standard forms": spent.standard,
        "features": spent.features,
        "embedding and ranking": spent.ranking,
    }
    whole = sum(parts.values())
    told = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in parts.items())
    return Row(
        f"molecules at {len(setting.doses_um)} doses by {len(models)} models for {profiles:,} "
        "profiles",
        "molecules/s",
        spent.rows / whole,
        note=f"{spent.rows:,} in {whole:,.0f} s, {n_workers()} processes: {told}",
    )


def _recall(found: pd.DataFrame, setting: LibraryCase) -> list[Row]:
    gallery, rank = found["gallery"].to_numpy(), found["rank"].to_numpy()
    molecule = found["inchikey"].to_numpy(str)
    near = found["tanimoto"].to_numpy() >= IN_DOMAIN
    active = found["p_value"].to_numpy() <= ACTIVE_P
    share = f"top {setting.percent:g}%", np.ceil(setting.percent / 100 * gallery)
    list_ = f"top {setting.top}", np.minimum(setting.top, gallery)
    rows = []
    for case, kept in (
        ("all profiles", np.ones(len(found), bool)),
        (f"active (p ≤ {ACTIVE_P:g})", active),
        (f"active, in domain (Tanimoto ≥ {IN_DOMAIN:g})", active & near),
        ("active, out of domain", active & ~near),
    ):
        for what, within in (share, list_) if kept.any() else ():
            hit = (rank <= within)[kept].astype(float)
            rows.append(
                Row(
                    f"true molecule in the {what} of {gallery.max():,}, {case}",
                    "%",
                    100 * hit.mean(),
                    100 * float((within / gallery)[kept].mean()),
                    "chance",
                    note=_interval(hit, molecule[kept]),
                )
            )
    return rows


def _interval(hit: Float[np.ndarray, " q"], molecule: np.ndarray) -> str:
    n = len(np.unique(molecule))
    drawn = resampled_means(hit[:, None], molecule)
    ends = interval(drawn[:, 0], n_clusters=n)
    told = f"95% interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f}, " if ends else ""
    return f"{told}{len(hit):,} profiles of {n:,} molecules"


def _chances(found: pd.DataFrame, top: int) -> list[Row]:
    """What a chance says beside what holds, each said without its molecule, as `rank` measures.

    By all folds, what is said of one comes from the others; by the molecules of a model alone.
    """
    kept = pd.DataFrame(found[~(found["activity_p"].fillna(0).to_numpy() > INACTIVE_P)])
    rows = []
    if len(np.unique(kept["fold"].to_numpy())) > 1:
        molecule, hit = kept["inchikey"].to_numpy(str), kept["rank"].to_numpy() <= top
        x = as_covariates(kept["length"].to_numpy(float), kept["drop"].to_numpy(float))
        curve = fit_curve(x, hit, molecule, fold=kept["fold"].to_numpy())
        rows = _said(f"a list of {top}, by the other folds", curve.says, curve.share, hit, molecule)
    # Where a model has fewer molecules, it tells no chance.
    molecules = kept.groupby(["fold", "condition"])["inchikey"].transform("nunique")
    kept = pd.DataFrame(kept[molecules.to_numpy() >= FEWEST_MOLECULES])
    molecule, hit = kept["inchikey"].to_numpy(str), kept["rank"].to_numpy() <= top
    x = as_covariates(kept["length"].to_numpy(float), kept["drop"].to_numpy(float))
    says, share = np.zeros(len(kept)), np.zeros(len(kept))
    if not len(kept):
        return rows
    for at in kept.groupby(["fold", "condition"]).indices.values():
        curve = fit_curve(x[at], hit[at], molecule[at])
        says[at], share[at] = curve.says, curve.share
    return rows + _said(f"a list of {top}", says, share, hit, molecule)


def _said(
    what: str,
    says: Float[np.ndarray, " q"],
    share: Float[np.ndarray, " q"],
    hit: np.ndarray,
    molecule: np.ndarray,
) -> list[Row]:
    losses = [-np.log(np.where(hit, p, 1 - p)) for p in (says, share)]
    drawn = resampled_means((losses[0] - losses[1])[:, None], molecule)
    ends = interval(drawn[:, 0], n_clusters=len(np.unique(molecule)))
    apart = f", 95% interval of the difference {ends[0]:+.3f} to {ends[1]:+.3f}" if ends else ""
    rows = [
        Row(
            f"log loss of the chance of {what}",
            "nats",
            log_loss(says, hit),
            log_loss(share, hit),
            "the share alone",
            note=f"{len(hit):,} active profiles (p ≤ {INACTIVE_P:g} of looking so by chance)"
            + apart,
        )
    ]
    for low, high in itertools.pairwise(_EDGES):
        at = (says > low) & (says <= high)
        if at.any():
            rows.append(
                Row(
                    f"chance said of {what} from {100 * low:.0f} to {100 * high:.0f}%: says, holds",
                    "%",
                    100 * says[at].mean(),
                    100 * hit[at].mean(),
                    "what holds",
                    note=f"{at.sum():,} profiles of {len(np.unique(molecule[at])):,} molecules",
                )
            )
    return rows


def _abstained(models: Sequence[Model]) -> list[Row]:
    """Share of means of control wells that are called active, by half of the other wells."""
    null, rows = models[0].null, []
    order = np.random.default_rng(0).permutation(len(null.profile))
    half = len(order) // 2
    asked, other = order[:half], order[half:]
    for replicates in (1, 2, 4):
        n = min(_PSEUDO, half // replicates)
        if n < 20:
            continue
        wells = _grouped(asked, null.condition, replicates)[:n]
        of_row = np.repeat(np.arange(len(wells)), replicates)
        p = activity_within_conditions(
            null.profile[wells.ravel()],
            of_row,
            null.condition[wells[:, 0]],
            lambda c: null.profile[other[null.condition[other] == c]],
        )
        what = f"{replicates} control wells" if replicates > 1 else "one control well"
        rows.append(
            Row(
                f"called active: {what}",
                "%",
                100 * float(np.mean(p <= INACTIVE_P)),
                100 * INACTIVE_P,
                "the level",
                note=f"{len(wells):,} queries",
            )
        )
    return rows


def _grouped(
    rows: Int[np.ndarray, " n"], condition: Int[np.ndarray, " m"], size: int
) -> Int[np.ndarray, "q size"]:
    """Rows in groups of one condition."""
    groups = []
    for c in np.unique(condition[rows]):
        own = rows[condition[rows] == c]
        groups.append(own[: len(own) // size * size].reshape(-1, size))
    return np.random.default_rng(0).permutation(np.concatenate(groups))
