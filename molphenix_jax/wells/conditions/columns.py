"""Which columns of a wells table tell conditions, and what their values mean.

`auto` takes time and cell line where columns of these names hold what the names promise; a user can
name any columns instead, or none. A column that looks like a condition and is not taken is named.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.tables.columns import ALIASES, WellsError, near, normal, translated
from molphenix_jax.wells.conditions.values import Conditions, level_key

AUTO, NONE = "auto", "none"
FOUND = ("time_h", "cell_line")  # what auto looks for

# More times than a time course has: such a column holds when each well was seen.
_MOST_TIMES = 24
_TIME = re.compile(r"^\+?(\d+(?:[.,]\d+)?)\s*([a-z]*)\.?$", re.IGNORECASE)
_HOURS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hpt"), 1.0),
    **dict.fromkeys(("d", "day", "days"), 24.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 1 / 60),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1 / 3600),
}
_OFTEN = re.compile(
    r"(genotype|geneticbackground|knockouts?|knockdown|ko|sirna|sgrna|mutation|mutant"
    r"|donor|donorid|patient|patientid|strain|tissue|organ|species"
    r"|disease|infection|infected|infectionstatus|virus|viralstrain|moi|hpi|dpi"
    r"|medium|media|culturemedium|serum|serumpct|oxygen|hypoxia|glucose"
    r"|stimul(us|ation|ant)|stimulated|cytokine|ligand|agonist|pretreatment|cotreatment|coculture"
    r"|costimulation|challenge|stress|priming|washout|recovery|starvation|starved|lps|tnfa?|ifn[abg]?"
    r"|(percent|pct)?(serum|fbs|fcs)(percent|pct)?|temperature|temp|ph|co2|osmolarity|insulin"
    r"|clone|subclone|background|cells|line|model|sex|gender|ethnicity|allele|variant|isoform"
    r"|transfection|transfected|transduc(ed|tion)|plasmid|construct|vector|guide|shrna|crispr"
    r"|gene(edit)?|overexpression|passage(number)?|age|stage|weeks?|days?|div|dpf|hpf|t"
    r"|differentiation(day)?|maturation|coating|matrix|substrate|spheroid|organoid|dimension"
    r"|stain(ing)?|dye|panel|magnification|objective|microscope|instrument|imager|modality"
    r"|seedingdensity|celldensity|density)(name|type|state|status|condition|level|group)?"
    r"|(experimental|culture|growth|assay)?conditions?"
)
# 2021-03-04, 3/4/21, 4.3.2021, 12:30
_CLOCK = re.compile(r"\d{4}[-/.]\d|\d[-/]\d+[-/]\d|\d\.\d+\.\d|\d:\d")


def condition_columns(
    path: str, names: Sequence[str], found: dict[str, str], wanted: str
) -> tuple[str, ...]:
    """Our names of the columns that conditions are told by; adds what the user names to `found`.

    Args:
        path: For the message.
        names: Columns of the table.
        found: Our name → the table's column.
        wanted: auto, none, or names of ours or the table's, separated by commas.

    Raises:
        WellsError: There is no column of that name.
    """
    if wanted == NONE:
        return ()
    if wanted == AUTO:
        return tuple(field for field in FOUND if field in found)
    fields = []
    for name in filter(None, (part.strip() for part in wanted.split(","))):
        field = name if name in found else _our_name(name, names, found)
        if field is None:
            raise WellsError(
                f"{path}: conditions: no column {name!r}{near(name, names)}; give columns of the "
                "table, auto or none"
            )
        fields.append(field)
    return tuple(dict.fromkeys(fields))


def _our_name(name: str, names: Sequence[str], found: dict[str, str]) -> str | None:
    """Our name of a column that the user calls by the table's name, or nearly so."""
    by_normal = {normal(column): column for column in reversed(names)}
    column = name if name in names else by_normal.get(normal(name))
    for field in FOUND:
        if column is None and normal(name) in ALIASES[field]:
            column = found.get(field)
    if column is None:
        return None
    ours = {theirs: field for field, theirs in found.items()}
    if column not in ours:
        found[column] = column
    return ours.get(column, column)


def may_tell(name: str) -> bool:
    """Whether a column of this name often tells experiments apart, though `auto` does not take it.

    Genotype, donor, infection, medium, what cells were stimulated with, …
    """
    plain = normal(name).removeprefix("metadata")
    stem = re.sub(r"^(pert|cell|culture|assay)", "", plain)
    return any(_OFTEN.fullmatch(text) for text in (plain, stem))


def hours_of(given: np.ndarray, column: str) -> np.ndarray:
    """Times in hours as text; what is none stays as it is."""
    unit = next((u for u in _HOURS if len(u) > 2 and normal(column).endswith(u)), "h")

    def hours(text: str) -> str:
        match = _TIME.match(text)
        if not match or (match[2] and match[2].lower() not in _HOURS):
            return text
        factor = _HOURS[match[2].lower() or unit]
        return f"{float(match[1].replace(',', '.')) * factor:.6g}"

    return translated(given, hours)


def why_not(field: str, level: np.ndarray) -> str:
    """Why a column that has the name of a condition is none; "" if it is."""
    levels = sorted({value for value in level.tolist() if value})
    if not levels:
        return "is empty"
    numeric = all(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value) for value in levels)
    if field == "cell_line":
        return f"holds numbers ({', '.join(levels[:3])}, …)" if numeric else ""
    if any(_CLOCK.search(value) for value in levels):
        return f"holds dates or clock times ({levels[0]}, …)"
    if len(levels) > _MOST_TIMES:
        return f"has {len(levels)} different values ({', '.join(levels[:3])}, …)"
    return ""


def one_level(level: np.ndarray) -> np.ndarray:
    """Levels that differ in case, blanks and hyphens as the first of them is spelled."""
    first: dict[str, str] = {}
    return translated(level, lambda value: first.setdefault(level_key(value), value))


def condition_groups(
    conditions: Conditions, condition: Int[np.ndarray, " n"], label: np.ndarray
) -> np.ndarray:
    """Correction groups: plates or batches, apart where one holds several conditions.

    Args:
        conditions: Of the wells.
        condition: Number of each well's.
        label: Plate or batch of each well.

    Returns:
        The label, as "<condition>/<label>" where it recurs in several conditions.
    """
    pairs = pd.DataFrame({"label": label, "condition": condition}).drop_duplicates()
    several = set(pairs["label"][pairs["label"].duplicated()])
    if not several:
        return label
    apart = np.array([value in several for value in label], bool)
    names = np.array(conditions.labels, object)[condition]
    return np.where(apart, names + "/" + label, label)
