"""What else differs on purpose in a screen: time, cell line, and further columns.

A perturbation is a molecule at a dose under one condition; wells of different conditions are no
replicates. Screens hold the number of the condition of each perturbation, and one `Conditions`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The conditions of a screen; a screen that knows of none has one, without columns.

    Attributes:
        columns: What conditions are told by: time_h (hours), cell_line, or a column of the user's.
        values: Value of each column, for each condition.
    """

    columns: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ((),)

    def __post_init__(self):
        if any(len(value) != len(self.columns) for value in self.values):
            raise ValueError(f"conditions need {len(self.columns)} values each: {self.values}")

    def __len__(self):
        return len(self.values)

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """The columns that vary, each with its different values in order."""
        found = {
            name: tuple(sorted({value[j] for value in self.values}, key=level_order))
            for j, name in enumerate(self.columns)
        }
        return {name: levels for name, levels in found.items() if len(levels) > 1}

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each condition, from the columns that vary: "48 h, U2OS"."""
        varies = [name in self.levels or len(self) == 1 for name in self.columns]
        varying = np.flatnonzero(varies)
        return tuple(
            ", ".join(level_label(self.columns[j], value[j]) for j in varying)
            for value in self.values
        )

    def told(self, c: int) -> dict[str, str]:
        """The value of each column for one condition."""
        return dict(zip(self.columns, self.values[c], strict=True))

    def encoded(self, trained: "Conditions") -> Float[np.ndarray, "c k"]:
        """Each condition as the model of a training screen takes it, [c, k].

        One-hot over the levels of each column that varies in the training screen, side by side. A
        level that the training screen lacks is NaN: there is no right number for it.

        Args:
            trained: Conditions of the training screen; its own have no NaN.
        """
        blocks = [np.zeros((len(self), 0), np.float32)]
        for name, levels in trained.levels.items():
            keys = [level_key(level) for level in levels]
            block = np.full((len(self), len(levels)), np.nan, np.float32)
            if name in self.columns:
                j = self.columns.index(name)
                for row, value in enumerate(self.values):
                    if level_key(value[j]) in keys:
                        block[row] = np.eye(len(levels))[keys.index(level_key(value[j]))]
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    def as_json(self) -> dict[str, Any]:
        """Plain lists, for `of_json`."""
        return {"columns": list(self.columns), "values": [list(value) for value in self.values]}

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> "Conditions":
        """The conditions that `as_json` wrote."""
        return cls(tuple(fields["columns"]), tuple(tuple(value) for value in fields["values"]))

    def kept(self, condition: Int[np.ndarray, " n"]) -> tuple["Conditions", Int[np.ndarray, " n"]]:
        """Only the conditions that occur, and the numbers of the same rows among them."""
        used, code = np.unique(condition, return_inverse=True)
        return dataclasses.replace(self, values=tuple(self.values[c] for c in used)), code


def level_key(text: str) -> str:
    """A level as it is compared: U2OS, U-2 OS and u2os are one cell line."""
    return re.sub(r"[\s_-]+", "", text.casefold())


def differing(levels: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The columns that two conditions both tell, with levels that are not the same."""
    return [
        name
        for name, level in others.items()
        if name in levels and level_key(str(levels[name])) != level_key(str(level))
    ]


def level_order(text: str) -> tuple[float, str]:
    """Sort key of levels: numbers by size, then words."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def level_label(column: str, level: str) -> str:
    """A level in words: "48 h", "U2OS", "serum 10"."""
    if column == "time_h":
        return f"{level} h"
    return level if column == "cell_line" else f"{column} {level}"


def listed_levels(column: str, levels: Sequence[str]) -> str:
    """The first few levels of a column, in words."""
    shown = [level_label(column, level) for level in levels[:8]]
    return ", ".join(shown) + (f" and {len(levels) - 8} more" if len(levels) > 8 else "")
