"""`hits.html`: hits as one page that needs nothing else, neither a server nor the network.

The table is made in the browser from compact data in the page (`page/hits.js`); what there is to
say in words is worded here. Texts of users go into JSON whose every "<" is escaped, so that none
ends the script that holds it, and from there into the page as text alone.
"""

import importlib.resources
import json
import math
import pathlib
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from molphenix_jax.molecules.drawing import draw
from molphenix_jax.retrieval.hits import COLUMNS, Hits
from molphenix_jax.storage import write_text

MOST_ROWS = 5_000  # in a page; files have all
FEWEST_ROWS = 10  # of a query
FEATURES = 12  # of a query
# In the files and details alone.
_NOT_SHOWN = ("query", "smiles", "inchikey", "scaffold", "nearest_smiles")
_DECIMALS = {"cosine": 3, "percentile": 3, "spread": 3, "nearest_tanimoto": 2}
_DIGITS = {"p_value": 2}  # significant ones
_OTHER_DIGITS = 4
_STORED_DIGITS = 6
_DESCENDS = ("cosine", "percentile", "nearest_tanimoto")
_WARNS = ("in_domain", "trained_on")  # as far as these are not what one hopes for
_PICTURES = ("smiles", "nearest_smiles")


def write_page(path: str | pathlib.Path, hits: Hits) -> None:
    """Writes `hits.html`.

    Of many queries the page has the best hits of each, `MOST_ROWS` together, and says so.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(pathlib.Path(path), hits_page(hits))


def hits_page(hits: Hits) -> str:
    """The page as text."""
    page = importlib.resources.files("molphenix_jax.retrieval") / "page"
    style, script, template = (
        (page / f"hits.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    data = json.dumps(_data(hits), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return string.Template(template).substitute(style=style, data=data, script=script)


def _data(hits: Hits) -> dict[str, Any]:
    queries, table, left_out = _of_page(hits)
    flat = {str(name): pd.Series(table[name]) for name in hits.flat() if name in table}
    curves = "curve" in table and bool(hits.doses_um)
    starts = _rows_of(queries["query"].tolist(), table["query"].tolist())
    return {
        "title": f"Hits of {len(hits.queries):,} queries" if len(hits.queries) != 1 else "Hits",
        "summary": " ".join([_summary(hits), *left_out]),
        "about": [[str(name).replace("_", " "), str(told)] for name, told in hits.about.items()],
        "doses": [_number(dose) for dose in hits.doses_um] if curves else [],
        "curve_names": [f"cosine_at_{dose:g}_um" for dose in hits.doses_um] if curves else [],
        "columns": [_column(name, values) for name, values in flat.items()],
        "curves": [[_number(x) for x in curve] for curve in table["curve"]] if curves else [],
        "pictures": {name: draw(_distinct(flat[name])[0]) for name in _PICTURES if name in flat},
        "queries": [
            _query(row, rows, pd.DataFrame(hits.features[hits.features["query"] == row["query"]]))
            for row, rows in zip(queries.to_dict("records"), starts, strict=True)
        ],
    }


def _of_page(hits: Hits) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Queries and hits that the page has, query by query, and what it leaves out."""
    queries = hits.queries.iloc[: MOST_ROWS // FEWEST_ROWS]
    most = max(FEWEST_ROWS, MOST_ROWS // max(len(queries), 1))
    place = {name: k for k, name in enumerate(queries["query"])}
    where = np.array([place.get(name, -1) for name in hits.table["query"]], int)
    order = np.lexsort((hits.table["rank"].to_numpy(), where))
    order = order[where[order] >= 0]
    nth = np.arange(len(order)) - np.searchsorted(where[order], where[order])
    longest = int(nth.max()) + 1 if len(nth) else 0
    kept = hits.table.iloc[order[nth < most]]
    left_out = []
    if longest > most:
        left_out.append(f"The page has the best {most:,} hits of each query; hits.csv has all.")
    if len(queries) < len(hits.queries):
        left_out.append(
            f"It has the first {len(queries):,} of {len(hits.queries):,} queries; hits.csv and "
            "queries.csv have all."
        )
    return queries, kept.reset_index(drop=True), left_out


def _rows_of(names: Sequence[Any], of_rows: Sequence[Any]) -> list[tuple[int, int]]:
    """First row and end of each query in a table that has them in this order."""
    found, at = [], 0
    for name in names:
        end = at
        while end < len(of_rows) and of_rows[end] == name:
            end += 1
        found.append((at, end))
        at = end
    return found


def _summary(hits: Hits) -> str:
    n, m = len(hits.queries), len(hits.table)
    parts = [f"{m:,} hits of {n:,} {'query' if n == 1 else 'queries'}."]
    told = hits.queries["abstained"].tolist() if "abstained" in hits.queries else []
    if quiet := sum(not pd.isna(each) and bool(each) for each in told):
        parts.append(f"{quiet:,} of the queries look inactive: their lists mean little.")
    return " ".join(parts)


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    about = COLUMNS.get(name)
    column: dict[str, Any] = {
        "key": name,
        "title": about.title if about else name,
        "meaning": about.meaning if about else "",
        "shown": name not in _NOT_SHOWN,
        "descends": name in _DESCENDS,
        "warns": name in _WARNS,
        "digits": _DIGITS.get(name, _OTHER_DIGITS),
        "decimals": _DECIMALS.get(name),
    }
    present = values.dropna()
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
    short = float(f"{value:.{_STORED_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def _query(row: dict[str, Any], rows: tuple[int, int], features: pd.DataFrame) -> dict[str, Any]:
    def known(name: str) -> bool:
        return name in row and row[name] is not None and not pd.isna(row[name])

    name, abstained = str(row["query"]), known("abstained") and bool(row["abstained"])
    warnings, facts = [], []
    if abstained:
        p = f" (p = {row['activity_p']:.3g})" if known("activity_p") else ""
        warnings.append(
            f"This profile looks inactive: it does not differ from the controls beyond chance{p}. "
            "Its list means little."
        )
    if known("trained_on") and row["trained_on"]:
        warnings.append(
            "The model has learned from this molecule's own profiles: that it is found says "
            "nothing of how well the model finds others."
        )
    for key, title in (("wells", "wells"), ("plates", "plates")):
        if known(key):
            facts.append([title, f"{row[key]:,.0f}"])
    if known("activity_p"):
        facts.append(["activity p", f"{row['activity_p']:.3g}"])
    if known("chance_in_list") and not abstained:
        share = f"{100 * row['chance_in_list']:.0f}%, as calibrated on held-out molecules"
        facts.append(["chance that the true molecule is in the list", share])
    facts.append(["hits", f"{rows[1] - rows[0]:,}"])
    if known("note") and str(row["note"]):
        facts.append(["note", str(row["note"])])
    strongest = features.head(FEATURES)
    return {
        "name": name,
        "label": f"{name} (looks inactive)" if abstained else name,
        "rows": list(rows),
        "warnings": warnings,
        "facts": facts,
        "features": [
            [str(feature), _number(value)]
            for feature, value in zip(strongest["feature"], strongest["value"], strict=True)
            if _number(value) is not None
        ],
    }
