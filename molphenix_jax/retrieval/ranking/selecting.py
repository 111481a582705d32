"""Which molecules of a library a list may hold: substructure, properties, one of each scaffold.

A list is filled from the best molecule down, and a molecule is looked at when its turn comes, so
that a filter costs what the list needs and not a pass through the library.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import match_substructures
from molphenix_jax.molecules.filters import Limit, within_limits
from molphenix_jax.retrieval.index import Index

_FIRST = 8  # times as many are looked at as are wanted, where a filter may refuse some
_GROWTH = 8
_ENTRIES = 1 << 24  # of all lists of a search together


class SelectionError(InputError):
    """What is asked of a list cannot be read."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a list is to hold.

    Attributes:
        top: Entries for each query.
        best_dose: A molecule comes once, at its best dose; else each dose is an entry.
        diverse: The best molecule of each Bemis-Murcko scaffold alone.
        substructure: SMARTS that each molecule holds; "" for any.
        limits: That each molecule keeps.
    """

    top: int = 100
    best_dose: bool = True
    diverse: bool = False
    substructure: str = ""
    limits: tuple[Limit, ...] = ()

    @property
    def filtered(self) -> bool:
        """Whether the list is not simply the best of the library."""
        return bool(self.diverse or self.substructure or self.limits)


@dataclasses.dataclass(frozen=True, eq=False)
class Listed:
    """The list of one query, best first; t entries.

    Attributes:
        molecule: Number in the library.
        dose: Number of the dose.
        score: Cosine.
        better: Molecules of the library that score above it at their best dose.
    """

    molecule: Int[np.ndarray, " t"]
    dose: Int[np.ndarray, " t"]
    score: Float[np.ndarray, " t"]
    better: Int[np.ndarray, " t"]


def select(index: Index, z: Float[np.ndarray, "q e"], wanted: Wanted) -> list[Listed]:
    """The lists of all queries.

    Raises:
        SelectionError: The substructure is no SMARTS.
    """
    allowed = _Allowed(index.molecules, wanted)
    everything = len(index) * (1 if wanted.best_dose else len(index.doses_um))
    depth = min(wanted.top * (_FIRST if wanted.filtered else 1), everything)
    lists: list[Listed | None] = [None] * len(z)
    while open_ones := [i for i, found in enumerate(lists) if found is None]:
        size = max(1, _ENTRIES // depth)
        for start in range(0, len(open_ones), size):
            some = open_ones[start : start + size]
            found = index.search(z[some], top=depth, best_dose=wanted.best_dose)
            allowed.ask(found.molecule)
            for row, i in enumerate(some):
                there = found.molecule[row] >= 0
                molecule, dose = found.molecule[row][there], found.dose[row][there]
                at = allowed.places(molecule)[: wanted.top]
                if len(at) == wanted.top or depth == everything:
                    better = np.cumsum(~pd.Series(molecule).duplicated().to_numpy()) - 1
                    score = found.scores[row][there].astype(np.float64)
                    lists[i] = Listed(molecule[at], dose[at], score[at], better[at])
        depth = min(depth * _GROWTH, everything)
    return [found for found in lists if found is not None]


class _Allowed:
    """Which molecules may be listed, each asked once."""

    def __init__(self, molecules: pd.DataFrame, wanted: Wanted):
        self._wanted = wanted
        self._smiles = molecules["smiles"].to_numpy(object)
        self._scaffold = molecules["scaffold"].to_numpy(object)
        self._asked = np.zeros(len(molecules), bool)
        self._allowed = np.ones(len(molecules), bool)

    def ask(self, molecules: Int[np.ndarray, "q t"]) -> None:
        """Looks at molecules that nobody has asked for yet."""
        if not (self._wanted.substructure or self._wanted.limits):
            return
        new = np.unique(molecules[molecules >= 0])
        new = new[~self._asked[new]]
        self._asked[new] = True
        smiles = self._smiles[new].tolist()
        kept = _holds(smiles, self._wanted.substructure)
        kept[kept] = within_limits(
            [s for s, k in zip(smiles, kept, strict=True) if k], self._wanted.limits
        )
        self._allowed[new] = kept

    def places(self, molecules: Int[np.ndarray, " t"]) -> Int[np.ndarray, " k"]:
        """Places of those that a list may hold, of molecules from the best down."""
        at = np.flatnonzero(self._allowed[molecules])
        if not self._wanted.diverse:
            return at
        own = molecules[at]
        scaffold = pd.Series(self._scaffold[own])
        # A molecule without rings has none, and is like no other for that.
        scaffold = scaffold.where(
            scaffold.fillna("") != "", pd.Series(own).map("molecule {}".format)
        )
        first = pd.Series(own).groupby(scaffold.to_numpy()).transform("first").to_numpy()
        return at[first == own]


def _holds(smiles: Sequence[str], smarts: str) -> Bool[np.ndarray, " n"]:
    if not smarts:
        return np.ones(len(smiles), bool)
    try:
        return match_substructures(smiles, {"substructure": smarts})[:, 0]
    except ValueError as error:
        raise SelectionError(f"substructure={smarts}: {error}") from error
