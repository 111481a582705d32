"""Which columns make up a profile, and why each other numeric column does not.

CellProfiler's measurements are known by their family (`Nucleoli_Texture_…`, whatever the object),
embeddings by their numbers (`emb_0`, `PC1`), and everything else is a feature unless its name or
its values say that it counts rows, names or places a sample, or describes what was done to it.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from molphenix_jax.tables.columns import (
    WellsError,
    as_number,
    as_text,
    is_list,
    is_number,
    is_text,
    short,
)
from molphenix_jax.tables.dose_names import dose_name
from molphenix_jax.tables.numbering import IDENTIFIERS, ROW_NUMBERS, counts_up, words_of
from molphenix_jax.tables.reading.lists import as_lists

# Reads some columns of the first rows of the table.
FirstRows = Callable[[Sequence[str]], pa.Table]

_FAMILY = (
    "AreaShape|AreaOccupied|Correlation|Colocalization|Granularity|Intensity|IntensityDistribution"
    "|ImageQuality|Location|Math|Neighbors|Number|Count|Children|Parent|ObjectSkeleton|Overlap"
    "|RadialDistribution|RadialEntropy|Texture|Threshold|TrackObjects|Distance|Classify"
)
_STATISTIC = "(Mean|Median|Std|StDev|Mad|Min|Max|Sum)"
# Of CellProfiler, with the object before it or, in tables of images, alone; some pipelines write
# everything small.
_CELLPROFILER = re.compile(
    rf"^({_STATISTIC}_)?(?P<object>[A-Za-z]\w*?)_"
    rf"({_FAMILY}|areashape|granularity|intensity|neighbors|radialdistribution|texture)_"
)
_IMAGE_LEVEL = re.compile(r"^(Granularity|ImageQuality|Intensity|Texture|Correlation)_")
_OBJECTS = ("Cell", "Cells", "Cytoplasm", "Nuclei", "Image")

DOSES, METADATA = "they tell doses or their units", "their names begin with Metadata_"
ROWS, PLACE, NAME = "they count rows", "they tell places", "they name or number samples"
CELLS, DONE = "they count cells", "they tell what was done to a well"
KNOWN, RESULT = "they describe the compound", "they are results of an analysis"
FILES = "they tell how an image was taken or computed"
CODES = "they hold whole numbers as text, as codes do"
TEXT = "they hold text"
UNCLEAR = "the commas in them may be decimal points or group thousands, or only some are in percent"

# What a CellProfiler column tells besides a phenotype.
_BOOKKEEPING = {
    CELLS: re.compile(r"(^|_)Count_|Children_\w+_Count|Number_of_"),
    NAME: re.compile(
        r"ImageNumber|Object_?Number|(^|_)Number_Object|Parent_|Group_(Index|Number|Length)|Label"
        r"|TableNumber|ImageSet|Metadata"
    ),
    PLACE: re.compile(
        r"(^|_)Location_|BoundingBox(Maximum|Minimum)|_Center_[XYZ]$|TrackObjects_Trajectory"
    ),
    FILES: re.compile(
        r"FileName|PathName|URL|MD5|ExecutionTime|ModuleError|Scaling_|(^|_)(Height|Width)_"
        r"|Series_|Frame_|Channel_"
    ),
}

_THING = (
    "compound|cpd|cmpd|drug|molecule|substance|library|treatment|object|image|cell|nucle(us|i)|field"
    "|plate|well|batch|sample|replicate|rep|run|experiment|donor|screen|measurement|fov|tile"
)
_COUNTED = "(cells?|nucle(us|i)|objects?)"
_STATISTIC_WORD = (
    "(rel|relative|total|mean|avg|average|median|std|sd|min|max|sum|norm|normali[sz]ed|raw|log|log2"
    "|log10|pct|percent|z|zscore|per_(well|site|field|image|fov))"
)
# The same by the words of any name: small letters, words joined by "_".
_DESCRIPTIVE = {
    ROWS: re.compile(ROW_NUMBERS),
    PLACE: re.compile(
        r"((plate|well|image|source|dest|destination)_?)?(row|col|column)_?(idx|index|number|num)?"
        r"|[xyz]|(.*_)?(center|centre|centroid|position|pos|coord(inate)?s?|location|loc|stage)_?"
        r"([xyz]|row|col(umn)?)(_.*)?|(.*_)?[xyz]_?(center|centre|centroid|position|pos|coord\w*)"
        r"|(.*_)?(bbox|bounding_?box)(?!_?(area|volume)).*|site|field|fov|plane|slice|z_?plane|tile"
        r"|quadrant|region"
    ),
    NAME: re.compile(
        rf"{IDENTIFIERS}"
        rf"|((.*_)?({_THING})_?(no|nr|num|number|index|idx|code|label|key))|{_THING}"
        r"|number_of_(analyzed|analysed)_fields|passage|(chembl|pubchem).*|lot|fold|split|source"
        r"|cluster|table_?number|(library|source|compound)_?plate|(target|moa)_?idx"
    ),
    # pycytominer and JUMP hold counts as metadata; they tell how toxic a compound is.
    CELLS: re.compile(
        rf"((rel|relative|total|mean)_?)?{_COUNTED}(_?per_(well|site|field|image|fov))?"
        rf"|(.*_)?(n|num|no|numbers?|counts?)_?(of_)?{_COUNTED}(_?{_STATISTIC_WORD})*"
        rf"|(.*_)?{_COUNTED}_?(n|num|counts?|numbers?)(_?{_STATISTIC_WORD})*"
    ),
    DONE: re.compile(
        r"((exposure|incubation|treatment|dosing)_?)?(time|time_?point|hours?|minutes|days|duration)"
        r"(_?(h|hr|hrs|hours?|min|s|sec|d|days?))?|date|datetime|timestamp|temperature|humidity"
        r"|((transfer|dispensed?|well|final|source|sample|dmso|backfill|total|compound)_?)?"
        r"(volume|vol)(_(in_)?([nu]l|ml|l))?|pert_time"
        r"|(scan|acquisition|imaging|plating|seeding|fixation)_?(order|time|timestamp|date|day)"
    ),
    KNOWN: re.compile(
        r"mol(ecular)?_?(w(eigh)?t|mass)|mw|exact_?mass|[cx]?_?log_?p|tpsa|hb[ad]|purity"
        r"|p?(ic|ec|ac|gi|cc|lc|ld|ed)_?\d\d(_.*)?|.*_(ic|ec|ac|gi|cc|lc|ld)50"
    ),
    RESULT: re.compile(
        r"mahalanobis|induction|dist_dmso|cluster_sim|p_?(val(ue)?|dmso)|q_?val(ue)?|map|viability"
        r"|toxic(ity)?|active|activity|(hit|phenotypic)_?(score|activity)|grit|m_ap|fdr|z_?prime|ssmd"
    ),
}
_IMAGE_NAME = re.compile(r"(?i)(file|path)_?name|(^|_)url(_|$)|image_?(file|path)|img_?path")
_IMAGE_FILE = re.compile(r"\.(tiff?|png|jpe?g|jp2|jxl|czi|nd2|flex|c01|dib|zarr)$", re.IGNORECASE)
_MIN_FAMILY = 8
_LISTS_ASKED = 20
_LISTED = 10


@dataclasses.dataclass(frozen=True)
class FeatureColumns:
    """The feature columns of a table.

    Attributes:
        columns: in the table's order; a single list column stands for all its values.
        rule: how they were found, in words.
        left_out: the other numeric columns, by what speaks against them.
    """

    columns: tuple[str, ...]
    rule: str
    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """A sentence for each reason."""
        return [
            f"no features, for {why}: {short(list(names), _LISTED)}"
            for why, names in self.left_out.items()
        ]


def find_features(
    path: str,
    schema: pa.Schema,
    taken: Mapping[str, str],
    features: str,
    required: Sequence[str] = (),
    *,
    head: FirstRows,
    codes: Sequence[str] = (),
    unclear: Sequence[str] = (),
    files: int = 1,
) -> FeatureColumns:
    """Finds the columns that make up the profile.

    In this order: those `required` by another screen, if they are columns here; those matching
    `features`; the list column; CellProfiler's measurements of any object (`Cells_AreaShape_…`,
    `Nucleoli_Texture_…`, also `Median_Cells_…` and tables of images), without places and counts; a
    numbered family (`feature_0`, `emb_1`, `12`), or several of one size; every numeric column that
    neither is mapped nor describes a well. Counts of cells are no features: they tell how toxic a
    compound is.

    Args:
        path: of the table, for messages.
        schema: of the table with the features.
        taken: our name -> the column, for those that have a role.
        features: regular expression that features match; "" finds them.
        required: features of the training screen.
        head: reads some columns of the first rows: values tell row numbers and names of images.
        codes: columns of text that hold whole numbers alone.
        unclear: columns of numbers as text whose commas may be decimal points or not.
        files: how many have all columns of the schema, for messages.

    Raises:
        WellsError: no column fits, rows are images, or a feature's commas are unclear.
    """
    free = [name for name in schema.names if name not in taken.values()]
    as_text_only = {TEXT: _worded(schema, free), CODES: codes, UNCLEAR: unclear}
    if required and set(required) <= set(schema.names):
        return FeatureColumns(tuple(required), "those of the training screen")
    numeric = [name for name in free if is_number(schema.field(name).type)]
    if features:
        try:
            pattern = re.compile(features)
        except re.error as error:
            raise WellsError(f"features: {features!r} is no regular expression ({error})") from None
        matching = tuple(name for name in free if pattern.search(name))
        if not matching:
            raise WellsError(f"{path}: no column matches features={features!r}")
        others = [name for name in numeric if name not in matching]
        left = {f"they do not match {features!r}": others} if others else {}
        left |= _others([], matching, "", as_text_only)
        return FeatureColumns(matching, f"columns matching {features!r}", left)
    lists = [name for name in free if is_list(schema.field(name).type)]
    if not lists:
        lists = _text_lists(schema, free, head)
    if "embedding" in taken:
        lists = [taken["embedding"]]
    if len(lists) > 1:
        raise WellsError(
            f"{path}: list columns {short(lists)}; name one: columns={{'embedding': …}}"
        )
    if lists:
        left = _others(numeric, lists, "the list column is the profile", as_text_only)
        return FeatureColumns((lists[0],), f"list column {lists[0]!r}", left)
    _check_commas(path, [n for n in unclear if n in free and why_no_feature(n) is None], head)
    measured = _cellprofiler(numeric)
    chosen = [name for name in measured if _bookkeeping(name) is None]
    if len(chosen) > 1:
        left = _others(numeric, chosen, "they are no CellProfiler measurements", as_text_only)
        return FeatureColumns(tuple(chosen), "CellProfiler columns", left)
    plain = [name for name in numeric if why_no_feature(name) is None]
    if family := _numbered(plain):
        why = "they have no part in the numbered columns"
        left = _others(numeric, family, why, as_text_only)
        stems = list(dict.fromkeys(_stem(name) for name in family))
        return FeatureColumns(
            tuple(family), f"numbered columns {short([f'{s}*' for s in stems], 5)}", left
        )
    counting = _counting(head, plain)
    plain = [name for name in plain if name not in counting]
    images = _image_columns(schema, free, head)
    if images and len(plain) < _MIN_FAMILY:
        raise WellsError(
            f"{path}: rows are images (column {images[0]!r}) and no profiles: embed them first "
            "(molphenix embed-images), or name features with features=..."
        )
    if not plain:
        what = f"{path}: no feature columns among {short(schema.names)}"
        if files > 1:
            raise WellsError(
                f"{what}, which all {files} files have: the files of a screen have the same "
                "features; two screens are prepared one by one, or trained on as "
                "wells=NAME=FILE+NAME=FILE"
            )
        raise WellsError(
            f"{what}: name them with the regular expression features=..., or a list column with "
            "columns={'embedding': ...}"
        )
    left = _others(numeric, plain, "", {**as_text_only, ROWS: counting})
    return FeatureColumns(
        tuple(plain), "all numeric columns that describe neither well nor treatment", left
    )


def why_no_feature(name: str) -> str | None:
    """What speaks against a numeric column by its name alone; None if nothing does."""
    if re.match(r"(?i)(image_)?metadata_", name):
        return METADATA
    if dose_name(name) is not None:
        return DOSES
    if (_CELLPROFILER.match(name) or _of(_OBJECTS).match(name)) and (why := _bookkeeping(name)):
        return why
    words = words_of(name)
    for why, pattern in _DESCRIPTIVE.items():
        if pattern.fullmatch(words):
            return why
    return NAME if is_text(name) else None


def _cellprofiler(names: Sequence[str]) -> list[str]:
    """Columns of CellProfiler: of a known family, or of an object that has such columns."""
    counts: dict[str, int] = dict.fromkeys(_OBJECTS, _MIN_FAMILY)
    families = set()
    for name in names:
        if re.match(r"(?i)metadata_", name):
            continue
        if match := _CELLPROFILER.match(name):
            families.add(name)
            counts[match["object"]] = counts.get(match["object"], 0) + 1
        elif _IMAGE_LEVEL.match(name):
            families.add(name)
    of_objects = _of([o for o, count in counts.items() if count >= _MIN_FAMILY])
    return [name for name in names if name in families or of_objects.match(name)]


def _worded(schema: pa.Schema, free: Sequence[str]) -> list[str]:
    """Columns that are called as measurements are, and hold text."""
    text = [name for name in free if pa.types.is_string(schema.field(name).type)]
    named = [n for n in text if _CELLPROFILER.match(n) or (n != _stem(n) and _embeds(_stem(n)))]
    return [name for name in named if _bookkeeping(name) is None and not is_text(name)]


def _of(objects: Sequence[str]) -> re.Pattern[str]:
    """Names of columns of these objects."""
    return re.compile(rf"({_STATISTIC}_)?({'|'.join(map(re.escape, objects))})_")


def _bookkeeping(name: str) -> str | None:
    return next((why for why, pattern in _BOOKKEEPING.items() if pattern.search(name)), None)


def _stem(name: str) -> str:
    return re.sub(r"\d+$", "", name)


def _numbered(names: Sequence[str]) -> list[str]:
    """Families such as emb_0, emb_1, …: the largest, and others of its size; [] for none.

    A family without an embedding's name must be long and hold half of the columns: among other
    features, Zernike_1 to Zernike_9 are a few of many.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        if name != (stem := _stem(name)):
            families.setdefault(stem, []).append(name)
    if not families:
        return []
    named = {s: f for s, f in families.items() if len(f) > 1 and _embeds(s)}
    size = max(map(len, (named or families).values()))
    same = [f for f in (named or families).values() if len(f) == size]
    chosen = {name for family in same for name in family}
    if not named and (size < _MIN_FAMILY or 2 * len(chosen) < len(names)):
        return []
    return [name for name in names if name in chosen]


