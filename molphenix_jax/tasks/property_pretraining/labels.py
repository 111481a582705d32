"""Label tables: molecules with properties to learn, from any CSV or Parquet.

One row is one molecule. A label column holds numbers, with gaps where a molecule was not measured,
or lists with one number for each atom in the order of its SMILES. That covers the layouts of
graphium's collections (SPEC §10): ToyMix (QM9, Tox21, ZINC12k) and LargeMix (`geneID-*` of L1000,
`assayID-*` of PCBA, `graph_*` and `node_*` of PCQM4M).
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from molphenix_jax.errors import InputError
from molphenix_jax.molecules import (
    FEATURISER_VERSION,
    FINGERPRINTS,
    column_names,
    featurise,
    standardise,
)
from molphenix_jax.storage import digest_texts, make_file_once

LOSSES = ("bce", "mae", "hybrid_ce", "none")
# Integers from 0 to at most this are ordered classes; more of them are a quantity.
_MAX_CLASS = 4


class LabelsError(InputError):
    """A label table that cannot be used; names the file, the field and the remedy."""


@dataclasses.dataclass(frozen=True)
class LabelGroup:
    """Labels that share a level and a loss.

    Attributes:
        name: `<level>_<loss>`, with the number of classes for hybrid_ce.
        level: graph or node.
        loss: bce, mae or hybrid_ce.
        n_classes: Outputs for each label: 1, or the classes of hybrid_ce.
        columns: Names of the labels.
        values: Graph level: [m, k]. Node level: for each molecule [atoms, k], atoms in the order of
            its SMILES. NaN where there is no label.
    """

    name: str
    level: str
    loss: str
    n_classes: int
    columns: tuple[str, ...]
    values: Any


@dataclasses.dataclass(frozen=True)
class Labels:
    """Molecules and their label groups.

    Attributes:
        molecules: Columns smiles, inchikey and scaffold of the standard form; smiles as given where
            a table has labels of atoms.
        groups: Labels by group; none is empty.
        rejected: Columns file, row, smiles, reason.
    """

    molecules: pd.DataFrame
    groups: tuple[LabelGroup, ...]
    rejected: pd.DataFrame


def read_labels(
    paths: Sequence[str],
    *,
    smiles_column: str = "",
    columns: str = "",
    losses: Sequence[tuple[str, str]] = (),
    cache: pathlib.Path | None = None,
) -> Labels:
    """Reads label tables; several are stacked, each with labels of its own.

    Args:
        paths: CSV (may be compressed) or Parquet files.
        smiles_column: Empty finds the column whose name ends with "smiles".
        columns: Regular expression of the label columns; empty takes every number and list column.
        losses: (pattern, loss) rules, first match; "none" leaves a column out. Columns that none
            matches: bce for 0 and 1, hybrid_ce for integers 0 … 2 to 0 … 4, mae otherwise.
        cache: Folder that keeps what standardising takes minutes for.

    Raises:
        LabelsError: A file that is missing or has no SMILES, no labels or no usable molecule.
    """
    tables = [_read(pathlib.Path(p), smiles_column, columns, losses, cache) for p in paths]
    molecules = pd.concat([t[0] for t in tables], ignore_index=True)
    rejected = pd.concat([t[1] for t in tables], ignore_index=True)
    labels = [t[2] for t in tables]
    several = len(tables) > 1
    merged: dict[str, list[tuple[int, str, Any]]] = {}
    specs: dict[str, tuple[str, str, int]] = {}
    for number, table in enumerate(labels):
        for column, (level, loss, n_classes, values) in table.items():
            group = f"{level}_{loss}" + (f"_{n_classes}" if loss == "hybrid_ce" else "")
            name = f"{pathlib.Path(paths[number]).name.split('.')[0]}/{column}"
            specs[group] = (level, loss, n_classes)
            merged.setdefault(group, []).append((number, name if several else column, values))
    sizes = [len(t[0]) for t in tables]
    groups = tuple(
        LabelGroup(
            group,
            *specs[group],
            tuple(name for _, name, _ in merged[group]),
            _stack(specs[group][0], merged[group], sizes, molecules),
        )
        for group in sorted(merged)
    )
    return Labels(molecules, groups, rejected)


def computed_labels(smiles: Sequence[str], *, blocks: Sequence[str]) -> Labels:
    """Labels that RDKit computes: descriptors to regress on, fingerprint bits to tell.

    Args:
        smiles: Molecules; those that cannot be read are rejected, repeats are dropped.
        blocks: Feature blocks: physchem (mae) or a fingerprint (bce).

    Raises:
        LabelsError: An unknown block, or no usable molecule.
    """
    unknown = [block for block in blocks if block not in FINGERPRINTS]
    if unknown or not blocks:
        raise LabelsError(
            f"data.computed={','.join(blocks)!r}: choose of {', '.join(FINGERPRINTS)}"
        )
    table = standardise(smiles).assign(given=list(smiles))
    molecules, rejected = _split_rejected(table, "shipped molecules")
    molecules = molecules.drop_duplicates("inchikey").reset_index(drop=True)
    bits = [b for b in blocks if b != "physchem"]
    groups = []
    if bits:
        values = np.concatenate([featurise(molecules["smiles"].tolist(), b) for b in bits], axis=1)
        names = [name for b in bits for name in column_names(b)]
        varies = np.asarray(values.any(axis=0) & ~values.all(axis=0))
        kept = tuple(name for name, keep in zip(names, varies, strict=True) if keep)
        groups.append(
            LabelGroup("graph_bce", "graph", "bce", 1, kept, values[:, varies].astype(np.float32))
        )
    if "physchem" in blocks:
        values = featurise(molecules["smiles"].tolist(), "physchem")
        names = column_names("physchem")
        varies = values.std(axis=0) > 1e-6
        kept = tuple(name for name, keep in zip(names, varies, strict=True) if keep)
        groups.append(LabelGroup("graph_mae", "graph", "mae", 1, kept, values[:, varies]))
    return Labels(molecules, tuple(groups), rejected)


def _read(path, smiles_column, columns, losses, cache):
    if not path.is_file():
        raise LabelsError(f"data.labels: there is no file {path}")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise LabelsError(f"{path} cannot be read as a table: {error}") from error
    name = smiles_column or next((c for c in table if str(c).lower().endswith("smiles")), "")
    if name not in table:
        raise LabelsError(
            f"{path}: no column {name or '*smiles'!r}; set data.smiles_column to one of "
            f"{', '.join(map(str, table.columns[:10]))}"
        )
    standard = _standardised(table[name].tolist(), cache).assign(given=table[name].to_numpy())
    usable = np.asarray(standard["error"].isna())
    molecules, rejected = _split_rejected(standard, path.name)
    if not len(molecules):
        raise LabelsError(
            f"{path}: none of the {len(table)} molecules in column {name!r} can be used; the "
            f"first: {standard['error'].iloc[0] if len(standard) else 'the table is empty'}"
        )
    chosen = [c for c in table if c != name and re.search(columns, str(c))]
    labels = {}
    for column in chosen:
        spec = _label(path, column, pd.Series(table[column]), usable, losses)
        if spec is not None:
            labels[str(column)] = spec
    if not labels:
        raise LabelsError(
            f"{path}: no label column (numbers, or lists of them, one per atom); data.columns="
            f"{columns!r} leaves {', '.join(map(str, chosen[:10])) or 'nothing'}"
        )
    if any(level == "node" for level, *_ in labels.values()):
        # As given: labels of atoms come in that order, and hold for that form.
        molecules["smiles"] = table.loc[usable, name].to_numpy()
    return molecules, rejected, labels


def _standardised(smiles: list[str], cache: pathlib.Path | None) -> pd.DataFrame:
    if cache is None:
        return standardise(smiles)
    key = digest_texts([FEATURISER_VERSION, *map(str, smiles)])[:16]
    path = cache / f"standard-{key}.parquet"
    make_file_once(path, lambda private: standardise(smiles).to_parquet(private, index=False))
    return pd.read_parquet(path).astype(object).where(lambda t: t.notna(), None)


def _split_rejected(table: pd.DataFrame, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    bad = table["error"].notna()
    rejected = pd.DataFrame(
        {
            "file": source,
            "row": np.flatnonzero(bad),
            "smiles": table.loc[bad, "given"].to_numpy(),
            "reason": table.loc[bad, "error"].to_numpy(),
        }
    )
    molecules = table.loc[~bad, ["smiles", "inchikey", "scaffold"]].reset_index(drop=True)
    return molecules, rejected


def _label(path, column, series: pd.Series, usable: np.ndarray, losses):
    """Level, loss, classes and values of a column; None if it holds no labels."""
    first = next((v for v in series if not _is_missing(v)), None)
    level = "node" if isinstance(first, list | tuple | np.ndarray) else "graph"
    if level == "graph" and not (
        pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series)
    ):
        return None
    rule = next((loss for pattern, loss in losses if re.search(pattern, str(column))), None)
    if rule == "none":
        return None
    if level == "node":
        values = [
            None if _is_missing(v) else np.asarray(v, np.float32)
            for v, keep in zip(series, usable, strict=True)
            if keep
        ]
        flat = np.concatenate([v for v in values if v is not None] or [np.zeros(0)])
    else:
        values = series.to_numpy(np.float32, na_value=np.nan)[usable]
        values = np.where(np.isfinite(values), values, np.nan)
        flat = values
    known = flat[np.isfinite(flat)]
    if not len(known):
        return None
    distinct = np.unique(known[:100_000])
    loss = rule or _loss_of(distinct)
    n_classes = 1
    if loss == "bce" and not np.isin(np.unique(known), (0, 1)).all():
        raise LabelsError(f"{path}, column {column}: data.losses says bce, but it is not 0 and 1")
    if loss == "hybrid_ce":
        whole = np.unique(known)
        if not (whole == np.round(whole)).all() or whole[0] < 0:
            raise LabelsError(
                f"{path}, column {column}: data.losses says hybrid_ce, which needs classes 0, 1, …"
            )
        n_classes = max(int(whole[-1]) + 1, 3)
    return level, loss, n_classes, values


def _loss_of(distinct: np.ndarray) -> str:
    if np.isin(distinct, (0, 1)).all():
        return "bce"
    is_class = (distinct == np.round(distinct)).all() and distinct[0] == 0
    return "hybrid_ce" if is_class and 2 <= distinct[-1] <= _MAX_CLASS else "mae"


def _is_missing(value: Any) -> bool:
    if isinstance(value, list | tuple | np.ndarray):
        return False
    return value is None or bool(pd.isna(value))


def _stack(level: str, parts, sizes: Sequence[int], molecules: pd.DataFrame) -> Any:
    """Columns of one group side by side, tables above each other, NaN in between."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if level == "graph":
        stacked = np.full((starts[-1], len(parts)), np.nan, np.float32)
        for k, (number, _, values) in enumerate(parts):
            stacked[starts[number] : starts[number + 1], k] = values
        return stacked
    rows: list[Any] = [None] * int(starts[-1])
    for k, (number, name, values) in enumerate(parts):
        for i, value in enumerate(values):
            if value is None:
                continue
            at = int(starts[number]) + i
            if rows[at] is None:
                rows[at] = np.full((len(value), len(parts)), np.nan, np.float32)
            if len(rows[at]) != len(value):
                raise LabelsError(
                    f"label {name} of {molecules['smiles'].iloc[at]!r} has {len(value)} atoms, "
                    f"another label of it {len(rows[at])}"
                )
            rows[at][:, k] = value
    return rows
