"""Wells with a second compound, in a column or a name: combinations have no single molecule."""

import re

import numpy as np

from molphenix_jax.molecules import standardise
from molphenix_jax.tables.columns import COMPOUND_NAMES, as_text, normal, second_compound
from molphenix_jax.tables.missing import NOTHING
from molphenix_jax.wells.checked import CheckedRows
from molphenix_jax.wells.controls.words import POSITIVE, TREATED, kind_of, solvents_among

# A compound that nobody knows is one all the same.
_NONE = NOTHING | {"0", "false", "single"}
# What stands between the names of two compounds.
_AND = re.compile(r"\s*[+&/;,]\s*|\s+(?:and|plus|with)\s+", re.IGNORECASE)


def reject_combinations(rows: CheckedRows) -> None:
    """Rejects wells that hold another compound besides the one in `smiles`, controls included.

    The second one may be given by structure or by name. It is none where it says that there is
    nothing, where it is a solvent, or where it repeats the first. A column that tells conditions,
    since the user says so, is no second compound. A name such as "A + B" tells two compounds where
    other wells have A and B alone.
    """
    first = rows.text("smiles")
    for name in rows.raw.table.column_names:
        if not second_compound(name) or name in rows.found.values():
            continue
        given = as_text(rows.raw.table.column(name))
        different = {text for text in set(given.tolist()) if _is_compound(text)}
        holds = np.isin(given, list(different - solvents_among(different).keys())) & rows.kept
        asked = list({*given[holds], *first[holds]} - {""})
        key_of = dict(zip(asked, standardise(asked)["inchikey"], strict=True)) | {"": None}
        pairs = zip(first[holds], given[holds], strict=True)
        holds[holds] = [a != b and not (key_of[a] and key_of[a] == key_of[b]) for a, b in pairs]
        alone = first == ""
        rows.reject(
            holds & ~alone,
            name,
            given,
            "a second compound in the well: a combination of drugs; leave these wells out, or name "
            "this column in --conditions if it tells a setting",
        )
        rows.reject(
            holds & alone,
            name,
            given,
            f"the only compound of the well: put it into {rows.found.get('smiles', 'smiles')!r}",
        )
    for name in rows.raw.table.column_names:
        if normal(name) in COMPOUND_NAMES and name not in rows.found.values():
            given = as_text(rows.raw.table.column(name))
            rows.reject(
                np.isin(given, _joined_names(set(given.tolist()))),
                name,
                given,
                "two compounds by its name, each of which other wells have alone: a combination of "
                "drugs; leave these wells out",
            )


def _joined_names(names: set[str]) -> list[str]:
    """Names that join several others of the column; solvents and controls do not count."""
    parts = {name: [part.casefold() for part in _AND.split(name)] for name in names}
    alone = {of[0] for of in parts.values() if len(of) == 1 and _is_compound(of[0])}
    found = []
    for name, of in parts.items():
        compounds = {part for part in of if _is_compound(part)}
        if len(compounds) > 1 and compounds <= alone and name.casefold() not in alone:
            found.append(name)
    return found


def _is_compound(text: str) -> bool:
    return text.casefold() not in _NONE and kind_of(text) in ("", POSITIVE, TREATED)