def _embeds(stem: str) -> bool:
    """Whether a stem is what people call an embedding's dimensions."""
    plain = re.sub(r"[^a-z]", "", stem.lower())
    return plain in ("", "f", "z", "v", "pc", "pca", "vec", "dl") or bool(
        re.match(r"feat|emb|dim|latent|deep|cnn|vit|dino|principalcomponent", plain)
    )


def _others(
    numeric: Sequence[str],
    chosen: Sequence[str],
    otherwise: str,
    known: Mapping[str, Sequence[str]],
) -> dict[str, list[str]]:
    """The numeric columns that were not chosen, by reason; some have a `known` one."""
    left: dict[str, list[str]] = {}
    reasons = {name: why for why, names in known.items() for name in names}
    for name in dict.fromkeys([*numeric, *reasons]):
        if name not in chosen:
            why = reasons.get(name) or why_no_feature(name) or otherwise
            left.setdefault(why, []).append(name)
    return left


def _check_commas(path: str, unclear: Sequence[str], head: FirstRows) -> None:
    if unclear:
        texts = as_text(head(unclear[:1]).column(unclear[0])).tolist()
        if percent := next((text for text in texts if text.endswith("%")), ""):
            raise WellsError(
                f"{path}: column {unclear[0]!r}: are the numbers without a percent sign in "
                f"percent, too, as {percent!r} is? Write all of {short(unclear, 5)} alike, or "
                "name other features with features=..."
            )
        example = next(t for t in texts if "," in t)
        raise WellsError(
            f"{path}: column {unclear[0]!r}: is the comma in {example!r} a decimal point or does "
            f"it group thousands? Write the numbers of {short(unclear, 5)} without it, or name "
            "other features with features=..."
        )


