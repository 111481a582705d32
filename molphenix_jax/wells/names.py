"""What wells without a molecule go by: a column of names of compounds, genes, guides and such."""

from collections.abc import Mapping, Sequence

from molphenix_jax.tables.columns import COMPOUND_NAMES, WellsError, near, normal

AUTO = "auto"
_GENES = (
    *("gene", "genesymbol", "genename", "symbol", "targetgene", "perturbedgene", "orf", "orfname"),
    *("sgrna", "guide", "guideid", "sirna", "shrna", "construct", "vector"),
)
NUMBERS = ("compoundid", "cpdid", "perturbationid", "pertid", "broadid", "jcp2022", "samplekey")
NAMES = (*COMPOUND_NAMES, *_GENES, *NUMBERS)


def name_column(
    path: str, names: Sequence[str], found: Mapping[str, str], wanted: str
) -> tuple[str | None, tuple[str, ...]]:
    """The column that wells are named by, and a note where it was chosen.

    Args:
        path: For the message.
        names: Columns of the table.
        found: Our name → the table's column.
        wanted: Auto (the best of `NAMES`), or the column.

    Raises:
        WellsError: There is no column of that name.
    """
    free = [name for name in names if name not in found.values()]
    if wanted != AUTO:
        if wanted not in names:
            raise WellsError(
                f"{path}: no column {wanted!r} for names{near(wanted, names)}; give a column of "
                "the table, or auto"
            )
        return wanted, ()
    known = [name for name in free if normal(name) in NAMES]
    if not known:
        return None, ()
    known.sort(key=lambda name: NAMES.index(normal(name)))
    others = ", ".join(map(repr, known[1:]))
    also = f"; {others} could be meant too" if others else ""
    return known[0], (f"name: took column {known[0]!r}{also}",)
