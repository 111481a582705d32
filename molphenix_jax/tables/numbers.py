"""Numbers that a table holds as text: which columns do, and what "1,5" and "1.234,5" are there."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from molphenix_jax.tables.columns import as_text
from molphenix_jax.tables.missing import MISSING

# Decimal point; decimal point, and commas that group thousands; decimal comma; not to be told.
Style = Literal[".", ".,", ",", "?"]

_SAMPLE = 500  # cells that tell how a column writes its numbers
_SHARE = 0.9  # of what a column says are numbers, if it is a column of numbers
_END = r"(e[+-]?\d+)?\s*%?"
_POINT = re.compile(rf"[+-]?((\d+\.?\d*|\.\d+){_END}|inf(inity)?)", re.IGNORECASE)
_COMMA = re.compile(rf"[+-]?(\d*,\d+|\d+,){_END}", re.IGNORECASE)
_GROUPED = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+{_END}", re.IGNORECASE)
_ENGLISH = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+\.\d*{_END}", re.IGNORECASE)
_GERMAN = re.compile(rf"[+-]?[1-9]\d{{0,2}}(\.\d{{3}})+,\d*{_END}", re.IGNORECASE)
_POINT_OR_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
# A minus sign, and what else groups thousands: blanks that break no line, apostrophes.
_SIGNS = str.maketrans({"\u2212": "-", "\u00a0": "", "\u202f": "", "'": "", "\u2019": ""})
_CODE = re.compile(r"\d+")


def sample(texts: Sequence[str]) -> Sequence[str]:
    """As many of the cells of a column, from all its length, as tell how it is written."""
    return texts[:: len(texts) // _SAMPLE + 1]


def style_of(texts: Iterable[str]) -> Style | None:
    """How numbers are written in a column of text; None if it holds something else.

    Commas are decimal points where one cannot group thousands ("0,5"), and group thousands where a
    point follows ("1,234.5"); "1,234" alone may be either.
    """
    said = [t for t in (_plain(text) for text in texts) if t.casefold() not in MISSING]
    point = [t for t in said if _POINT.fullmatch(t)]
    english = [t for t in said if _ENGLISH.fullmatch(t)]
    either = [t for t in said if _GROUPED.fullmatch(t)]
    comma = [t for t in said if _COMMA.fullmatch(t) and not _GROUPED.fullmatch(t)]
    comma += [t for t in said if _GERMAN.fullmatch(t)]
    if len(point) + len(english) + len(either) + len(comma) <= _SHARE * len(said):
        return None
    if comma:
        return "?" if english else ","
    if english:
        return ".,"
    return "?" if either else "."


def mixes_percent(texts: Iterable[str]) -> bool:
    """Whether some numbers have a percent sign and others have none; 0 is 0."""
    said = [text for text in (_plain(text) for text in texts) if re.search("[1-9]", text)]
    return len({text.endswith("%") for text in said}) > 1


def are_codes(texts: Iterable[str]) -> bool:
    """Whether all that a column of text says is whole numbers, as codes and labels are."""
    said = [text for text in texts if text.casefold() not in MISSING]
    return bool(said) and all(_CODE.fullmatch(text) for text in said)


def numbers_of(column: pa.ChunkedArray, style: Style) -> Float[np.ndarray, "n"]:
    """A column of text as numbers; NaN where there is none."""
    try:
        return _cast(column, style)
    except pa.ArrowInvalid:
        code, unique = pd.factorize(as_text(column))
        return np.array([_number(text, style) for text in unique], np.float64)[code]


def _cast(column: pa.ChunkedArray, style: Style) -> Float[np.ndarray, "n"]:
    """The same where every cell is a plain number or null.

    Raises:
        pa.ArrowInvalid: one is not.
    """
    text = pc.cast(column, pa.string())
    if style == ",":
        points = pc.MatchSubstringOptions(".")
        if pc.call_function("match_substring", [text], points).to_numpy().any():
            raise pa.ArrowInvalid("points beside decimal commas")
        comma = pc.ReplaceSubstringOptions(",", ".")
        text = pc.call_function("replace_substring", [text], comma)
    return pc.cast(text, pa.float64()).to_numpy()


def _plain(text: str) -> str:
    return text.strip().translate(_SIGNS)


def _number(text: str, style: Style) -> float:
    plain = _plain(text)
    if style == ",":
        if _GERMAN.fullmatch(plain) or _COMMA.fullmatch(plain):
            plain = plain.replace(".", "").replace(",", ".")
        elif _POINT_OR_GROUP.fullmatch(plain):
            return np.nan  # "1.500" among decimal commas may be either
    elif style == ".," and (_GROUPED.fullmatch(plain) or _ENGLISH.fullmatch(plain)):
        plain = plain.replace(",", "")
    return float(plain.rstrip("% ")) if _POINT.fullmatch(plain) else np.nan
