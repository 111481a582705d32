"""How the files that people have are laid out: formats, column names, which columns are features.

A wells table is one Parquet or CSV file, or two files that share key columns: metadata first,
embeddings second ("metadata_rxrx3_core.csv,OpenPhenom_rxrx3_core_embeddings.parquet"). Understood
without options: pycytominer's `Metadata_` columns beside CellProfiler features, RxRx3-core, and the
index files of CLOOME's Bray2017 with embeddings keyed by SAMPLE_KEY.
"""

import dataclasses
import difflib
import gzip
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

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
    "concentration_um": (
        *("concentrationum", "concum", "doseum", "concentrationmicromolar", "concentration"),
        *("conc", "dose", "treatmentconcentration", "mmolesperliter"),
        *("concentrationnm", "concnm", "dosenm"),
    ),
    "is_control": ("iscontrol", "isnegcon", "isdmso", "negcon", "control"),
    "embedding": ("embedding", "embeddings", "phenoembedding", "emb"),
    "site": ("site", "siteid", "field", "fieldid", "fov"),
}
_NANOMOLAR = ("concentrationnm", "concnm", "dosenm")

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


@dataclasses.dataclass(frozen=True)
class RawTable:
    """A table as found.

    Attributes:
        path: what was asked for.
        table: all columns of all rows.
        without_embedding: rows whose key the embeddings file lacks, [n].
        notes: what was joined, averaged or left out.
    """

    path: str
    table: pa.Table
    without_embedding: Bool[np.ndarray, "n"]
    notes: tuple[str, ...] = ()


def open_table(path: str | os.PathLike[str]) -> RawTable:
    """Opens a wells table: one file, or two as "metadata,embeddings".

    Raises:
        WellsError: a file is missing, empty, of another format, or shares no key with the other.
    """
    name = os.fspath(path)
    files = [pathlib.Path(name)]
    if "," in name and not files[0].exists():
        files = [pathlib.Path(part.strip()) for part in name.split(",")]
    if len(files) == 1:
        table = _read_file(files[0])
        return RawTable(name, table, np.zeros(table.num_rows, bool))
    if len(files) != 2:
        raise WellsError(f"{name}: give one table, or two as 'metadata,embeddings'")
    return _join(name, files, _read_file(files[0]), _read_file(files[1]))


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
            f"{path}: list columns {_short(lists)}; name one: columns={{'embedding': …}}"
        )
    compartments = [n for n in free if _COMPARTMENT.match(n) and not _BOOKKEEPING.search(n)]
    if len(compartments) > 1:
        return compartments, "CellProfiler columns"
    numeric = [
        name
        for name in free
        if is_number(schema.field(name).type) and not name.lower().startswith("metadata_")
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
            f"{path}: no feature columns among {_short(schema.names)}: name them with the regular "
            "expression features=..., or a list column with columns={'embedding': ...}"
        )
    return plain, "all numeric columns that describe neither well nor treatment"


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


def concentration_unit(name: str) -> str:
    """µM, unless the column's name ends in nM (LINCS's mmoles_per_liter holds µM too)."""
    return "nM" if normal(name) in _NANOMOLAR else "µM"


def near(wanted: str, names: Iterable[str]) -> str:
    """' (did you mean …?)' with the nearest column names, or the first few columns."""
    by_normal = {normal(name): name for name in names}
    close = difflib.get_close_matches(normal(wanted), by_normal, n=3, cutoff=0.5)
    if close:
        return f" (nearest: {', '.join(by_normal[name] for name in close)})"
    return f" (columns: {_short(list(by_normal.values()))})"


