"""`hits.html`: hits as one page that needs nothing else, neither a server nor the network."""

import collections
import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from molphenix_jax.retrieval.hits import COLUMNS, NOT_MEASURED, Hits
from molphenix_jax.retrieval.lists_page import Group, Lists, Words, lists_page, most_rows
from molphenix_jax.storage import write_text

FEATURES = 12  # of a query
_CHANCE = "chance that the true molecule is in the list"
_WORDS = Words(
    heading="Hits",
    group="query",
    groups="queries",
    row="hit",
    rows="hits",
    listed="Molecules",
    searched="id, SMILES, InChIKey",
    file="hits",
)
# In the files and details alone.
_HIDDEN = ("query", "smiles", "inchikey", "scaffold", "nearest_smiles")


def write_page(path: str | pathlib.Path, hits: Hits) -> None:
    """Writes `hits.html`.

    Of many queries the page has the best hits of each, `lists_page.MOST_ROWS` together, and says
    so.

    Raises:
        StorageError: It cannot be written.
    """
    write_text(pathlib.Path(path), hits_page(hits))


def hits_page(hits: Hits) -> str:
    """The page as text."""
    table = hits.table.sort_values("rank", kind="stable")
    hits = Hits(table, hits.queries, hits.doses_um, hits.features, hits.about)
    curves = "curve" in table and bool(hits.doses_um)
    shown = hits.queries.iloc[: most_rows(len(hits.queries))[0]]
    features = dict(list(hits.features.groupby("query", sort=False)))
    sizes = collections.Counter(table["query"].tolist())
    groups = [
        _group(
            row, sizes[row["query"]], features.get(row["query"]), str(hits.about.get("chance", ""))
        )
        for row in shown.to_dict("records")
    ]
    # Of queries that the page leaves out it needs no more than that they are there.
    groups += [Group(name, name) for name in hits.queries["query"].iloc[len(groups) :]]
    flat = hits.flat()
    return lists_page(
        Lists(
            words=_WORDS,
            summary=_summary(hits),
            about=hits.about,
            groups=groups,
            table=flat.loc[:, [name in table for name in flat]],
            owner="query",
            heading="id",
            columns=COLUMNS,
            hidden=_HIDDEN,
            searched=("id", "smiles", "inchikey", "scaffold"),
            doses_um=hits.doses_um,
            curves=table["curve"].tolist() if curves else None,
        )
    )


def _summary(hits: Hits) -> str:
    n, m = len(hits.queries), len(hits.table)
    parts = [f"{m:,} hits of {n:,} {'query' if n == 1 else 'queries'}."]
    told = hits.queries["abstained"].tolist() if "abstained" in hits.queries else []
    if quiet := sum(not pd.isna(each) and bool(each) for each in told):
        parts.append(f"{quiet:,} of the queries look inactive: their lists mean little.")
    return " ".join(parts)


def _group(
    row: Mapping[str, Any], n_hits: int, features: pd.DataFrame | None, chance: str
) -> Group:
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
            facts.append((title, f"{row[key]:,.0f}"))
    if known("activity_p"):
        facts.append(("activity p", f"{row['activity_p']:.3g}"))
    if known("chance_in_list") and not abstained:
        share = f"{100 * row['chance_in_list']:.0f}%, as calibrated on held-out molecules"
        facts.append((_CHANCE, share))
    elif chance.startswith(NOT_MEASURED) and not abstained:
        facts.append((_CHANCE, chance))
    facts.append(("hits", f"{n_hits:,}"))
    if known("note") and str(row["note"]):
        facts.append(("note", str(row["note"])))
    strongest = features.head(FEATURES) if features is not None else pd.DataFrame()
    return Group(
        name=name,
        label=f"{name} (looks inactive)" if abstained else name,
        warnings=warnings,
        facts=facts,
        features=list(zip(strongest["feature"], strongest["value"], strict=True))
        if len(strongest)
        else [],
    )
