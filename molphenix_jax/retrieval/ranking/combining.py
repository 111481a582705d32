"""Several profiles as one query: weighted, positive and negative.

"like A and B, unlike C" is +A,+B,-C. The unit vectors of each member of the ensemble are summed
with their weights and brought back to length 1, so that a cosine stays the mean of the members'.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from molphenix_jax.errors import InputError
from molphenix_jax.tables.columns import near, short

_TERM = re.compile(r"\s*([+-]?)\s*(?:(\d*\.?\d+)\s*\*)?\s*(.+?)\s*")
TERM_COLUMNS = ("query", "profile", "weight")


class CombinationError(InputError):
    """A combination of profiles that cannot be read, or that names none."""


class Term(NamedTuple):
    """A profile by its name, and how much it counts."""

    profile: str
    weight: float


def parse_terms(text: str) -> tuple[Term, ...]:
    """The terms of `+A,+2*B,-C`.

    Raises:
        CombinationError: There is none.
    """
    terms = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _TERM.fullmatch(part)
        if match is None:
            raise CombinationError(f"combine: {part!r} names no profile; write +A,+B,-0.5*C")
        weight = float(match[2] or 1) * (-1 if match[1] == "-" else 1)
        terms.append(Term(match[3], weight))
    if not terms:
        raise CombinationError("combine: no profile is named; write +A,+B,-0.5*C")
    return tuple(terms)


def read_terms(table: pd.DataFrame, path: str) -> dict[str, tuple[Term, ...]]:
    """The combinations of a table with the columns query, profile and weight.

    Raises:
        CombinationError: A column is missing, or a weight is no number.
    """
    if missing := [name for name in TERM_COLUMNS[:2] if name not in table.columns]:
        raise CombinationError(
            f"{path}: no column {missing[0]!r}; combinations have a row for each profile: "
            "query (name of the combination), profile, weight"
        )
    found: dict[str, list[Term]] = {}
    for number, row in enumerate(table.to_dict("records"), 1):
        text = str(row.get("weight", "1")).strip() or "1"
        try:
            weight = float(text)
        except ValueError:
            weight = np.nan
        if not np.isfinite(weight):
            raise CombinationError(f"{path}: row {number}, weight: {text!r} is no number")
        name, profile = str(row["query"]).strip(), str(row["profile"]).strip()
        if not name or not profile:
            raise CombinationError(f"{path}: row {number} names no query or no profile")
        found.setdefault(name, []).append(Term(profile, weight))
    if not found:
        raise CombinationError(f"{path}: holds no combination")
    return {name: tuple(terms) for name, terms in found.items()}


def places_of(terms: Sequence[Term], table: pd.DataFrame) -> list[int]:
    """The query that each term names: by its label, or by its name where that is one query's.

    Args:
        terms: Of a combination.
        table: `Queries.table`.

    Raises:
        CombinationError: There is none of that name, there are several, or no weight is positive.
    """
    if not any(term.weight > 0 for term in terms):
        raise CombinationError(
            "combine: no profile has a positive weight: what is looked for has to be like something"
        )
    labels, places = table["query"].tolist(), []
    by_name: Mapping = table.groupby("name").indices
    for term in terms:
        at = [labels.index(term.profile)] if term.profile in labels else []
        at = at or list(by_name.get(term.profile, []))
        if not at:
            raise CombinationError(
                f"combine: no profile is called {term.profile!r}{near(term.profile, labels)}"
            )
        if len(at) > 1:
            raise CombinationError(
                f"combine: {len(at)} profiles are called {term.profile!r}: say which, "
                f"{short([labels[i] for i in at], 5)}"
            )
        places.append(int(at[0]))
    return places


def combined(
    z: Float[np.ndarray, "t n e"], weights: Float[np.ndarray, " t"], members: int
) -> Float[np.ndarray, "n e"]:
    """Embeddings of n combinations of t profiles each."""
    total = np.einsum("t,tne->ne", weights, z.astype(np.float64))
    apart = total.reshape(len(total), members, -1)
    length = np.linalg.norm(apart, axis=2, keepdims=True)
    unit = apart / np.where(length > 0, length, 1.0)
    return (unit.reshape(total.shape) / np.sqrt(members)).astype(np.float32)
