"""Which columns say something of a well beside its treatment: they are kept with the screen."""

import re
from collections.abc import Collection, Iterable

import pyarrow as pa

from molphenix_jax.tables.columns import is_number
from molphenix_jax.tables.numbering import words_of
from molphenix_jax.tables.reading.files import TableFile
from molphenix_jax.wells.features.choice import CELLS, why_no_feature

# Where images lie: a text of its own in each row, and of no use without the machine.
_PATHS = re.compile(r"(image_)?(metadata_)?(file_?name|path_?name|url|md5|series|frame)", re.I)


def described(files: Iterable[TableFile], known: Collection[str]) -> set[str]:
    """The columns that nothing is decided by and that say something of a well all the same.

    Words, truth values and dates; numbers where the name begins with `Metadata_`, or where they
    count cells.
    """
    return {
        field.name
        for file in files
        for field in file.schema
        if field.name not in known
        and not _PATHS.match(field.name)
        and (_is_word(field.type) or _is_metadata(field) or _is_count(field))
    }


def counts_cells(name: str) -> bool:
    """Whether a column of this name tells how many cells a well has."""
    bare = re.sub(r"(?i)^(image_)?metadata_", "", name)
    words = words_of(bare)
    return ("cell" in words or "nucle" in words) and why_no_feature(bare) == CELLS


def _is_word(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return is_text or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)


def _is_count(field: pa.Field) -> bool:
    return is_number(field.type) and counts_cells(field.name)


def _is_metadata(field: pa.Field) -> bool:
    return field.name.lower().startswith("metadata_") and is_number(field.type)
