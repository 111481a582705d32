"""Which molecules contain which substructures."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool
from rdkit import Chem, rdBase

from molphenix_jax.molecules.parallel import map_distinct
from molphenix_jax.molecules.standard.reading import parse_all


def match_substructures(
    smiles: Sequence[str], patterns: Mapping[str, str]
) -> Bool[np.ndarray, "n p"]:
    """Whether each molecule contains each SMARTS pattern.

    Args:
        smiles: n standardised SMILES.
        patterns: p SMARTS by name.

    Returns:
        [n, p], columns in the order of `patterns`.

    Raises:
        ValueError: a pattern or a SMILES cannot be read (names which).
    """
    with rdBase.BlockLogs():
        for name, smarts in patterns.items():
            if Chem.MolFromSmarts(smarts) is None:
                raise ValueError(f"substructure {name!r} is not a valid SMARTS: {smarts!r}")
    rows = map_distinct(functools.partial(_match, smarts=tuple(patterns.values())), list(smiles))
    for row, (text, hits) in enumerate(zip(smiles, rows, strict=True)):
        if hits is None:
            raise ValueError(f"cannot search row {row}: {text!r} is not a valid SMILES")
    return np.array(rows, bool).reshape(len(rows), len(patterns))


def _match(smiles: Sequence[str], *, smarts: tuple[str, ...]) -> list[list[bool] | None]:
    queries = [Chem.MolFromSmarts(text) for text in smarts]
    return [
        None if mol is None else [mol.HasSubstructMatch(query) for query in queries]
        for mol in parse_all(smiles)
    ]
