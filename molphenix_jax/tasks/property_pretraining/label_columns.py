"""Which columns of a label table are labels, and their values: nothing is left out unsaid.

What counts as a number written as text, as a gap, as an index or as a name is what the wells reader
takes for these (`tables.numbers`, `wells.features`).
"""

import collections
import re
from collections.abc import Collection

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float

from molphenix_jax.errors import InputError
from molphenix_jax.tables.columns import ALIASES, normal, short
from molphenix_jax.tables.dose_names import dose_name
from molphenix_jax.tables.missing import MISSING, SENTINELS, beyond
from molphenix_jax.tables.numbering import counts_up, words_of
from molphenix_jax.tables.numbers import Style, numbers_of, sample, style_of
from molphenix_jax.wells.controls.words import truth_of
from molphenix_jax.wells.features.choice import (
    DOSES,
    METADATA,
    NAME,
    ROWS,
    why_no_feature,
)

TEXT = "they hold text"
RELATIONS = "they hold relations (>, <, =), which are applied to no label"
CONSTANT = "all their known values are the same"
SPLITS = "they tell parts of a split"
TIMES = "they tell when something was measured"
EMPTY = "they have no value of a usable molecule"

# A bound in place of a number: ">10", "<= 0.5", "~3".
_CENSORED = re.compile(r"(>>|<<|[<>]=?|=[<>]|[~≥≤⩾⩽≈∼≳≲]|(ca|approx)\.?(?=[\s\d]))\s*(?=[-+.,\d])")
_RELATIONS = frozenset((">", "<", "=", "~", ">=", "<=", ">>", "<<", "'='", "'>'", "'<'", "'~'"))
_TRUE = frozenset(("active", "positive", "pos", "toxic"))
_FALSE = frozenset(("inactive", "negative", "neg", "nontoxic", "non-toxic"))
# Tasks that are called by a number of ChEMBL or PubChem, whose columns of ids are called otherwise.
_TASK = re.compile(r"(chembl|pubchem|aid)\W*_?\d+", re.IGNORECASE)
_SPLIT = re.compile(
    r"(\w*[\W_])?((cv|k|outer|inner|test)?[\W_]*folds?|(data|train)?[\W_]*(split|partition|subset))"
    r"([\W_]*(id|idx|index|no|num|number|\d+))?",
    re.IGNORECASE,
)
# What stands in names of relations and of labels beside what they are of, and names of units.
_OF_RELATION = re.compile(
    r"(^|_)(relation(ship)?|operator|qualifier|modifier|prefix|sign|op|rel|censor(ed|ing)?)(?=_|$)"
)
_OF_VALUE = re.compile(r"(^|_)(values?|measured|measurement|result|numeric)(?=_|$)")
_UNITS = re.compile(r"(.*_)?(units?|uom)")
_BIT = re.compile(r"[01](\.0*)?")

_TOLD = {
    "censored": "bounds (>, <, ~) are gaps",
    "missing": "words for a missing value are gaps",
    "stray": "what is no number is a gap",
    "infinite": "infinite values are gaps",
    "boolean": "true and false, or active and inactive, are 1 and 0",
    "percent": "percent signs are dropped: 5% is 5",
    ",": "decimal commas: 1,5 is read as 1.5",
    ".,": "commas group thousands: 1,234.5 is read as 1234.5",
    "sentinel": (
        "may stand for gaps, and are learned as numbers: -1 where all else is 0 or more, or a "
        "number such as -999 or 9999 that repeats beyond all others by more than their range; "
        "leave such cells blank"
    ),
    "taken": "data.columns takes them though they look like no labels",
}


class ColumnNotes:
    """What was done to columns, gathered to a sentence of each kind."""

    def __init__(self) -> None:
        self.left_out: dict[str, list[str]] = {}
        self._told: dict[str, list[str]] = collections.defaultdict(list)

    def leave_out(self, name: str, why: str) -> None:
        """A column that is no label."""
        self.left_out.setdefault(why, []).append(name)

    def tell(self, kind: str, name: str, what: str = "") -> None:
        """Something of a column: a key of `_TOLD`, and how much."""
        self._told[kind].append(f"{name} ({what})" if what else name)

    def join(self, other: "ColumnNotes") -> None:
        """Takes over what another one was told."""
        for kind, told in other._told.items():
            self._told[kind] += told

    def sentences(self, where: str) -> list[str]:
        """A sentence for each kind and each reason; every column is named."""
        told = [
            f"{where}: {_TOLD[k]}: {', '.join(self._told[k])}" for k in _TOLD if k in self._told
        ]
        left = [
            f"{where}: no labels, for {why}: {', '.join(n)}" for why, n in self.left_out.items()
        ]
        return told + left


def label_of_relation(relation: str, labels: Collection[str]) -> str | None:
    """The label that a column of relations belongs to: by its name, or the only one there is."""
    stem = _OF_RELATION.sub("", words_of(relation)).strip("_")
    named = [
        name
        for name in labels
        if stem and stem in (words_of(name), _OF_VALUE.sub("", words_of(name)).strip("_"))
    ]
    if len(named) == 1:
        return named[0]
    return next(iter(labels)) if len(labels) == 1 else None


def are_bounds(column: pd.Series) -> Bool[np.ndarray, "n"]:
    """Rows whose relation is not "="; a gap says nothing."""
    said = column.astype(object).where(column.notna(), "").astype(str).str.strip(" '\"")
    return ~said.isin(["", "=", "=="]).to_numpy()