def _text_lists(schema: pa.Schema, free: Sequence[str], head: FirstRows) -> list[str]:
    """Columns whose text, or lists of text, are lists of numbers."""
    text = [n for n in free if _may_list(schema.field(n).type)]
    if not text:
        return []
    rows, found = head(text), []
    for name in text:
        lists = as_lists(rows.column(name).slice(0, _LISTS_ASKED))
        long = [len(numbers) > 2 for numbers in lists.drop_null().to_pylist()]
        if long and all(long) and 2 * len(long) > len(lists):
            found.append(name)
    return found


def _may_list(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _counting(head: FirstRows, names: Sequence[str]) -> list[str]:
    """Columns of whole numbers that rise by one from row to row."""
    if not names:
        return []
    table = head(names)
    return [name for name in names if counts_up(as_number(table.column(name)))]


def _image_columns(schema: pa.Schema, free: Sequence[str], head: FirstRows) -> list[str]:
    """Columns of text that name files of images."""
    text = [n for n in free if pa.types.is_string(schema.field(n).type)]
    if not text:
        return []
    rows = head(text)
    values = {name: next((v for v in as_text(rows.column(name)) if v), "") for name in text}
    return [n for n in text if _IMAGE_FILE.search(values[n]) or _IMAGE_NAME.search(n)]
