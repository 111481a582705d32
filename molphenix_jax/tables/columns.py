"""What the columns of people's tables are called, and their values as arrays.

Understood without options: pycytominer's `Metadata_` columns beside CellProfiler features,
RxRx3-core, and the index files of CLOOME's Bray2017 with embeddings keyed by SAMPLE_KEY.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from molphenix_jax.errors import InputError
from molphenix_jax.tables.dose_names import dose_name

# Our name -> names that people use, best first; compared without case, separators and `Metadata_`.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "plate": ("plate", "plateid", "platename", "platebarcode", "assayplatebarcode", "barcode"),
    "well": ("well", "wellposition", "wellname", "address", "wellid"),
    "batch": (
        *("batch", "batchid", "batchname", "experiment", "experimentname", "experimentid"),
        *("run", "runid"),
    ),
    "smiles": (
        *("smiles", "canonicalsmiles", "isomericsmiles", "compoundsmiles", "cpdsmiles"),
        *("smilescanonical", "smilesraw", "smiles1", "smilesa"),
    ),
    "concentration_um": (),  # by the words of its name: `dose_names`
    "is_control": ("iscontrol", "isnegcon", "isdmso", "negcon", "control"),
    "embedding": ("embedding", "embeddings", "phenoembedding", "emb"),
    "site": ("site", "siteid", "field", "fieldid", "fov"),
    "time_h": (
        *("timeh", "time", "timepoint", "timepointh", "hours", "hour", "timehours", "timehr"),
        *("perttime", "treatmenttime", "treatmenttimeh", "exposuretime", "exposuretimeh"),
        *("incubationtime", "incubationtimeh", "timedays", "pertitime"),
        *(
            f"{what}duration{unit}"
            for what in ("", "treatment", "exposure", "incubation")
            for unit in ("", "h", "hr", "hours", "min", "minutes", "days")
        ),
    ),
    "cell_line": (
        *("cellline", "celllinename", "celllineid", "cell", "celltype", "cellname"),
        *("cellid", "cellmodel"),
    ),
}
# Columns that tell the role of a well, best first: JUMP calls positive controls `control` in
# pert_type, and control_type is the finer of the two.
ROLES = (
    *("controltype", "ctrltype", "perttype", "pertrole", "role", "wellrole", "welltype"),
    *("welltypelabel", "sampletype", "treatmenttype", "controlstatus", "samplerole"),
)
# Columns that hold names of what is in a well.
COMPOUND_NAMES = (
    *("treatment", "treatmentname", "pertiname", "pertname", "perturbation", "perturbationname"),
    *("broadsample", "compoundname", "compound", "cpdname", "moleculename", "drug", "drugname"),
    *("substance", "name", "trivialname"),
)
# Columns of quality control: true is good; true is bad; either.
PASSED = frozenset(
    ("qcpass", "passqc", "passedqc", "qcpassed", "passesqc", "wellqcpass", "isvalid", "valid")
    + ("keep", "include", "included", "isgood", "usable")
)
FAILED = frozenset(
    ("exclude", "excluded", "isexcluded", "toexclude", "excludewell", "outlier", "isoutlier")
    + ("qcfail", "qcfailed", "failedqc", "failqc", "failsqc", "isbad", "badwell", "isbadwell")
    + ("rejected", "discard", "blacklisted", "isflagged", "todrop", "toremove")
)
MARKED = frozenset(
    ("flag", "flagged", "qcflag", "wellflag", "qualityflag", "qc", "qcstatus", "wellqc", "quality")
    + ("qualitycontrol",)
)
# Read besides all these: what tells genes and compounds.
_WORDS = frozenset(
    (*ROLES, *COMPOUND_NAMES, *PASSED, *FAILED, *MARKED)
    + ("perturbationtype", "samplekey", "broadid", "jcp2022", "inchikey")
    + ("compoundid", "cpdid", "cmpdid", "moleculeid", "substanceid")
)
# Of a further compound: a number or letter behind what a compound's columns are called, or a word.
_COMPOUND = (
    "(smiles|inchikey|drug|compound|cpd|cmpd|molecule|inhibitor|perturbagen|perturbation|pert"
    "|treatment|agent|substance|broadsample|broadid|jcp2022)"
)
_TOLD = "(name|iname|id|smiles|inchikey)?"
_SECOND = re.compile(
    f"{_COMPOUND}{_TOLD}([234]|b|ii|iii){_TOLD}"
    f"|(second|secondary|combination|combo|partner|co){_COMPOUND}{_TOLD}"
    f"|{_COMPOUND}(partner|combo|second)|(combination|combo)?partner{_TOLD}"
)


class WellsError(InputError):
    """A wells table that cannot be used at all; the message names file, field and remedy."""


def find_columns(
    path: str, names: Sequence[str], columns: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Finds the file's column for each of our names.

    `columns` maps our name to the file's where the user says so.

    Returns:
        Our name -> the file's for all that were found, and a note for each choice.

    Raises:
        WellsError: an unknown name of ours, or a mapped column that the file lacks.
    """
    unknown = sorted(set(columns) - set(ALIASES))
    if unknown:
        raise WellsError(f"columns: no field {unknown[0]!r}; fields are {', '.join(ALIASES)}")
    found: dict[str, str] = {}
    notes: list[str] = []
    for field, aliases in ALIASES.items():
        if given := columns.get(field):
            if given not in names:
                if field == "concentration_um" and given == "none":
                    continue
                raise WellsError(
                    f"{path}: no column {given!r} for {field}{near(given, names)}; "
                    "correct the column mapping"
                )
            found[field] = given
            continue
        free = [name for name in names if name not in columns.values()]
        candidates = [name for name in free if normal(name) in aliases]
        if not candidates:
            continue
        exact = {field: 0, f"Metadata_{field}": 1}
        candidates.sort(key=lambda n: (exact.get(n, 2), aliases.index(normal(n))))  # noqa: B023
        found[field] = candidates[0]
        if len(candidates) > 1:
            notes.append(
                f"{field}: took column {candidates[0]!r}; "
                f"{', '.join(map(repr, candidates[1:]))} could be meant too"
            )
        elif normal(candidates[0]) != normal(field):
            notes.append(f"{field}: took column {candidates[0]!r}")
    return found, tuple(notes)


