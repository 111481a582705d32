"""Ranks of single queries as a table, which a run keeps, and those of several runs side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.util import hash_pandas_object

from molphenix_jax.evaluation.protocol import Ranks, RankTable, Setting

_SETTING = [field.name for field in dataclasses.fields(Setting)]
_QUERY = ["fold", "molecule", "concentration_um", "condition"]
_OTHER = "n_gallery"
# Of a table of ranks; its other columns are models.
QUERY_COLUMNS = (*_SETTING, *_QUERY, _OTHER)


class PairingError(ValueError):
    """Tables of ranks have no query in common that was ranked among the same candidates."""


def ranks_frame(folds: Sequence[Ranks]) -> pd.DataFrame:
    """One row for each query of each setting and fold.

    Columns: ``split``, ``subset``, ``psi``, ``gallery``, ``direction``, ``fold``, ``molecule``,
    ``concentration_um``, ``condition``, ``n_gallery``, and for each model by its name the
    pessimistic rank from 1 to ``n_gallery`` (missing where it was not ranked).
    """
    parts = []
    for fold, ranks in enumerate(folds):
        for table in ranks.tables:
            n = len(table.molecule)
            told = {name: [value] * n for name, value in dataclasses.asdict(table.setting).items()}
            query = {name: getattr(table, name) for name in [*_QUERY[1:], _OTHER]}
            by_model = {model: pd.array(rank, "Int64") for model, rank in table.rank.items()}
            parts.append(pd.DataFrame({**told, "fold": fold, **query, **by_model}))
    if not parts:
        return pd.DataFrame(columns=list(QUERY_COLUMNS))
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype({name: float if name == "psi" else "category" for name in _SETTING})


def paired_ranks(frames: Mapping[str, pd.DataFrame], *, model: str) -> tuple[Ranks, dict[str, int]]:
    """The ranks that one model has in several runs, of the queries that all of them were asked.

    Args:
        frames: By the name of the run, from ``ranks_frame``.
        model: Which model.

    Returns:
        Ranks whose models are the runs, and of each run how many of its rows have no partner in
        another one: folds of other candidates, and galleries of another size.

    Raises:
        PairingError: Nothing is left.
    """
    keys = list(QUERY_COLUMNS)
    for name, frame in frames.items():
        if model not in frame:
            raise PairingError(f"{name} has no ranks of {model}")
    asked = [_asked(frame) for frame in frames.values()]
    same = set.intersection(*map(set, asked))
    joined: pd.DataFrame | None = None
    for number, frame in enumerate(frames.values()):
        own = frame.loc[asked[number].isin(same) & frame[model].notna(), [*keys, model]]
        own = own.rename(columns={model: number})
        own = own.astype({key: str for key in _SETTING if key != "psi"})
        joined = own if joined is None else joined.merge(own, on=keys, how="inner")
    if joined is None or joined.empty:
        raise PairingError(
            f"{' and '.join(frames)} were not asked the same: no fold has the same "
            "molecules, doses and conditions to choose from"
        )
    ranked = {name: int(np.count_nonzero(frame[model].notna())) for name, frame in frames.items()}
    alone = {name: n - len(joined) for name, n in ranked.items()}
    tables = [
        RankTable(
            setting=_setting(rows.iloc[0]),
            molecule=rows["molecule"].to_numpy(str),
            concentration_um=rows["concentration_um"].to_numpy(np.float64),
            condition=rows["condition"].to_numpy(str),
            n_gallery=rows[_OTHER].to_numpy(np.int64),
            rank={name: rows[i].to_numpy(np.int64) for i, name in enumerate(frames)},
        )
        for _, rows in joined.groupby(_SETTING, dropna=False, sort=False)
    ]
    return Ranks(tuple(tables), ()), alone


def _setting(row: Any) -> Setting:
    told = {name: row[name] for name in _SETTING}
    return Setting(**{**told, "psi": None if np.isnan(told["psi"]) else told["psi"]})


def _asked(frame: pd.DataFrame) -> pd.Series:
    """Of each row what it was asked, as a text: its split, its fold, and all candidates there."""
    candidates = frame.loc[frame["subset"] == "all"].drop_duplicates(["split", *_QUERY])
    hashed = cast(Any, hash_pandas_object)(candidates[_QUERY[1:]], index=False)
    # A sum does not depend on the order.
    sums = hashed.groupby([candidates["split"].astype(str), candidates["fold"]]).sum()
    of = pd.MultiIndex.from_arrays([frame["split"].astype(str), frame["fold"]])
    found = sums.reindex(of).astype(str).to_numpy()
    return frame["split"].astype(str) + frame["fold"].map(" {} ".format) + found
