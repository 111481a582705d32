"""Which row of one table belongs to which of another: by key columns, as text."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float, Int

from molphenix_jax.tables.columns import (
    ALIASES,
    WellsError,
    as_text,
    normal,
    short,
    translated,
)
from molphenix_jax.tables.dose_names import dose_name
from molphenix_jax.tables.names import COMPOUND_KEYS, key_of
from molphenix_jax.tables.reading.spool import Spool
from molphenix_jax.tables.rows import chunk_rows

# Different names of one key. A broad_id is the part of a broad_sample before its batch.
_SAME = {"broadid": "broadsample", "names": "samplekey", "keys": "samplekey"}
# What is said about a well or its treatment, and is no key though two tables have it.
_SAID = frozenset(("controltype", "perttype", "treatment", "perturbationtype", "qcpass", "timeh"))
_BROAD_ID = len("BRD-K12345678")

KeyPairs = list[tuple[str, str]]


def key_columns(what: tuple[str, str, str], left: Sequence[str], right: Sequence[str]) -> KeyPairs:
    """Pairs of columns that both tables have: of the same name, else of the same meaning.

    Raises:
        WellsError: there is none; `what` names the screen and the two tables.
    """
    if same := [(name, name) for name in left if name in right and _is_key(name)]:
        return same
    pairs = _pairs(left, right)
    if not pairs and len(right) == 2 and "samplekey" in map(meaning_of, right):
        # An array of names says nothing about which column they are.
        wanted = next((n for n in left if normal(n) in ("samplekey", "wellid")), None)
        pairs = [(wanted, right[0])] if wanted else []
    if not pairs:
        pairs = [(n, n) for n in left if n in right and normal(n) in ALIASES["smiles"]]
    if not pairs:
        raise WellsError(
            f"{what[0]}: no column in common: {what[1]} has {short(left)}, {what[2]} has "
            f"{short(right)}; rename the key column"
        )
    return pairs


def join_columns(what: tuple[str, str, str], left: Sequence[str], right: Sequence[str]) -> KeyPairs:
    """The pairs to join a further table by.

    Those that place a well where both tables name wells; else the one that names a compound; else
    all they share.
    """
    pairs = _pairs(left, right)
    if any(meaning_of(name) == "well" for _, name in pairs):
        return [pair for pair in pairs if meaning_of(pair[1]) not in COMPOUND_KEYS]
    for compound in COMPOUND_KEYS:  # others that both tables have are ignored
        for pair in pairs:
            if normal(pair[1]) == compound:
                return [pair]
    return pairs or key_columns(what, left, right)


def recurring(tables: Sequence[Sequence[str]]) -> set[str]:
    """Columns that two or more tables have, by any name of theirs: what they can be joined by."""
    meanings = [{meaning_of(name) for name in names} for names in tables]
    return {
        name
        for names in tables
        for name in names
        if sum(meaning_of(name) in others for others in meanings) > 1
    }


def first_match(
    left: pa.Table,
    right: pa.Table,
    pairs: KeyPairs,
    key: Callable[[np.ndarray], np.ndarray] = lambda text: text,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """For each row of left the first row of right with the same keys, -1 where there is none.

    Plates, wells and names of compounds are compared however they are spelled (`names`); a row
    without a key matches none.

    Returns:
        That, and for each row of right the first row of right with the same keys.
    """
    code_left, code_right = _codes(left, right, pairs, key)
    first = pd.Series(np.arange(len(code_right))).groupby(code_right).transform("first").to_numpy()
    first = np.where(code_right < 0, np.arange(len(code_right)), first)
    unique = np.flatnonzero((first == np.arange(len(first))) & (code_right >= 0))
    at = pd.Index(code_right[unique]).get_indexer(pd.Index(code_left))
    matched = np.where((at < 0) | (code_left < 0), -1, unique[at] if len(unique) else -1)
    if len(pairs) == 1 and meaning_of(pairs[0][1]) == "broadsample":
        (one, other), lost = pairs[0], np.flatnonzero(matched < 0)
        short_left = [text[:_BROAD_ID] for text in as_text(left.column(one))[lost]]
        short_right = [text[:_BROAD_ID] for text in as_text(right.column(other))]
        row_of = {text: i for i, text in reversed(list(enumerate(short_right)))}
        matched[lost] = [row_of.get(text, -1) if text else -1 for text in short_left]
        # Its batches are rows of one key now.
        asked = set(short_left) - {""}
        first = np.array(
            [row_of[t] if t in asked else f for t, f in zip(short_right, first, strict=True)], int
        )
    return matched, first


def refuse_contradictions(
    what: str,
    table: pa.Table,
    pairs: KeyPairs,
    first: Int[np.ndarray, " m"],
    brought: Sequence[str],
) -> None:
    """Stops where two rows of a joined table have one key and say different things.

    Args:
        what: names the table.
        table: the joined one.
        pairs: its keys on the right.
        first: for each of its rows the first with the same key.
        brought: its columns that are put beside the wells.

    Raises:
        WellsError: names the key and two of its rows.
    """
    again = np.flatnonzero(first != np.arange(len(first)))
    for name in brought:
        text = as_text(table.column(name))
        off = again[text[again] != text[first[again]]]
        if len(off):
            row, other = int(off[0]), int(first[off[0]])
            key = ", ".join(f"{k} {as_text(table.column(k))[row]}" for _, k in pairs)
            raise WellsError(
                f"{what}: rows {other + 1} and {row + 1} have the same key ({key}) and differ in "
                f"{name!r}: {text[other]!r} and {text[row]!r} ({len(off):,} such rows); leave one "
                "of them, or give both tables the column that tells them apart"
            )


def numbered_wells(left: pa.Table, right: pa.Table, pairs: KeyPairs) -> str:
    """Why wells that are numbered in one table are no wells of the other; "" where none are."""
    for one, other in pairs:
        if meaning_of(other) == "well":
            texts = [set(as_text(t.column(n))) - {""} for t, n in ((left, one), (right, other))]
            if len({all(text.isdecimal() for text in of) for of in texts}) > 1:
                return (
                    ". Wells by number may go by rows (2 is A02) or by columns (2 is B01), and "
                    "which is meant cannot be told: write A01, A02, … in their place"
                )
    return ""


def filled_from(
    what: str, name: str, ours: pa.ChunkedArray, theirs: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, str]:
    """A column that a joined table has too: its gaps are filled from there, the rest stays.

    Args:
        what: names the joined table.
        name: of the column.
        ours: its cells, [n].
        theirs: those of the joined table for the same rows, [n].

    Returns:
        The column, and a sentence on what the joined table brought and where it differs.
    """
    own, other = as_text(ours), as_text(theirs)
    gap = (own == "") & (other != "")
    differs = np.flatnonzero(
        (own != "") & (other != "") & (translated(own, compared) != translated(other, compared))
    )
    note = f"{what} has {name!r} too: the wells keep their own"
    if gap.any():
        note += f", with {gap.sum():,} gaps filled from it"
        ours = pa.chunked_array([pa.array(np.where(gap, other, own), pa.string())])
    if len(differs):
        row = int(differs[0])
        note += (
            f"; {len(differs):,} of {len(own):,} rows differ (row {row + 1} first: {own[row]!r} "
            f"and {other[row]!r})"
        )
    return ours, note


def compared(text: str) -> str:
    """A cell as it is compared: 10 and 10.0 are the same, and so are True and true."""
    try:
        return repr(float(text))
    except ValueError:  # "c1ccccc1" and "C1CCCCC1" are two
        return text.lower() if text.lower() in ("true", "false") else text


def average_repeats(
    spool: Spool, first: Int[np.ndarray, " m"], work: pathlib.Path
) -> Int[np.ndarray, " m"]:
    """Averages the embeddings of rows with the same key.

    Returns:
        For each row the number in the spool of its own embedding, or of the average.
    """
    rows = np.arange(len(first))
    repeated = np.isin(first, first[first != rows])
    return average_rows(spool, rows, np.where(repeated, first, -1), work / "repeats.f32")[0]


def average_rows(
    spool: Spool, rows: Int[np.ndarray, " n"], group: Int[np.ndarray, " n"], path: pathlib.Path
) -> tuple[Int[np.ndarray, " n"], int]:
    """Averages rows of the spool within groups; rows with group -1 are left alone.

    A mean is over the values that are finite, NaN where none is. Memory does not grow with the
    groups: rows go by in chunks, and a group that a chunk cuts is carried over.

    Args:
        spool: gets the averages as another part, in the order of their groups.
        rows: number in the spool of each row.
        group: equal for rows to be averaged.
        path: of the new part.

    Returns:
        `rows`, with the number of the average in place of those of its rows, and how many values
        were not finite.
    """
    members = np.flatnonzero(group >= 0)
    if not len(members):
        return rows, 0
    code = pd.factorize(group[members], sort=True)[0]
    order = np.argsort(code, kind="stable")
    step, skipped = chunk_rows(spool.width), 0
    total, count = np.zeros((1, spool.width)), np.zeros((1, spool.width))
    with path.open("wb") as file:
        for start in range(0, len(order), step):
            part = order[start : start + step]
            x = spool[rows[members[part]]].astype(np.float64)
            finite = np.isfinite(x)
            skipped += int(x.size - finite.sum())
            own = code[part]
            starts = np.flatnonzero(np.r_[True, np.diff(own) != 0])
            sums = np.add.reduceat(np.where(finite, x, 0.0), starts, axis=0)
            counts = np.add.reduceat(finite, starts, axis=0, dtype=np.float64)
            if start and own[0] == code[order[start - 1]]:
                sums[0] += total[0]
                counts[0] += count[0]
            elif start:
                _mean(total, count).tofile(file)
            _mean(sums[:-1], counts[:-1]).tofile(file)
            total, count = sums[-1:], counts[-1:]
        _mean(total, count).tofile(file)
    new = spool.add(path)
    out = rows.copy()
    out[members] = new[code]
    return out, skipped


def _mean(total: np.ndarray, count: np.ndarray) -> Float[np.ndarray, "g d"]:
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)


def columns_at(table: pa.Table, names: Sequence[str], at: Int[np.ndarray, " n"]) -> pa.Table:
    """Some columns of the rows `at`, null where that is -1."""
    index = pa.array(np.maximum(at, 0), mask=at < 0)
    return table.select(list(names)).take(index)


def unmatched(first: np.ndarray, matched: np.ndarray) -> int:
    """Keys of the right table that no row of the left one has."""
    unique = np.flatnonzero(first == np.arange(len(first)))
    return len(unique) - len(np.unique(matched[matched >= 0]))


def meaning_of(name: str) -> str:
    """What a column means as a key: plate, well, batch or site, or its name without decoration."""
    plain = normal(name)
    for field in ("plate", "well", "batch", "site"):
        if plain in ALIASES[field]:
            return field
    return _SAME.get(plain, plain)


def _is_key(name: str) -> bool:
    """Whether a column can be a key: not what is said about a well, but what names it."""
    plain = normal(name)
    said = any(plain in ALIASES[field] for field in ("smiles", "is_control", "embedding"))
    return not said and dose_name(name) is None and plain not in _SAID


def _pairs(left: Sequence[str], right: Sequence[str]) -> KeyPairs:
    """Columns of the same meaning, the best name of each meaning on both sides."""
    ours, theirs = _by_meaning(left), _by_meaning(right)
    return [(ours[meaning], name) for meaning, name in theirs.items() if meaning in ours]


def _by_meaning(names: Sequence[str]) -> dict[str, str]:
    best: dict[str, str] = {}
    for name in filter(_is_key, names):
        meaning = meaning_of(name)
        rank = lambda n, m=meaning: ALIASES[m].index(normal(n)) if m in ALIASES else 0  # noqa: E731
        if meaning not in best or rank(name) < rank(best[meaning]):
            best[meaning] = name
    return best


def _codes(
    left: pa.Table, right: pa.Table, pairs: KeyPairs, key: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """One integer per row, the same where all keys are; -1 where one is missing."""
    n = left.num_rows
    code = np.zeros(n + right.num_rows, np.int64)
    missing = np.zeros(len(code), bool)
    for one, other in pairs:
        text = np.concatenate([key(as_text(left.column(one))), key(as_text(right.column(other)))])
        compared = key_of(meaning_of(other))
        plain = {value: compared(value) for value in set(text.tolist())}
        text = np.array([plain[value] for value in text.tolist()], object)
        missing |= text == ""
        inner, unique = pd.factorize(text)
        code = pd.factorize(code * len(unique) + inner)[0]
    code[missing] = -1
    return code[:n], code[n:]
