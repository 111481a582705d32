"""What is said of columns that may hold doses and cannot be read as such."""

import re

import pandas as pd
import pyarrow as pa

from molphenix_jax.tables.columns import WellsError, as_text, short
from molphenix_jax.tables.dose_names import DoseName

GIVE = "--concentration-unit=UNIT (config.data.concentration_unit)"
# A dose behind a name: aspirin_10uM, aspirin (0.5 µM).
_NAMED = re.compile(r"(?<![A-Za-z\d.])\d+([.,]\d+)?[ _]?[munpµμ]M(?![A-Za-z])")  # noqa: RUF001


def refuse_doses_in_names(path: str, table: pa.Table, default_um: float) -> None:
    """Stops where doses stand in the names of what is in the wells ("aspirin_10uM") alone.

    Raises:
        WellsError: they do; names the column.
    """
    for name in table.column_names:
        if not _is_text(table.column(name)):
            continue
        texts = [text for text in set(as_text(table.column(name)).tolist()) if text]
        found = sorted(text for text in texts if _NAMED.search(text))
        if 2 * len(found) >= len(texts) and len(texts) > 1:
            raise WellsError(
                f"{path}: column {name!r} has doses in its text ({short(list(map(repr, found)), 3)}"
                "), and no column holds them: write them into a column of their own, such as "
                f"concentration_um, or take all treated wells at {default_um:g} µM with "
                "--columns=concentration_um=none"
            )


def _is_text(column: pa.ChunkedArray) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def doubtful(path: str, table: pa.Table, name: str, said: DoseName) -> str:
    """Of a column whose name leaves in doubt whether it is a dose."""
    values = [text for text in pd.unique(as_text(table.column(name))) if text][:3]
    if "molar mass" in said.doubt:
        remedy = "add a column of µM"
    else:
        remedy = (
            f"if it is the dose give --columns=concentration_um={name} and {GIVE}, else "
            "--columns=concentration_um=none or the right column"
        )
    return (
        f"{path}: column {name!r} ({', '.join(values)}) looks like a dose, but {said.doubt}; "
        f"no other column is one: {remedy}"
    )


def without_numbers(path: str, table: pa.Table, name: str, default_um: float) -> str:
    """Of a column that is called a dose and holds words."""
    values = [text for text in pd.unique(as_text(table.column(name))) if text][:3]
    holds = f"holds no numbers ({', '.join(map(repr, values))})" if values else "is empty"
    return (
        f"{path}: column {name!r} looks like a dose and {holds}; no other column is one: write "
        "numbers with their unit there, name the right column with --columns=concentration_um=…, "
        f"or take all treated wells at {default_um:g} µM with --columns=concentration_um=none"
    )