def refuse_units(where: str, name: str, column: pd.Series) -> None:
    """Stops where a column tells that labels are in several units.

    Raises:
        InputError: It does; names the units and how often each stands.
    """
    if not _UNITS.fullmatch(words_of(name)) or pd.api.types.is_numeric_dtype(column):
        return
    text = column.dropna().astype(str).str.strip()
    counts = text[~text.str.casefold().isin(MISSING)].value_counts()
    if len(counts) > 1:
        told = short([f"{unit} in {n:,} rows" for unit, n in counts.items()], 4)
        raise InputError(
            f"{where}: column {name!r} tells several units ({told}): bring the labels to one unit, "
            f"or leave the column out with data.losses=(('^{re.escape(name)}$', 'none'),)"
        )


def why_no_label(name: str, values: Float[np.ndarray, "n"]) -> str | None:
    """What speaks against a column of numbers: it numbers rows or folds, names or doses samples."""
    if _SPLIT.fullmatch(name):
        return SPLITS
    if normal(name) in ALIASES["time_h"]:
        return TIMES
    why, dose = why_no_feature(name), dose_name(name)
    if dose and dose.kind == "doubt" and dose.unit and not dose.stem and "only" not in dose.doubt:
        why = None  # solubility_uM: a quantity in a molar unit may well be a label
    if why in (ROWS, NAME, DOSES, METADATA) and not _TASK.fullmatch(name):
        return why
    return ROWS if counts_up(values) else None


def read_numbers(
    where: str, name: str, column: pd.Series, notes: ColumnNotes
) -> Float[np.ndarray, "n"] | str:
    """A column of labels of molecules as numbers, NaN in its gaps; or why it holds none.

    Raises:
        InputError: Its commas may be decimal points or group thousands.
    """
    if pd.api.types.is_bool_dtype(column):
        notes.tell("boolean", name)
        return column.to_numpy(np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return "they hold dates"
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
    else:
        read = _of_text(where, name, column, notes)
        if isinstance(read, str):
            return read
        values = read
    infinite = np.isinf(values) | (np.abs(values) > np.finfo(np.float32).max)
    if infinite.any():
        notes.tell("infinite", name, f"{infinite.sum():,}")
        values = np.where(infinite, np.nan, values)
    if suspects := _suspects(values):
        notes.tell("sentinel", name, suspects)
    return values


def _of_text(where: str, name: str, column: pd.Series, notes: ColumnNotes) -> np.ndarray | str:
    """A column of text as numbers; or why it holds none."""
    gap = column.isna().to_numpy()
    text = np.where(gap, "", column.astype(str).str.strip().to_numpy()).astype(object)
    code, unique = pd.factorize(text)
    counts = np.bincount(code, minlength=len(unique))
    missing = np.array([t.casefold() in MISSING for t in unique], bool)
    censored = np.array([bool(_CENSORED.match(t)) for t in unique], bool)
    said = ~(missing | censored)
    words = unique[said].tolist()
    if not words:
        return "all they hold are bounds" if censored.any() else EMPTY
    if set(words) <= _RELATIONS:
        return RELATIONS
    truths = {word: _truth(word) for word in words}
    if None not in truths.values() and not all(map(_BIT.fullmatch, words)):
        notes.tell("boolean", name, "/".join(words[:4]))
        values = np.array([truths.get(t, np.nan) for t in unique.tolist()], np.float64)
    else:
        style = style_of(sample(text[said[code]].tolist()))
        if style is None:
            return TEXT
        if style == "?":
            raise InputError(
                f"{where}: column {name!r}: is the comma in "
                f"{next(w for w in words if ',' in w)!r} a decimal point or does it group "
                "thousands? Write its numbers without it, or leave the column out with "
                f"data.losses=(('^{re.escape(name)}$', 'none'),)"
            )
        values = _parsed(np.where(said, unique, ""), style)
        stray = said & np.isnan(values)
        percent = said & np.array([t.endswith("%") for t in unique], bool)
        if style != ".":
            notes.tell(style, name)
        if percent.any():
            notes.tell("percent", name, f"{counts[percent].sum():,} of {counts[said].sum():,}")
        if stray.any():
            examples = short([repr(t) for t in unique[stray]], 3)
            notes.tell("stray", name, f"{counts[stray].sum():,}: {examples}")
    if censored.any():
        notes.tell("censored", name, f"{counts[censored].sum():,}")
    if worded := np.flatnonzero(missing & (unique != "")).tolist():
        examples = short([repr(unique[i]) for i in worded], 3)
        notes.tell("missing", name, f"{counts[worded].sum():,}: {examples}")
    return values[code]


def _parsed(texts: np.ndarray, style: Style) -> np.ndarray:
    return numbers_of(pa.chunked_array([pa.array(texts.tolist(), pa.string())]), style)


def _truth(word: str) -> float | None:
    plain = word.casefold()
    if plain in _TRUE or plain in _FALSE:
        return float(plain in _TRUE)
    said = truth_of(plain)
    return None if said is None else float(said)


def _suspects(values: Float[np.ndarray, "n"]) -> str:
    """Numbers that may stand for gaps, with their counts; "" for none."""
    unique, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    found = []
    for value, count in zip(unique.tolist(), counts.tolist(), strict=True):
        if count < 2 or value not in (-1, *SENTINELS):
            continue
        others = unique[~np.isin(unique, SENTINELS) & (unique != value)]
        if not len(others):
            continue
        if others[0] >= 0 if value == -1 else beyond(value, others[0], others[-1]):
            found.append(f"{value:g} in {count:,} rows")
    return ", ".join(found)
