"""Wells that the table itself marks as not to be used: columns of quality control."""

from molphenix_jax.tables.columns import (
    FAILED,
    MARKED,
    PASSED,
    as_text,
    normal,
    translated,
)
from molphenix_jax.wells.checked import CheckedRows
from molphenix_jax.wells.controls.words import truth_of

_GOOD = frozenset(
    ("pass", "passed", "ok", "okay", "good", "valid", "keep", "kept", "include", "use")
)
_BAD = frozenset(
    ("fail", "failed", "bad", "exclude", "excluded", "reject", "rejected", "outlier", "invalid")
    + ("drop", "remove", "flag", "flagged", "discard")
)
# A flag on more wells than this marks something else than wells to leave out.
_MOST = 0.5


def reject_excluded(rows: CheckedRows, notes: list[str]) -> None:
    """Rejects the wells that a column marks as failed or excluded; names what it does not follow.

    Columns that say what they mean (qc_pass, exclude, is_outlier, …) are followed where all their
    values are booleans or words such as pass and fail; one that could mean either (qc, flag) is
    where its words do, or, for a flag, where it marks at most half of the wells. An empty cell
    marks nothing.
    """
    for name in rows.raw.table.column_names:
        plain = normal(name)
        if plain not in PASSED | FAILED | MARKED:
            continue
        given = as_text(rows.raw.table.column(name))
        bad = {text: _is_bad(text, plain) for text in set(given.tolist())}
        if unclear := [text for text, meaning in bad.items() if meaning is None]:
            notes.append(
                f"quality: column {name!r} is not followed, for {unclear[0]!r} says neither pass "
                "nor fail; mark wells to be left out in a column 'exclude' with true and false"
            )
            continue
        marked = translated(given, lambda text: bad[text], bool) & rows.kept  # noqa: B023
        share = marked.sum() / max(1, rows.kept.sum())
        if plain in MARKED and share > _MOST:
            notes.append(
                f"quality: column {name!r} marks {share:.0%} of the wells and is not followed; "
                "mark wells to be left out in a column 'exclude' with true and false"
            )
            continue
        rows.reject(marked, name, given, "marked by this column as not to be used")
        gaps = int((given[rows.kept] == "").sum())
        said = f"quality: column {name!r} leaves out {int(marked.sum()):,} wells"
        notes.append(said + (f"; {gaps:,} without a value are kept" if gaps else ""))


def _is_bad(text: str, plain: str) -> bool | None:
    """Whether a value in a column of this name marks a well; None if it cannot be told."""
    word = text.casefold().strip()
    if not word:
        return False
    if word in _GOOD or word in _BAD:
        return word in _BAD
    truth = truth_of(word)
    if truth is None or plain in ("qc", "qcstatus", "quality", "wellqc", "qualitycontrol"):
        return None  # a number or a boolean there may mean either
    return not truth if plain in PASSED else truth
