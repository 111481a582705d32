"""Limits on properties of molecules, as people write them: `mw<500,logp<=5`."""

import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from molphenix_jax.errors import InputError
from molphenix_jax.molecules.fingerprints import descriptors

# Our name → RDKit's descriptor.
PROPERTIES = {
    "mw": "MolWt",
    "logp": "MolLogP",
    "tpsa": "TPSA",
    "hbd": "NumHDonors",
    "hba": "NumHAcceptors",
    "rotatable": "NumRotatableBonds",
    "rings": "RingCount",
    "aromatic_rings": "NumAromaticRings",
    "heavy_atoms": "HeavyAtomCount",
    "fsp3": "FractionCSP3",
}
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMPARE |= {"=": operator.eq, "==": operator.eq}
_LIMIT = re.compile(r"\s*(\w+)\s*(<=|>=|==|<|>|=)\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*", re.IGNORECASE)


class FilterError(InputError):
    """A filter that cannot be read; the message says which part, and what can be said."""


class Limit(NamedTuple):
    """A limit on a property.

    Attributes:
        name: One of `PROPERTIES`.
        comparison: <, <=, >, >= or =.
        value: In the property's unit: Da, Å², or none.
    """

    name: str
    comparison: str
    value: float


def parse_limits(text: str) -> tuple[Limit, ...]:
    """The limits of `mw<500,logp<=5`; none of "".

    Raises:
        FilterError: A part is no limit, or of an unknown property.
    """
    limits = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _LIMIT.fullmatch(part)
        name = match[1].lower() if match else ""
        try:
            value = float(match[3]) if match else np.nan
        except ValueError:
            value = np.nan
        if match is None or name not in PROPERTIES or not np.isfinite(value):
            raise FilterError(
                f"filter: {part!r} is no limit such as mw<500; properties are "
                f"{', '.join(PROPERTIES)}, comparisons <, <=, >, >= and ="
            )
        limits.append(Limit(name, match[2], value))
    return tuple(limits)


def properties(smiles: Sequence[str], names: Sequence[str]) -> Float[np.ndarray, "n k"]:
    """Properties of molecules, columns in the order of `names` (of `PROPERTIES`).

    Args:
        smiles: n standardised SMILES.
        names: Which properties.
    """
    return descriptors(smiles, names=[PROPERTIES[name] for name in names]).astype(np.float64)


def within_limits(smiles: Sequence[str], limits: Sequence[Limit]) -> Bool[np.ndarray, " n"]:
    """Which molecules keep all limits."""
    kept = np.ones(len(smiles), bool)
    if limits and len(smiles):
        values = properties(smiles, [limit.name for limit in limits])
        for column, limit in enumerate(limits):
            kept &= _COMPARE[limit.comparison](values[:, column], limit.value)
    return kept
