"""Queries against a library: hits with everything that tells how much to believe them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from molphenix_jax.molecules.filters import properties
from molphenix_jax.retrieval.hits import NOT_MEASURED, Hits, made_by
from molphenix_jax.retrieval.index import Index
from molphenix_jax.retrieval.model import Model
from molphenix_jax.retrieval.ranking.calibration import (
    INACTIVE_P,
    Chances,
    chances_of_table,
    measure_chances,
)
from molphenix_jax.retrieval.ranking.combining import Term, combined, places_of
from molphenix_jax.retrieval.ranking.domain import Domain
from molphenix_jax.retrieval.ranking.null import NullEmbeddings, empirical_p
from molphenix_jax.retrieval.ranking.queries import Queries, null_wells
from molphenix_jax.retrieval.ranking.selecting import Listed, Wanted, select
from molphenix_jax.wells.conditions.values import differing, level_label

_NO_CHANCE = "no chance is told of a combination: it is measured on single profiles"
_PROPERTIES = ("mw", "logp", "tpsa", "hbd", "hba")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked of a ranking besides the list.

    Attributes:
        combinations: Name of each combined query → its terms; none ranks every profile.
        rank_inactive: List hits for profiles that look inactive too.
        chances: Measure how often held-out molecules come into such a list: a pass through the
            library for each of up to 500.
        measured: What `molphenix bench library --table` found of this library: chances come from
            it, without a pass.
    """

    combinations: Mapping[str, Sequence[Term]] = dataclasses.field(default_factory=dict)
    rank_inactive: bool = False
    chances: bool = True
    measured: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Query:
    """A query of one or several profiles: where they are, and how they are joined."""

    label: str
    places: list[int]
    weights: Float[np.ndarray, " t"]


def find_hits(
    queries: Queries,
    index: Index,
    model: Model,
    *,
    wanted: Wanted | None = None,
    asked: Asked | None = None,
) -> Hits:
    """Ranks a library against queries.

    Args:
        queries: From `read_queries`.
        index: Of the library, embedded by `model`.
        model: The model.
        wanted: What a list is to hold; the best hundred, if nothing is said.
        asked: The rest.

    Raises:
        LibraryError: The index was made by another model; it names both.
        CombinationError: A combination names no profile.
        SelectionError: The substructure is no SMARTS.
    """
    wanted, asked = wanted or Wanted(), asked or Asked()
    index.need_model(model)
    z = model.embed_profiles(queries.profiles, corrected=True)
    joined = _joined(queries, asked.combinations)
    z_joined = np.concatenate(
        [combined(z[q.places][:, None], q.weights, model.members) for q in joined]
    )
    table = _query_table(queries, joined, index, model)
    listed_for = np.flatnonzero(~table["abstained"] | asked.rank_inactive).tolist()
    lists = dict(zip(listed_for, select(index, z_joined[listed_for], wanted), strict=True))
    nulls = _Nulls(model, queries, joined)
    parts = [
        _hits_of(joined[i], z_joined[i], found, index, model, nulls) for i, found in lists.items()
    ]
    hits = pd.concat(parts, ignore_index=True) if parts else _hits_of_none()
    _add_molecules(hits, index, Domain(model))
    if asked.measured is not None:
        chances, why = chances_of_table(asked.measured, index, wanted)
    else:
        chances, why = measure_chances(model, index, wanted, skip=not asked.chances)
    _add_chances(table, chances, joined, lists, queries)
    return Hits(
        table=hits,
        queries=table.drop(columns=["told"]),
        doses_um=tuple(float(dose) for dose in index.doses_um),
        features=_features(queries, joined),
        about=made_by(
            model,
            library=f"{index.path}: {len(index):,} molecules",
            chance=chances.described if chances else f"{NOT_MEASURED}: {why}",
        ),
    )


def _joined(queries: Queries, combinations: Mapping[str, Sequence[Term]]) -> list[_Query]:
    if not combinations:
        return [_Query(label, [i], np.ones(1)) for i, label in enumerate(queries.table["query"])]
    return [
        _Query(label, places_of(terms, queries.table), np.array([t.weight for t in terms]))
        for label, terms in combinations.items()
    ]


def _query_table(
    queries: Queries, joined: Sequence[_Query], index: Index, model: Model
) -> pd.DataFrame:
    """A row for each query as it is asked, and whether it abstains."""
    told = index.about["conditions"]
    trained = model.has_trained_on_keys(queries.table["inchikey"].tolist())
    rows = []
    for query in joined:
        of = queries.table.iloc[query.places]
        positive = of[query.weights > 0]
        activity = positive["activity_p"].max()
        one = of.iloc[0] if len(of) == 1 else None
        others = (_other(queries.levels[i], told) for i in query.places)
        other = next(filter(None, others), "")
        notes = []
        if activity > INACTIVE_P:
            weak = positive.loc[positive["activity_p"].idxmax(), "query"]
            notes.append(
                f"looks inactive (p {activity:.2g} of looking so by chance)"
                + (f": {weak}" if one is None else "")
            )
        if other:
            notes.append(other)
        elif unknown := [
            n for n in told if not all(queries.levels[i].get(n) for i in query.places)
        ]:
            notes.append(
                f"measured at an unknown {', '.join(unknown)}, while the library is that of "
                + ", ".join(level_label(name, str(told[name])) for name in unknown)
            )
        if np.isnan(positive["activity_p"]).any():
            notes.append("without control wells nobody knows whether it is active")
        seen = trained[query.places].any()
        if seen:
            notes.append("of a molecule that the model learned from")
        rows.append(
            {
                "query": query.label,
                "smiles": one["smiles"] if one is not None else "",
                "inchikey": one["inchikey"] if one is not None else "",
                "concentration_um": one["concentration_um"] if one is not None else np.nan,
                "condition": ", ".join(dict.fromkeys(filter(None, of["condition"]))),
                "wells": int(of["wells"].sum()),
                "plates": int(of["plates"].sum()) if one is None else int(one["plates"]),
                "activity_p": activity,
                "abstained": bool(activity > INACTIVE_P),
                "trained_on": bool(seen),
                "note": "; ".join(notes),
                "told": not other,
            }
        )
    return pd.DataFrame(rows)


