"""Ranked lists as one page that needs nothing else, neither a server nor the network.

The table is made in the browser from compact data in the page (`page/lists.js`); what there is to
say in words is worded by whose lists they are (`hits_page`, `resembling_page`). Texts of users go
into JSON whose every "<" is escaped, so that none ends the script that holds it, and from there
into the page as text alone.
"""

import base64
import dataclasses
import gzip
import importlib.resources
import json
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from molphenix_jax.molecules.drawing import draw
from molphenix_jax.molecules.files import mol_blocks
from molphenix_jax.retrieval.hits import Column

MOST_ROWS = 5_000  # in a page; files have all
FEWEST_ROWS = 10  # of a list
_DECIMALS = {"cosine": 3, "percentile": 3, "spread": 3, "nearest_tanimoto": 2}
_DIGITS = {"p_value": 2, "activity_p": 2}  # significant ones
_OTHER_DIGITS = 4
_STORED_DIGITS = 6
_DESCENDS = ("cosine", "percentile", "nearest_tanimoto")
_WARNS = ("in_domain", "trained_on")  # as far as these are not what one hopes for
_PICTURES = ("smiles", "nearest_smiles")
_END = "$$$$\n"  # of a record; none of what RDKit writes


class Words(NamedTuple):
    """What things are called on a page.

    Attributes:
        heading: The page, and its rows in a title: "Hits".
        group: What a list belongs to: "query"; and several of them.
        groups: See `group`.
        row: A row: "hit"; and several.
        rows: See `row`.
        listed: What is listed: "Molecules".
        searched: What the search looks at.
        file: Where all rows are, without the ending, and what downloads are called by.
    """

    heading: str
    group: str
    groups: str
    row: str
    rows: str
    listed: str
    searched: str
    file: str


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """What one list belongs to.

    Attributes:
        name: Unique.
        label: In the choice of lists.
        warnings: Sentences.
        facts: Pairs of a word and what it says.
        features: Pairs of a feature and its value.
        pictures: Pairs of a SMILES and a caption.
        curves: Triples: a cosine at each dose, the cosine of the line beside it, a caption.
    """

    name: str
    label: str
    warnings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    features: Sequence[tuple[str, float]] = ()
    pictures: Sequence[tuple[str, str]] = ()
    curves: Sequence[tuple[Sequence[float], float, str]] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
    """What a page shows.

    Attributes:
        words: What things are called.
        summary: Sentences under the heading.
        about: What made it, as pairs.
        groups: One for each list, in order; also of those without rows.
        table: Rows as files have them, each group's in order and together.
        owner: Column of the table that has the group's name.
        heading: Column that names a row.
        columns: Title and meaning of columns.
        hidden: Columns in details and files alone.
        searched: Columns that the search looks at.
        doses_um: k of the curves, ascending.
        curves: For each row its cosines at these doses; None where there are none.
        with_files: Whether selected rows are downloaded as SMILES and SDF too.
    """

    words: Words
    summary: str
    about: Mapping[str, Any]
    groups: Sequence[Group]
    table: pd.DataFrame
    owner: str
    heading: str
    columns: Mapping[str, Column]
    hidden: Sequence[str]
    searched: Sequence[str]
    doses_um: Sequence[float] = ()
    curves: Sequence[Sequence[float]] | None = None
    with_files: bool = True


