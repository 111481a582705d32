"""`molphenix_jax.rank`: arrays and tables in, a table out."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike

from molphenix_jax.molecules.filters import parse_limits
from molphenix_jax.retrieval.index import Index, open_index
from molphenix_jax.retrieval.model import Model, load
from molphenix_jax.retrieval.ranking.combining import CombinationError, Term, parse_terms
from molphenix_jax.retrieval.ranking.finding import Asked, find_hits
from molphenix_jax.retrieval.ranking.queries import Reading, read_queries
from molphenix_jax.retrieval.ranking.selecting import SelectionError, Wanted
from molphenix_jax.storage import temporary_folder
from molphenix_jax.tables.columns import WellsError
from molphenix_jax.trained.folder import ModelError
from molphenix_jax.wells.conditions.columns import AUTO
from molphenix_jax.wells.inputs.sources import Sources

DOSES = ("best", "all")
TABLE_FILE = "wells.parquet"


def rank(
    wells: str | os.PathLike[str] | pd.DataFrame | Float[np.ndarray, "n d"] | ArrayLike,
    *,
    index: str | os.PathLike[str] | Index,
    model: str | os.PathLike[str] | Model | None = None,
    top: int = 100,
    controls: str | ArrayLike = AUTO,
    plates: str | Shaped[np.ndarray, " n"] | ArrayLike | None = None,
    names: str | Shaped[np.ndarray, " n"] | ArrayLike | None = None,
    doses: Literal["best", "all"] = "best",
    diverse: bool = False,
    substructure: str = "",
    limits: str = "",
    combine: str | Mapping[str, str] | None = None,
    rank_inactive: bool = False,
    chances: bool | str | os.PathLike[str] = True,
) -> pd.DataFrame:
    """The molecules of a library that are most like what wells look like.

    Wells are read as `molphenix prepare` reads them, corrected by the controls of their own plate
    and averaged over replicates; a molecule is not needed.

    Args:
        wells: A file, a table with a row for each well, or raw features in the order of
            `model.feature_names`.
        index: A library that `molphenix index` embedded.
        model: The model that embedded it, or where it lies; None takes the one that the index
            names.
        top: Hits for each query.
        controls: Which wells are negative controls: a truth value for each, a column of such, a
            kind such as "dmso", or "COLUMN=VALUE".
        plates: The plate of each well, or the column that tells it.
        names: What each well is called, or the column that tells it: replicates have one name.
        doses: A molecule once, at its best dose, or at all doses.
        diverse: The best molecule of each scaffold alone.
        substructure: SMARTS that hits hold.
        limits: Of properties, such as "mw<500,logp<5".
        combine: Profiles that make one query, "+A,+B,-C"; or name of each query → those.
        rank_inactive: Also what looks like control wells; else it has no hits.
        chances: Measure how likely a list holds the true molecule: takes a pass through the
            library for held-out profiles of the model. Or the table of `molphenix bench library`,
            measured in this library.

    Returns:
        A row for each hit of each query: the columns of `retrieval.hits.COLUMNS`, properties, and
        cosines at each dose. `attrs["queries"]` has a row for each query, and whether it abstains.

    Raises:
        InputError: Something given cannot be used; the message says what, and the remedy.
    """
    index = index if isinstance(index, Index) else open_index(os.fspath(index))
    model = model_of(index, model)
    wanted = wanted_of(top, doses, diverse=diverse, substructure=substructure, limits=limits)
    with temporary_folder() as work:
        sources, reading = wells_of(
            wells,
            work,
            feature_names=model.feature_names,
            controls=controls,
            plates=plates,
            names=names,
        )
        try:
            queries = read_queries(sources, model, reading)
        except WellsError as error:
            raise WellsError(str(error).replace(str(work / TABLE_FILE), "wells")) from error
    measured = None if isinstance(chances, bool) else pathlib.Path(chances)
    asked = Asked(_combinations(combine), rank_inactive, bool(chances), measured)
    hits = find_hits(queries, index, model, wanted=wanted, asked=asked)
    table = hits.flat()
    table.attrs["queries"] = hits.queries
    table.attrs["notes"] = list(queries.notes)
    return table


def model_of(index: Index, model: str | os.PathLike[str] | Model | None) -> Model:
    """The model of an index: as it is given, or where the index says that it lies.

    Raises:
        ModelError: There is none.
    """
    if isinstance(model, Model):
        return model
    if model is not None:
        return load(os.fspath(model))
    named = str(index.about["model"]["name"])
    try:
        return load(named)
    except ModelError as error:
        raise ModelError(
            f"{index.path} names its model: {error}. Say with model= (--model=) where it is now"
        ) from error


def wanted_of(top: int, doses: str, *, diverse: bool, substructure: str, limits: str) -> Wanted:
    """What a list is to hold.

    Raises:
        SelectionError: `top` or `doses` is none.
        FilterError: A limit cannot be read.
    """
    if doses not in DOSES:
        raise SelectionError(f"doses={doses}: one of {', '.join(DOSES)}")
    if top < 1:
        raise SelectionError(f"top={top}: at least 1")
    return Wanted(top, doses == "best", diverse, substructure, parse_limits(limits))


def wells_of(
    wells: Any,
    work: pathlib.Path,
    *,
    feature_names: Sequence[str],
    controls: Any = AUTO,
    plates: Any = None,
    names: Any = None,
) -> tuple[Sources, Reading]:
    """Wells of a notebook as files, and how these are read.

    Args:
        wells: See `rank`.
        work: An empty folder, which takes a table as `TABLE_FILE`.
        feature_names: What the columns of an array are.
        controls: See `rank`.
        plates: See `rank`.
        names: See `rank`.

    Raises:
        WellsError: An argument does not fit the wells.
    """
    if isinstance(wells, str | os.PathLike):
        given = {"controls": controls, "plates": plates, "names": names}
        if odd := [name for name, value in given.items() if not isinstance(value, str | None)]:
            raise WellsError(f"{odd[0]}: wells of a file need the name of a column")
        told = {"plate": plates} if plates else {}
        named = names if isinstance(names, str) else AUTO
        return Sources.of(wells), Reading(columns=told, controls=controls, name=named)
    table, columns = _frame(wells, feature_names), {}
    for ours, given in (("plate", plates), ("name", names), ("is_control", controls)):
        if given is None or (isinstance(given, str) and given == AUTO):
            continue
        if isinstance(given, str):
            if given in table.columns:
                columns[ours] = given
            elif ours != "is_control":
                raise WellsError(f"{ours}: the wells have no column {given!r}")
            continue
        values = np.asarray(given)
        if values.shape != (len(table),):
            raise WellsError(f"{ours}: {len(table)} values are needed, found {values.shape}")
        columns[ours] = f"{ours} as given"
        table[columns[ours]] = values
    kinds = isinstance(controls, str) and controls not in table.columns
    path = work / TABLE_FILE
    table.to_parquet(path, index=False)
    named = columns.pop("name", AUTO)
    return Sources((path,)), Reading(
        columns=columns, controls=controls if kinds else AUTO, name=named
    )


def _frame(wells: Any, feature_names: Sequence[str]) -> pd.DataFrame:
    if isinstance(wells, pd.DataFrame):
        if bad := [name for name in wells.columns if not isinstance(name, str)]:
            raise WellsError(f"wells: column {bad[0]!r} is called by no text: rename it")
        return wells.reset_index(drop=True)
    x = np.asarray(wells)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.number) or x.shape[1] != len(feature_names):
        raise WellsError(
            f"wells: a table, or numbers [n, {len(feature_names)}] in the order of the model's "
            f"features, a row for each well; found {x.dtype} {x.shape}"
        )
    return pd.DataFrame(x.astype(np.float32), columns=list(feature_names))


def _combinations(given: str | Mapping[str, str] | None) -> dict[str, Sequence[Term]]:
    if given is None:
        return {}
    if isinstance(given, str):
        return {given: parse_terms(given)}
    if not isinstance(given, Mapping):
        raise CombinationError("combine: +A,-B, or the name of each query with such a text")
    return {str(name): parse_terms(text) for name, text in given.items()}
