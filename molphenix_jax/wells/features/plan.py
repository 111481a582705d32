"""How the chosen feature columns of a table become rows of a float32 matrix."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from molphenix_jax.tables.columns import WellsError, as_number, is_number, near
from molphenix_jax.tables.reading.lists import as_lists, as_matrix, usual_length


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
        WellsError: a required feature is not there, or a column of lists holds none.
    """
    width, names = 0, list(chosen)
    if len(chosen) == 1 and not is_number(first_rows.schema.field(chosen[0]).type):
        width = usual_length(as_lists(first_rows.column(chosen[0])))
        if not width:
            raise WellsError(_why_no_list(path, chosen[0], first_rows))
        names = [f"feature_{j}" for j in range(width)]
    wanted = list(required) or names
    at = {name: j for j, name in enumerate(names)}
    missing = [name for name in wanted if name not in at]
    if missing and width:
        raise WellsError(
            f"{path}: column {chosen[0]!r} holds lists of {width} numbers, which lack "
            f"{len(missing)} of {len(required)} features of the training screen, {missing[0]!r} "
            "first: give a column for each by its name, or lists as long as those of that screen"
        )
    if missing:
        raise WellsError(
            f"{path}: lacks {len(missing)} of {len(required)} features of the training screen, "
            f"{missing[0]!r} first{near(missing[0], names)}"
        )
    return FeaturePlan(tuple(chosen), tuple(wanted), width, tuple(at[name] for name in wanted))


def _why_no_list(path: str, name: str, rows: pa.Table) -> str:
    cells = [cell for cell in rows.column(name).slice(0, 1000).to_pylist() if cell is not None]
    remedy = "write it as a column of lists in a Parquet file, or one column for each feature"
    if any(isinstance(cell, str) and "..." in cell for cell in cells):
        return (
            f"{path}: column {name!r}: lists are abbreviated by '...', their numbers are lost "
            f"({str(cells[0])[:40]!r} first): {remedy}"
        )
    first = f"{str(cells[0])[:40]!r} first" if cells else "it is empty"
    return f"{path}: column {name!r} holds no list of numbers ({first}): {remedy}"