def most_rows(n_groups: int) -> tuple[int, int]:
    """How many groups a page has, and rows of each."""
    kept = min(n_groups, MOST_ROWS // FEWEST_ROWS)
    return kept, max(FEWEST_ROWS, MOST_ROWS // max(kept, 1))


def lists_page(lists: Lists) -> str:
    """The page as text.

    Of many lists it has the best rows of each, `MOST_ROWS` together, and says so.

    Raises:
        ValueError: A SMILES cannot be read (names it).
    """
    page = importlib.resources.files("molphenix_jax.retrieval") / "page"
    style, script, template = (
        (page / f"lists.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    data = json.dumps(_data(lists), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    words = lists.words
    return string.Template(template).substitute(
        style=style,
        data=data,
        script=script,
        heading=words.heading,
        group=words.group.capitalize(),
        listed=words.listed,
        searched=words.searched,
        table=f"{words.file}.csv",
    )


def _data(lists: Lists) -> dict[str, Any]:
    groups, rows, starts, left_out = _of_page(lists)
    words, table = lists.words, lists.table.iloc[rows].reset_index(drop=True)
    doses = [_number(dose) for dose in lists.doses_um] if lists.curves is not None else []
    curves = [lists.curves[row] for row in rows] if lists.curves is not None else []
    pictured = [
        name for name in _PICTURES if name in table and (table[name].fillna("") != "").any()
    ]
    smiles = _distinct(table["smiles"])[0] if "smiles" in table else []
    n = len(lists.groups)
    return {
        "title": words.heading if n == 1 else f"{words.heading} of {n:,} {words.groups}",
        "summary": " ".join([lists.summary, *left_out]),
        "about": [[str(name).replace("_", " "), str(told)] for name, told in lists.about.items()],
        "words": words._asdict(),
        "file": words.file,
        "heading": lists.heading,
        "searched": list(lists.searched),
        "doses": doses,
        "curve_names": [f"cosine_at_{dose:g}_um" for dose in lists.doses_um] if doses else [],
        "columns": [_column(str(name), pd.Series(of), lists) for name, of in table.items()],
        "curves": [[_number(x) for x in curve] for curve in curves],
        "pictures": {name: draw(_distinct(table[name])[0]) for name in pictured},
        "records": _packed(_END.join(mol_blocks(smiles))) if smiles and lists.with_files else "",
        "queries": [_group(*each) for each in zip(groups, starts, strict=True)],
    }


def _of_page(
    lists: Lists,
) -> tuple[Sequence[Group], np.ndarray, list[tuple[int, int]], list[str]]:
    """Groups and rows that the page has, the first row and end of each, what it leaves out."""
    n, most = most_rows(len(lists.groups))
    words, groups = lists.words, lists.groups[:n]
    place = {group.name: k for k, group in enumerate(groups)}
    where = np.array([place.get(str(name), -1) for name in lists.table[lists.owner]], int)
    order = np.argsort(where, kind="stable")
    order = order[where[order] >= 0]
    nth = np.arange(len(order)) - np.searchsorted(where[order], where[order])
    kept = order[nth < most]
    ends = np.searchsorted(where[kept], np.arange(n + 1)).tolist()
    left_out = []
    if (nth >= most).any():
        left_out.append(
            f"The page has the best {most:,} {words.rows} of each {words.group}; {words.file}.csv "
            "has all."
        )
    if n < len(lists.groups):
        left_out.append(
            f"It has the first {n:,} of {len(lists.groups):,} {words.groups}; the files beside it "
            "have all."
        )
    return groups, kept, list(zip(ends[:-1], ends[1:], strict=True)), left_out


def _group(group: Group, rows: tuple[int, int]) -> dict[str, Any]:
    drawn = draw([smiles for smiles, _ in group.pictures])
    return {
        "name": group.name,
        "label": group.label,
        "rows": list(rows),
        "warnings": list(group.warnings),
        "facts": [list(fact) for fact in group.facts],
        "features": [
            [str(name), _number(value)]
            for name, value in group.features
            if _number(value) is not None
        ],
        "pictures": [
            [svg, caption] for svg, (_, caption) in zip(drawn, group.pictures, strict=True)
        ],
        "curves": [
            [[_number(x) for x in values], _number(base) or 0, caption]
            for values, base, caption in group.curves
        ],
    }


def _column(name: str, values: pd.Series, lists: Lists) -> dict[str, Any]:
    about, present = lists.columns.get(name), values.dropna()
    column: dict[str, Any] = {
        "key": name,
        "title": about.title if about else name,
        "meaning": about.meaning if about else "",
        "shown": name not in lists.hidden and bool(len(present) and (present != "").any()),
        "descends": name in _DESCENDS,
        "warns": name in _WARNS,
        "digits": _DIGITS.get(name, _OTHER_DIGITS),
        "decimals": _DECIMALS.get(name),
    }
    if len(present) and all(isinstance(value, bool | np.bool_) for value in present):
        flags = [None if pd.isna(value) else bool(value) for value in values]
        return column | {"kind": "flag", "values": flags}
    numeric = name not in ("id", "query") and len(present)
    if numeric and pd.api.types.is_numeric_dtype(pd.Series(present.tolist())):
        return column | {"kind": "number", "values": [_number(value) for value in values]}
    texts, codes = _distinct(values)
    return column | {"kind": "text", "texts": texts, "values": codes}


def _distinct(values: pd.Series) -> tuple[list[str], list[int]]:
    texts = ["" if pd.isna(value) else str(value) for value in values]
    distinct = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    return list(distinct), [distinct[text] for text in texts]


def _number(value: Any) -> float | int | None:
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    short = float(f"{value:.{_STORED_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def _packed(text: str) -> str:
    """Text as a browser unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")
