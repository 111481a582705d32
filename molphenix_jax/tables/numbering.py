"""Columns of numbers that number rows or name things, and so describe nothing."""

import re

import numpy as np

# Names by their words (`words_of`).
ROW_NUMBERS = (
    r"index_level_\d+|unnamed.*|index|idx|level_\d|row_?(number|num|no|nr|idx|index|id)"
    r"|row_?names?|rank|order|seq(uence)?_?(no|nr|number)|"
)
IDENTIFIERS = r"(.*_)?(id|ids|uid|uuid|guid|barcode|cid|sid|accession|cas|seed)"
_NEITHER = re.compile(rf"{ROW_NUMBERS}|{IDENTIFIERS}|((cv|train|test|data)_?)?(fold|split)(_?\d+)?")


def words_of(name: str) -> str:
    """The words of a column's name in small letters, joined by "_"; without what is in brackets."""
    bare = re.sub(r"[\[(].*?[\])]", "", name)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", bare)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def counts_up(values: np.ndarray) -> bool:
    """Whether whole numbers rise by one from row to row, as numbers of rows do."""
    values = values.astype(np.float64)
    return len(values) > 4 and (np.diff(values) == 1).all() and values[0] == int(values[0])


def numbers_rows(name: str, values: np.ndarray) -> bool:
    """Whether a column numbers rows, names things or splits them, by its name or its first rows."""
    return bool(_NEITHER.fullmatch(words_of(name))) or counts_up(values)