def is_text(name: str) -> bool:
    """Whether a column names a well or its treatment: words, where "01" is not 1."""
    plain = normal(name)
    known = plain in _WORDS or any(plain in group for group in ALIASES.values())
    return known or dose_name(name) is not None or second_compound(name)


def second_compound(name: str) -> bool:
    """Whether a column tells a further compound of the same well: `smiles_2`, `Drug B`."""
    return _SECOND.fullmatch(normal(name)) is not None


def gene_wells(table: pa.Table) -> Bool[np.ndarray, "n"]:
    """Wells of RxRx3 whose perturbation is a gene knock-out, or its control: without a molecule."""
    names = {normal(name): name for name in table.column_names}
    out = np.zeros(table.num_rows, bool)
    if "perturbationtype" not in names:
        return out
    out |= as_text(table.column(names["perturbationtype"])) == "CRISPR"
    if "treatment" in names:
        treatment = as_text(table.column(names["treatment"]))
        out &= treatment != "EMPTY_control"
        out |= treatment == "CRISPR_control"
    return out


def normal(name: str) -> str:
    """A column name without case, separators and the `Metadata_` prefix."""
    plain = name.replace("µ", "u").replace("μ", "u").lower()  # noqa: RUF001
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(image_)?metadata_", "", plain))


def near(wanted: str, names: Iterable[str]) -> str:
    """' (did you mean …?)' with the nearest column names, or the first few columns."""
    by_normal = {normal(name): name for name in names}
    close = difflib.get_close_matches(normal(wanted), by_normal, n=3, cutoff=0.5)
    if close:
        return f" (nearest: {', '.join(by_normal[name] for name in close)})"
    return f" (columns: {short(list(by_normal.values()))})"


def as_text(column: pa.ChunkedArray) -> np.ndarray:
    """A column as stripped str objects; "" where missing; whole numbers without a decimal point.

    Equal values share one object, so that a column of millions of wells costs 8 bytes a row.
    """
    column = pa.chunked_array(column) if isinstance(column, pa.Array) else column
    if pa.types.is_floating(column.type):
        values, code = np.unique(column.to_numpy(), return_inverse=True)
        return np.array([_digits(v) for v in values.tolist()], object)[code]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries()
    if not encoded.num_chunks:
        return np.zeros(0, object)
    values = _texts(encoded.chunk(0).dictionary)
    text = np.array(
        [*(re.sub(r"^(\d+)\.0$", r"\1", value.strip()) for value in values), ""], object
    )
    codes = [pc.fill_null(chunk.indices, len(values)).to_numpy() for chunk in encoded.chunks]
    return text[np.concatenate(codes)]


def _digits(value: float) -> str:
    """A number in full: ids of 16 digits are whole numbers too."""
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 2**53 else f"{value:.15g}"


def _texts(values: pa.Array) -> list[str]:
    try:
        return pc.fill_null(pc.cast(values, pa.string()), "").to_pylist()
    except pa.ArrowInvalid:  # bytes that are no UTF-8
        return [(value or b"").decode(errors="replace") for value in values.to_pylist()]


def translated(text: np.ndarray, meaning: Callable[[str], Any], dtype: Any = object) -> np.ndarray:
    """What each text means; every different one is asked once."""
    code, unique = pd.factorize(text)
    return np.array([meaning(value) for value in unique.tolist()], dtype)[code]


def as_number(column: pa.ChunkedArray) -> np.ndarray:
    """A column as floating point; NaN where it is missing or not a number."""
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    if is_number(column.type) or pa.types.is_boolean(column.type):
        return pc.cast(column, pa.float64(), safe=False).to_numpy()
    return np.asarray(pd.to_numeric(pd.Series(as_text(column)), errors="coerce"), np.float64)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds a list of numbers in each row."""
    is_some_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return (is_some_list or pa.types.is_large_list(kind)) and is_number(kind.value_type)


def short(names: Sequence[str], limit: int = 12) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