def as_text(column: pa.ChunkedArray) -> np.ndarray:
    """A column as stripped str objects; "" where missing; whole numbers without a decimal point."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        values, code = np.unique(column.to_numpy(), return_inverse=True)
        return np.array(["" if np.isnan(v) else f"{v:.15g}" for v in values], object)[code]
    filled = pc.fill_null(pc.cast(column, pa.string()), "").to_numpy()
    return np.array([re.sub(r"^(\d+)\.0$", r"\1", text.strip()) for text in filled], object)


def as_number(column: pa.ChunkedArray) -> np.ndarray:
    """A column as floating point; NaN where it is missing or not a number."""
    if pa.types.is_floating(column.type):
        return column.to_numpy()
    if is_number(column.type) or pa.types.is_boolean(column.type):
        return pc.cast(column, pa.float64(), safe=False).to_numpy()
    return np.asarray(pd.to_numeric(pd.Series(as_text(column)), errors="coerce"), np.float64)


def feature_matrix(
    path: str, table: pa.Table, chosen: Sequence[str], required: Sequence[str] = ()
) -> tuple[Float[np.ndarray, "n d"], np.ndarray, Bool[np.ndarray, "n"]]:
    """The chosen columns as one float32 matrix.

    Returns:
        The matrix, NaN where there is no number; the names of its columns (feature_0, feature_1, …
        for a list column); and which rows hold a list of the usual width (all without lists).

    Raises:
        WellsError: a required feature is not there.
    """
    column = table.column(chosen[0])
    if len(chosen) > 1 or is_number(column.type):
        names, fits = list(chosen), np.ones(table.num_rows, bool)
        matrix = np.empty((table.num_rows, len(chosen)), np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as that
            for j, name in enumerate(chosen):
                matrix[:, j] = as_number(table.column(name))
    else:
        matrix, fits = as_matrix(column)
        names = [f"feature_{j}" for j in range(matrix.shape[1])]
    if required and names != list(required):
        at = {name: j for j, name in enumerate(names)}
        missing = [name for name in required if name not in at]
        if missing:
            raise WellsError(
                f"{path}: lacks {len(missing)} of {len(required)} features of the other screen, "
                f"{missing[0]!r} first{near(missing[0], names)}"
            )
        matrix, names = matrix[:, [at[name] for name in required]], list(required)
    return matrix, np.array(names, object), fits


def as_matrix(
    column: pa.ChunkedArray,
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n"]]:
    """A column of number lists (or of text such as "[0.1, 0.2]") as one float32 matrix.

    Returns:
        The matrix, as wide as most lists are (NaN in other rows), and which rows are so wide.
    """
    if not is_list(column.type):
        parsed = [_parse_list(text) for text in as_text(column)]
        column = pa.chunked_array([pa.array(parsed, pa.list_(pa.float64()))])
    array = column.combine_chunks()
    lengths = pc.call_function("list_value_length", [array])
    lengths = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    width = int(np.bincount(lengths[lengths > 0]).argmax()) if lengths.any() else 0
    fits = (lengths == width) & (width > 0)
    values = array.filter(pa.array(fits)).flatten()
    matrix = np.full((len(lengths), width), np.nan, np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as that
        matrix[fits] = values.to_numpy(zero_copy_only=False).reshape(-1, width or 1)[:, :width]
    return matrix, fits


def _parse_list(text: str) -> list[float] | None:
    try:
        return [float(value) for value in text.strip("[]()").replace(",", " ").split()]
    except ValueError:
        return None


def _read_file(path: pathlib.Path) -> pa.Table:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise WellsError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise WellsError(f"{path}: the file is empty")
    if head.startswith(b"PAR1"):
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise WellsError(f"{path}: damaged Parquet file ({error})") from error
    elif path.suffix.lower() in (".parquet", ".pq"):
        raise WellsError(f"{path}: not a Parquet file, whatever its name; write it again")
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as file:
            table = _read_csv(path, file.read(4096))
    else:
        table = _read_csv(path, head)
    if not table.num_rows:
        raise WellsError(f"{path}: the table has columns but no rows")
    return table


def _read_csv(path: pathlib.Path, head: bytes) -> pa.Table:
    if b"\0" in head:
        raise WellsError(
            f"{path}: neither Parquet nor CSV; export the table as one of these"
            + (" (HDF5: write embeddings with their keys to Parquet)" if b"HDF" in head else "")
        )
    header = head.decode("utf-8-sig", errors="replace").splitlines()[0]
    separator = max(",\t;", key=header.count)
    try:
        names = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig").columns
        # What names a well stays text: "01" is not 1.
        text = {name: str for name in names if any(normal(name) in a for a in ALIASES.values())}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                dtype=text,  # pyright: ignore[reportArgumentType]
                index_col=False,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except (ValueError, pd.errors.ParserWarning, EOFError, OSError) as error:
        raise WellsError(f"{path}: not a readable CSV file ({error})") from error
    for name in frame.columns.difference(list(text)):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            # A feature with a stray word in it is still a feature; the word is a gap.
            numbers = np.asarray(pd.to_numeric(frame[name], errors="coerce"), np.float64)
            if np.isfinite(numbers).sum() > 0.9 * frame[name].notna().to_numpy().sum():
                frame[name] = numbers
    return pa.Table.from_pandas(frame, preserve_index=False)


def _join(name: str, files: Sequence[pathlib.Path], left: pa.Table, right: pa.Table) -> RawTable:
    """Puts the embeddings beside their metadata row, by all columns that both files have."""
    keys = [c for c in left.column_names if c in right.column_names]
    if not keys:
        raise WellsError(
            f"{name}: no column in common: {files[0].name} has {_short(left.column_names)}, "
            f"{files[1].name} has {_short(right.column_names)}; rename the key column"
        )
    left_key, right_key = (
        pd.MultiIndex.from_arrays([as_text(table.column(k)) for k in keys]).to_flat_index()
        for table in (left, right)
    )
    notes = [f"joined {files[0].name} and {files[1].name} on {', '.join(keys)}"]
    if not right_key.is_unique:
        n_before = right.num_rows
        right, right_key = _averaged(right, right_key, keys)
        notes.append(f"{n_before - len(right_key)} repeated keys in {files[1].name} were averaged")
    at = right_key.get_indexer(left_key)
    if unused := len(right_key) - len(np.unique(at[at >= 0])):
        notes.append(f"{unused} embeddings in {files[1].name} have no metadata and are left out")
    beside = right.drop_columns(keys).take(pa.array(at, mask=at < 0))
    for column in beside.column_names:
        left = left.append_column(beside.schema.field(column), beside.column(column))
    return RawTable(name, left, at < 0, tuple(notes))


def _averaged(table: pa.Table, key: pd.Index, keys: list[str]) -> tuple[pa.Table, pd.Index]:
    """Mean of the numeric columns over rows with the same key; the first row's for the others."""
    first = pd.Series(np.arange(len(key))).groupby(key.to_numpy(), sort=False)
    code, rows = first.ngroup().to_numpy(), first.first().to_numpy()
    counts = np.bincount(code)
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        if name not in keys and is_number(column.type):
            columns[name] = np.bincount(code, weights=as_number(column)) / counts
        elif is_list(column.type):
            values, _ = as_matrix(column)
            sums = np.zeros((len(rows), values.shape[1]), np.float64)
            np.add.at(sums, code, values)
            means = pa.array((sums / counts[:, None]).astype(np.float32).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(means, values.shape[1])
        else:
            columns[name] = column.take(pa.array(rows))
    return pa.table(columns), key[rows]


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds a list of numbers in each row."""
    is_some_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return (is_some_list or pa.types.is_large_list(kind)) and is_number(kind.value_type)


def _short(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
