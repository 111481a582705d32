"""Which row of one table belongs to which of another: by key columns, as text."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from molphenix_jax.data.preparation.columns import WellsError, as_text, normal, short
from molphenix_jax.data.preparation.spool import Spool

# A column that names a compound by itself, best first; others that both tables have are ignored.
_COMPOUND = ("jcp2022", "broadsample", "broadid", "compoundid", "compoundname", "inchikey")
# Different names of one key. A broad_id is the part of a broad_sample before its batch.
_SAME = {"broadid": "broadsample", "names": "samplekey", "keys": "samplekey"}
_BROAD_ID = len("BRD-K12345678")

Pairs = list[tuple[str, str]]


def key_columns(what: tuple[str, str, str], left: Sequence[str], right: Sequence[str]) -> Pairs:
    """Pairs of columns that both tables have: of the same name, else of the same meaning.

    Raises:
        WellsError: there is none; `what` names the screen and the two tables.
    """
    if same := [(name, name) for name in left if name in right]:
        return same
    meaning = {_meaning(name): name for name in reversed(left)}
    pairs = [(meaning[_meaning(name)], name) for name in right if _meaning(name) in meaning]
    if not pairs and len(right) == 2 and "samplekey" in map(_meaning, right):
        # An array of names says nothing about which column they are.
        wanted = next((n for n in left if normal(n) in ("samplekey", "wellid")), None)
        pairs = [(wanted, right[0])] if wanted else []
    if not pairs:
        raise WellsError(
            f"{what[0]}: no column in common: {what[1]} has {short(left)}, {what[2]} has "
            f"{short(right)}; rename the key column"
        )
    return pairs


def compound_columns(
    what: tuple[str, str, str], left: Sequence[str], right: Sequence[str]
) -> Pairs:
    """The pairs to join a further table by: the one that names a compound, or all they share."""
    meaning = {_meaning(name): name for name in reversed(left)}
    pairs = [(meaning[_meaning(name)], name) for name in right if _meaning(name) in meaning]
    for compound in _COMPOUND:
        for pair in pairs:
            if normal(pair[1]) == compound:
                return [pair]
    return pairs or key_columns(what, left, right)


def recurring(tables: Sequence[Sequence[str]]) -> set[str]:
    """Columns that two or more tables have, by any name of theirs: what they can be joined by."""
    meanings = [{_meaning(name) for name in names} for names in tables]
    return {
        name
        for names in tables
        for name in names
        if sum(_meaning(name) in others for others in meanings) > 1
    }


def first_match(
    left: pa.Table,
    right: pa.Table,
    pairs: Pairs,
    key: Callable[[np.ndarray], np.ndarray] = lambda text: text,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """For each row of left the first row of right with the same keys, -1 where there is none.

    Returns:
        That, and for each row of right the first row of right with the same keys.
    """
    code_left, code_right = _codes(left, right, pairs, key)
    first = pd.Series(np.arange(len(code_right))).groupby(code_right).transform("first").to_numpy()
    unique = np.flatnonzero(first == np.arange(len(first)))
    at = pd.Index(code_right[unique]).get_indexer(pd.Index(code_left))
    matched = np.where(at < 0, -1, unique[at])
    if len(pairs) == 1 and _meaning(pairs[0][1]) == "broadsample":
        (one, other), lost = pairs[0], np.flatnonzero(matched < 0)
        short_left = [text[:_BROAD_ID] for text in as_text(left.column(one))[lost]]
        short_right = [text[:_BROAD_ID] for text in as_text(right.column(other))]
        row_of = {text: i for i, text in reversed(list(enumerate(short_right)))}
        matched[lost] = [row_of.get(text, -1) if text else -1 for text in short_left]
    return matched, first


def average_repeats(
    spool: Spool, first: Int[np.ndarray, " m"], work: pathlib.Path
) -> Int[np.ndarray, " m"]:
    """Averages the embeddings of rows with the same key.

    Returns:
        For each row the number in the spool of its own embedding, or of the average.
    """
    rows = np.arange(len(first))
    repeated = np.isin(first, first[first != rows])
    return average_rows(spool, rows, np.where(repeated, first, -1), work / "repeats.f32")


def average_rows(
    spool: Spool, rows: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"], path: pathlib.Path
) -> Int[np.ndarray, " n"]:
    """Averages rows of the spool within groups; rows with group -1 are left alone.

    Args:
        spool: gets the averages as another part, in the order of their groups.
        rows: number in the spool of each row.
        group: equal for rows to be averaged.
        path: of the new part.

    Returns:
        `rows`, with the number of the average in place of those of its rows.
    """
    members = np.flatnonzero(group >= 0)
    if not len(members):
        return rows
    names, code = np.unique(group[members], return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code))
    per_chunk = max(1, (1 << 22) // (spool.width * max(1, len(members) // len(names))))
    with path.open("wb") as file:
        for start in range(0, len(names), per_chunk):
            stop = min(start + per_chunk, len(names))
            begin = ends[start - 1] if start else 0
            x = spool[rows[members[order[begin : ends[stop - 1]]]]].astype(np.float64)
            starts = np.r_[begin, ends[start : stop - 1]] - begin
            counts = np.diff(np.r_[starts, len(x)])
            means = np.add.reduceat(x, starts, axis=0) / counts[:, None]
            file.write(np.ascontiguousarray(means, np.float32).data)
    new = spool.add(path)
    out = rows.copy()
    out[members] = new[code]
    return out


def columns_at(table: pa.Table, names: Sequence[str], at: Int[np.ndarray, " n"]) -> pa.Table:
    """Some columns of the rows `at`, null where that is -1."""
    index = pa.array(np.maximum(at, 0), mask=at < 0)
    return table.select(list(names)).take(index)


def unmatched(first: np.ndarray, matched: np.ndarray) -> int:
    """Keys of the right table that no row of the left one has."""
    unique = np.flatnonzero(first == np.arange(len(first)))
    return len(unique) - len(np.unique(matched[matched >= 0]))


def _meaning(name: str) -> str:
    return _SAME.get(normal(name), normal(name))


def _codes(
    left: pa.Table, right: pa.Table, pairs: Pairs, key: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """One integer per row, the same where all keys are."""
    n = left.num_rows
    code = np.zeros(n + right.num_rows, np.int64)
    for one, other in pairs:
        text = np.concatenate([key(as_text(left.column(one))), key(as_text(right.column(other)))])
        inner, unique = pd.factorize(text)
        code = pd.factorize(code * len(unique) + inner)[0]
    return code[:n], code[n:]
