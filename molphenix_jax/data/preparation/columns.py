"""What the columns of people's tables are called, which are features, and their values as arrays.

Understood without options: pycytominer's `Metadata_` columns beside CellProfiler features,
RxRx3-core, and the index files of CLOOME's Bray2017 with embeddings keyed by SAMPLE_KEY.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from molphenix_jax.data.preparation.dose_names import dose_name
from molphenix_jax.errors import InputError

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
        *("smilescanonical", "smilesraw"),
    ),
    "concentration_um": (),  # by the words of its name: `dose_names`
    "is_control": ("iscontrol", "isnegcon", "isdmso", "negcon", "control"),
    "embedding": ("embedding", "embeddings", "phenoembedding", "emb"),
    "site": ("site", "siteid", "field", "fieldid", "fov"),
    "time_h": (
        *("timeh", "time", "timepoint", "timepointh", "hours", "hour", "timehours", "timehr"),
        *("perttime", "treatmenttime", "treatmenttimeh", "exposuretime", "exposuretimeh"),
        *("incubationtime", "incubationtimeh", "timedays"),
    ),
    "cell_line": (
        *("cellline", "celllinename", "celllineid", "cell", "celltype", "cellname"),
        *("cellid", "cellmodel"),
    ),
}
# Read besides these: what tells controls, genes and compounds.
_WORDS = frozenset(
    ("controltype", "perttype", "treatment", "pertiname", "broadsample", "compoundname")
    + ("perturbationtype", "samplekey", "broadid", "jcp2022", "inchikey")
)

_COMPARTMENT = re.compile(r"^((Mean|Median|Std|Mad)_)?(Cells?|Cytoplasm|Nuclei|Image)_")
_BOOKKEEPING = re.compile(
    r"Metadata|FileName|PathName|URL|MD5|ImageNumber|Object_?Number|Location_|Parent_|Children_"
    r"|ExecutionTime|ModuleError|Count_"
)
_NUMBERED = re.compile(r"^(.*?)(\d+)$")
# Numbers that describe a well or its treatment and are no part of its profile.
_DESCRIPTIVE = re.compile(
    r"^(time(_?h)?|timepoint|time_?point|hours?|passage|row|col(umn)?|index|replicate|rep|site|seed"
    r"|mahalanobis|induction|dist_dmso|cluster_sim|p_?(val(ue)?|dmso)|q_?val(ue)?|map"
    r"|(rel_?)?cell_?count|n_?cells|cells?_?n(um(ber)?)?|viability|toxic(ity)?|active|activity"
    r"|mol(ecular)?_?w(eigh)?t|mw|logp|pubchem_?cid|cid|unnamed.*|.*_id|id)$",
    re.IGNORECASE,
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


def find_features(
    path: str,
    schema: pa.Schema,
    taken: Mapping[str, str],
    features: str,
    required: Sequence[str] = (),
) -> tuple[list[str], str]:
    """Finds the columns that make up the profile.

    In this order: those `required` by another screen, if they are columns here; those matching
    `features`; the list column; CellProfiler's compartments (`Cells_`, `Cytoplasm_`, `Nuclei_`,
    `Image_`, also as `Median_Cells_`); a numbered family (`feature_0`, `emb_1`, `12`); every
    numeric column that neither is mapped nor describes a well.

    Returns:
        Column names (a single list column stands for all its values) and the rule in words.

    Raises:
        WellsError: no column fits.
    """
    free = [name for name in schema.names if name not in taken.values()]
    if required and set(required) <= set(schema.names):
        return list(required), "those of the other screen"
    if features:
        try:
            pattern = re.compile(features)
        except re.error as error:
            raise WellsError(f"features: {features!r} is no regular expression ({error})") from None
        matching = [name for name in free if pattern.search(name)]
        if not matching:
            raise WellsError(f"{path}: no column matches features={features!r}")
        return matching, f"columns matching {features!r}"
    if "embedding" in taken:
        return [taken["embedding"]], f"list column {taken['embedding']!r}"
    lists = [name for name in free if is_list(schema.field(name).type)]
    if len(lists) == 1:
        return lists, f"list column {lists[0]!r}"
    if len(lists) > 1:
        raise WellsError(
            f"{path}: list columns {short(lists)}; name one: columns={{'embedding': …}}"
        )
    compartments = [n for n in free if _COMPARTMENT.match(n) and not _BOOKKEEPING.search(n)]
    if len(compartments) > 1:
        return compartments, "CellProfiler columns"
    numeric = [
        name
        for name in free
        if is_number(schema.field(name).type)
        and not name.lower().startswith("metadata_")
        and dose_name(name) is None
    ]
    families: dict[str, list[str]] = {}
    for name in numeric:
        if match := _NUMBERED.match(name):
            families.setdefault(match[1], []).append(name)
    stem, family = max(families.items(), key=lambda item: len(item[1]), default=("", []))
    if len(family) > 1 and (len(family) >= 8 or re.match(r"(?i)(feat|emb|dim|pc|latent)", stem)):
        return family, f"numbered columns {stem}*"
    aliases = {alias for group in ALIASES.values() for alias in group}
    plain = [n for n in numeric if not _DESCRIPTIVE.match(n) and normal(n) not in aliases]
    if not plain:
        raise WellsError(
            f"{path}: no feature columns among {short(schema.names)}: name them with the regular "
            "expression features=..., or a list column with columns={'embedding': ...}"
        )
    return plain, "all numeric columns that describe neither well nor treatment"


def is_text(name: str) -> bool:
    """Whether a column names a well or its treatment: words, where "01" is not 1."""
    plain = normal(name)
    known = plain in _WORDS or any(plain in group for group in ALIASES.values())
    return known or dose_name(name) is not None


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
        return np.array(["" if np.isnan(v) else f"{v:.15g}" for v in values], object)[code]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries()
    if not encoded.num_chunks:
        return np.zeros(0, object)
    values = pc.fill_null(pc.cast(encoded.chunk(0).dictionary, pa.string()), "").to_pylist()
    text = np.array(
        [*(re.sub(r"^(\d+)\.0$", r"\1", value.strip()) for value in values), ""], object
    )
    codes = [pc.fill_null(chunk.indices, len(values)).to_numpy() for chunk in encoded.chunks]
    return text[np.concatenate(codes)]


def as_number(column: pa.ChunkedArray) -> np.ndarray:
    """A column as floating point; NaN where it is missing or not a number."""
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    if is_number(column.type) or pa.types.is_boolean(column.type):
        return pc.cast(column, pa.float64(), safe=False).to_numpy()
    return np.asarray(pd.to_numeric(pd.Series(as_text(column)), errors="coerce"), np.float64)


@dataclasses.dataclass(frozen=True)
class FeaturePlan:
    """How the rows of a table become rows of a matrix.

    Attributes:
        columns: the feature columns; a single list column stands for all its values.
        names: name of each feature of the matrix.
        width: numbers in a list; 0 for plain columns.
        take: position in the list, or in `columns`, of each feature.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    width: int
    take: tuple[int, ...]

    def matrix(self, table: pa.Table) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n"]]:
        """The features of some rows as float32, NaN where there is no number; which rows fit.

        A row fits unless it holds a list of another length.
        """
        if self.width:
            matrix, fits = as_matrix(table.column(self.columns[0]), self.width)
            if self.take != tuple(range(self.width)):
                matrix = np.ascontiguousarray(matrix[:, list(self.take)])
            return matrix, fits
        matrix = np.empty((table.num_rows, len(self.take)), np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as that
            for j, at in enumerate(self.take):
                matrix[:, j] = as_number(table.column(self.columns[at]))
        return matrix, np.ones(table.num_rows, bool)


def plan_features(
    path: str, first_rows: pa.Table, chosen: Sequence[str], required: Sequence[str] = ()
) -> FeaturePlan:
    """Settles the features of a table from its first rows; lists are as long as most of these are.

    Raises:
        WellsError: a required feature is not there.
    """
    width, names = 0, list(chosen)
    if len(chosen) == 1 and not is_number(first_rows.schema.field(chosen[0]).type):
        width = _usual_length(_as_lists(first_rows.column(chosen[0])))
        names = [f"feature_{j}" for j in range(width)]
    wanted = list(required) or names
    at = {name: j for j, name in enumerate(names)}
    missing = [name for name in wanted if name not in at]
    if missing:
        raise WellsError(
            f"{path}: lacks {len(missing)} of {len(required)} features of the other screen, "
            f"{missing[0]!r} first{near(missing[0], names)}"
        )
    return FeaturePlan(tuple(chosen), tuple(wanted), width, tuple(at[name] for name in wanted))


def as_matrix(
    column: pa.ChunkedArray, width: int
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n"]]:
    """A column of number lists (or of text such as "[0.1, 0.2]") as one float32 matrix.

    Returns:
        The matrix, NaN in rows whose list is not `width` long, and which rows are so wide.
    """
    array = _as_lists(column)
    fits = (_lengths(array) == width) & (width > 0)
    values = array.filter(pa.array(fits)).flatten()
    matrix = np.full((len(fits), width), np.nan, np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as that
        matrix[fits] = values.to_numpy(zero_copy_only=False).reshape(-1, width or 1)[:, :width]
    return matrix, fits


def _as_lists(column: pa.ChunkedArray) -> pa.Array:
    if not is_list(column.type):
        parsed = [_parse_list(text) for text in as_text(column)]
        return pa.array(parsed, pa.list_(pa.float64()))
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined


def _lengths(lists: pa.Array) -> np.ndarray:
    lengths = pc.call_function("list_value_length", [lists])
    return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)


def _usual_length(lists: pa.Array) -> int:
    lengths = _lengths(lists)
    return int(np.bincount(lengths[lengths > 0]).argmax()) if lengths.any() else 0


def _parse_list(text: str) -> list[float] | None:
    try:
        return [float(value) for value in text.strip("[]()").replace(",", " ").split()]
    except ValueError:
        return None


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
