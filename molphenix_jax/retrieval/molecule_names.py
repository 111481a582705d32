"""Which column of a list of molecules says what they are called."""

from collections.abc import Sequence

from molphenix_jax.molecules.files.reading import NAME
from molphenix_jax.tables.columns import COMPOUND_NAMES, normal
from molphenix_jax.wells.names import NUMBERS

# Best first, as `normal` writes them; then any column whose name ends with "id".
_IDS = ("id", "compoundid", "moleculeid", "catalogid", "catalognumber", "idnumber", "vendorid")
_IDS += ("zincid", "chemblid", *NUMBERS, *COMPOUND_NAMES, "title")


def name_column(columns: Sequence[str], *, table: bool = True) -> str:
    """The column that names molecules, "" for none.

    Args:
        columns: What the file says beside SMILES.
        table: No file of lines or records, which have names of their own.
    """
    if not table:
        return NAME if NAME in columns else next(iter(columns), "")
    known = {normal(name): name for name in reversed(columns)}
    named = (known[alias] for alias in _IDS if alias in known)
    ending = (name for name in columns if normal(name).endswith("id"))
    return next(named, "") or next(ending, "")
