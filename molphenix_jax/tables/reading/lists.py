"""Columns whose cells are lists of numbers, however a file holds them."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from molphenix_jax.tables.columns import as_text, is_list


def as_matrix(
    column: pa.ChunkedArray, width: int
) -> tuple[Float[np.ndarray, "n d"], Bool[np.ndarray, "n"]]:
    """A column of number lists (or of text such as "[0.1, 0.2]") as one float32 matrix.

    Returns:
        The matrix, NaN in rows whose list is not `width` long, and which rows are so wide.
    """
    array = as_lists(column)
    fits = (_lengths(array) == width) & (width > 0)
    values = array.filter(pa.array(fits)).flatten()
    matrix = np.full((len(fits), width), np.nan, np.float32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and reported as that
        matrix[fits] = values.to_numpy(zero_copy_only=False).reshape(-1, width or 1)[:, :width]
    return matrix, fits


def as_lists(column: pa.ChunkedArray) -> pa.Array:
    """A column as lists of numbers: of lists, of lists of text, or of text; null where it is none.

    Numbers in text stand apart by commas, semicolons or blanks; beside semicolons or blanks a comma
    within a number is a decimal point.
    """
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        if not is_list(column.type):
            parsed = [_parsed(texts) for texts in column.to_pylist()]
            return pa.array(parsed, pa.list_(pa.float64()))
    elif pa.types.is_nested(column.type) and not is_list(column.type):
        return pa.nulls(len(column), pa.list_(pa.float64()))
    elif not is_list(column.type):
        parsed = [_parse_list(text) for text in as_text(column)]
        return pa.array(parsed, pa.list_(pa.float64()))
    combined = column.combine_chunks()
    return combined.combine_chunks() if isinstance(combined, pa.ChunkedArray) else combined


def _lengths(lists: pa.Array) -> np.ndarray:
    lengths = pc.call_function("list_value_length", [lists])
    return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)


def usual_length(lists: pa.Array) -> int:
    """The length that most lists have."""
    lengths = _lengths(lists)
    return int(np.bincount(lengths[lengths > 0]).argmax()) if lengths.any() else 0


def _parse_list(text: str) -> list[float] | None:
    inner = text.strip().strip("[]()").strip()
    parts = inner.split(";") if ";" in inner else inner.split()
    parts = [part.strip() for part in parts if part.strip()]
    apart = any(a.endswith(",") or b.startswith(",") for a, b in itertools.pairwise(parts))
    if len(parts) < 2 or apart:
        parts = inner.replace(",", " ").split()
    return _parsed(parts)


def _parsed(texts: Sequence[Any] | None) -> list[float] | None:
    try:
        return [float(str(text).strip().replace(",", ".")) for text in texts or ()] or None
    except ValueError:
        return None
