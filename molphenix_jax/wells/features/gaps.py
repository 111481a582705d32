"""Features with gaps, and features that say nothing: what costs a well, what costs a feature."""

import numpy as np
from jaxtyping import Bool, Int

from molphenix_jax.tables.reading.spool import SpooledRows
from molphenix_jax.tables.rows import chunk_rows
from molphenix_jax.wells.checked import CheckedRows

WITHOUT_DIGITS = "too far from 0 for how little they vary, in digits that are not kept"
_STEPS = 64  # of float32
_ASKED = 1_000  # wells
_EXACT = 2**24  # whole numbers below are


def reject_gaps(
    rows: CheckedRows, row: Int[np.ndarray, "n"], used: Int[np.ndarray, "d"], labels: np.ndarray
) -> None:
    """Rejects wells that still lack a feature in use, each with the first and how many."""
    at, first, count, value = [], [], [], []
    kept = np.flatnonzero(rows.kept)
    step = chunk_rows(rows.raw.spool.width)
    for start in range(0, len(kept), step):
        part = kept[start : start + step]
        x = rows.raw.spool[row[part]][:, used]
        gap = ~np.isfinite(x)
        (bad,) = np.nonzero(gap.any(axis=1))
        where = gap[bad].argmax(axis=1)
        at.append(part[bad])
        first.append(where)
        count.append(gap[bad].sum(axis=1))
        value.append(x[bad, where].astype(str))
    if not sum(map(len, at)):
        return
    bad = np.concatenate(at)
    fields, values, reasons = (np.full(len(rows.kept), "", object) for _ in range(3))
    fields[bad] = labels[used][np.concatenate(first)]
    values[bad] = np.concatenate(value)
    reasons[bad] = [
        f"{k} of {len(used)} features are missing, NaN or infinite" for k in np.concatenate(count)
    ]
    rows.reject(reasons != "", fields, values, reasons)


def reject_empty(rows: CheckedRows) -> None:
    """Rejects rows that say nothing at all, as spreadsheets leave them below a table."""
    said = [rows.text(field) for field in rows.found if field != "embedding"]
    if not said:
        return
    at = np.flatnonzero(np.logical_and.reduce([text == "" for text in said]))
    empty, spool = np.zeros(len(rows.kept), bool), rows.raw.spool
    step = chunk_rows(spool.width)
    for start in range(0, len(at), step):
        part = at[start : start + step]
        empty[part] = ~np.isfinite(spool[rows.raw.row[part]]).any(axis=1)
    rows.reject(empty, "row", "", "the row is empty")


def varying(x: SpooledRows) -> Bool[np.ndarray, "d"]:
    """Features that are not the same in all rows, to seven digits; done once all have varied."""
    first, varies = x[:1], np.zeros(x.shape[1], bool)
    step = chunk_rows(x.shape[1])
    for start in range(0, x.shape[0], step):
        varies |= (x[start : start + step] != first).any(axis=0)
        if varies.all():
            break
    return varies


def without_digits(x: SpooledRows) -> Bool[np.ndarray, "d"]:
    """Features that vary so little for their size that the digits they vary in are not kept.

    Nine of ten wells lie within fewer than `_STEPS` steps of float32, by a sample of the wells.
    """
    n = x.shape[0]
    most = min(n, _ASKED, chunk_rows(x.shape[1]))
    values = x[np.linspace(0, n - 1, most).astype(np.int64)]
    low, high = np.quantile(values, (0.05, 0.95), axis=0).astype(np.float32)
    size = np.maximum(abs(low), abs(high))
    exact = (size < _EXACT) & (values == np.rint(values)).all(axis=0)
    return (high > low) & (high - low < _STEPS * np.spacing(size)) & ~exact


def note_dropped(
    notes: list[str], labels: np.ndarray, dropped: Bool[np.ndarray, "d"], why: str
) -> None:
    """Takes a sentence on the features that are dropped, if any."""
    if dropped.any():
        names = labels[dropped]
        more = ", …" if len(names) > 5 else ""
        notes.append(
            f"{len(names)} of {len(labels)} features dropped, {why}: {', '.join(names[:5])}{more}"
        )