def _other(levels: Mapping[str, str], told: Mapping[str, Any]) -> str:
    """Says where a query's condition is not the one that the library was told; "" where it is."""
    for name in differing(levels, told):
        return (
            f"measured at {level_label(name, levels[name])}, while the library is that of "
            f"{level_label(name, str(told[name]))}"
        )
    return ""


class _Nulls:
    """Null embeddings of queries: joined as they are, of as many wells."""

    def __init__(self, model: Model, queries: Queries, joined: Sequence[_Query]):
        self._members, self._of = model.members, {}
        self._queries = queries
        used = {i for query in joined for i in query.places}
        by_condition: dict[tuple, NullEmbeddings] = {}
        for i in sorted(used):
            key = tuple(sorted(queries.levels[i].items()))
            if key not in by_condition:
                by_condition[key] = NullEmbeddings(model, null_wells(model, queries.levels[i]))
            self._of[i] = by_condition[key]

    def of(self, query: _Query) -> Float[np.ndarray, "n e"]:
        """[0, e] where there are no control wells."""
        if any(len(self._of[i]) < 2 for i in query.places):
            return np.zeros((0, 0), np.float32)
        wells = self._queries.table["wells"].to_numpy()
        drawn = [self._of[i].of(int(wells[i]), draw) for draw, i in enumerate(query.places)]
        n = min(map(len, drawn))
        return combined(np.stack([each[:n] for each in drawn]), query.weights, self._members)


def _hits_of(
    query: _Query,
    z: Float[np.ndarray, " e"],
    found: Listed,
    index: Index,
    model: Model,
    nulls: _Nulls,
) -> pd.DataFrame:
    """The hits of one query."""
    embedded = index.embeddings(found.molecule)
    at = np.arange(len(found.molecule))
    curve = embedded @ z
    null, chosen = nulls.of(query), embedded[at, found.dose]
    # At the dose of the hit: at a low one many molecules are predicted to look like controls.
    p_value = empirical_p(null @ chosen.T if len(null) else np.zeros((0, len(at))), found.score)
    apart = (model.members, index.width // model.members)
    own = chosen.reshape(len(at), *apart)
    of_members = model.members * np.einsum("tmd,md->tm", own, z.reshape(apart))
    return pd.DataFrame(
        {
            "query": query.label,
            "rank": at + 1,
            "number": found.molecule,
            "concentration_um": index.doses_um[found.dose],
            "cosine": found.score,
            "percentile": 100 * (1 - found.better / len(index)),
            "p_value": p_value,
            "spread": of_members.std(axis=1) if model.members > 1 else np.nan,
            "curve": [row.tolist() for row in curve],
        }
    )


def _hits_of_none() -> pd.DataFrame:
    columns = ("query", "rank", "number", "concentration_um", "cosine", "percentile", "p_value")
    return pd.DataFrame({name: [] for name in (*columns, "spread", "curve")}).astype(
        {"number": np.int64, "rank": np.int64, "query": object}
    )


def _add_molecules(hits: pd.DataFrame, index: Index, domain: Domain) -> None:
    """Adds what is known of the molecules, in place."""
    numbers, at = np.unique(hits.pop("number").to_numpy(np.int64), return_inverse=True)
    molecules = index.molecules.iloc[numbers].reset_index(drop=True)
    for name in ("id", "smiles", "inchikey", "scaffold"):
        hits[name] = molecules[name].to_numpy(object)[at]
    smiles, keys = molecules["smiles"].tolist(), molecules["inchikey"].tolist()
    nearest = domain.nearest(smiles, keys)
    hits["nearest_smiles"] = nearest.smiles[at]
    hits["nearest_tanimoto"] = nearest.tanimoto[at]
    hits["in_domain"], hits["trained_on"] = nearest.in_domain[at], nearest.trained_on[at]
    values = properties(smiles, _PROPERTIES) if smiles else np.zeros((0, len(_PROPERTIES)))
    for column, name in enumerate(_PROPERTIES):
        hits[name] = values[at, column]


def _add_chances(
    table: pd.DataFrame,
    chances: Chances | None,
    joined: Sequence[_Query],
    lists: Mapping[int, Listed],
    queries: Queries,
) -> None:
    """Adds the calibrated chance of each query of one active profile, in place."""
    table["chance_in_list"] = np.nan
    for i, query in enumerate(joined):
        if chances is not None and len(query.places) > 1:
            told = filter(None, [str(table.loc[i, "note"]), _NO_CHANCE])
            table.loc[i, "note"] = "; ".join(told)
    known = ~table["abstained"].to_numpy(bool) & table["told"].to_numpy(bool)
    rows = [i for i in lists if known[i] and len(joined[i].places) == 1]
    if chances is not None and rows:
        profiles = queries.profiles[[joined[i].places[0] for i in rows]]
        table.loc[rows, "chance_in_list"] = chances.of(profiles, [lists[i] for i in rows])


def _features(queries: Queries, joined: Sequence[_Query]) -> pd.DataFrame:
    """The strongest features of each query of one profile."""
    rows = [
        queries.features[
            queries.features["query"] == queries.table["query"].iloc[q.places[0]]
        ].assign(query=q.label)
        for q in joined
        if len(q.places) == 1
    ]
    return pd.concat(rows, ignore_index=True) if rows else queries.features.iloc[:0]
