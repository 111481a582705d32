"""Wells with a second compound in a column of its own: combinations have no single molecule."""

import numpy as np

from molphenix_jax.molecules import standardise
from molphenix_jax.tables.columns import as_text, second_compound
from molphenix_jax.tables.missing import NOTHING
from molphenix_jax.wells.checked import CheckedRows
from molphenix_jax.wells.controls.words import POSITIVE, TREATED, kind_of, solvents_among

# A compound that nobody knows is one all the same.
_NONE = NOTHING | {"0", "false", "single"}


def reject_combinations(rows: CheckedRows) -> None:
    """Rejects wells that hold another compound besides the one in `smiles`, controls included.

    The second one may be given by structure or by name. It is none where it says that there is
    nothing, where it is a solvent, or where it repeats the first. A column that tells conditions,
    since the user says so, is no second compound.
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
            f"the only compound of the well: put it into {rows.found['smiles']!r}",
        )


def _is_compound(text: str) -> bool:
    return text.casefold() not in _NONE and kind_of(text) in ("", POSITIVE, TREATED)
