"""Label tables: molecules with properties to learn, from any CSV or Parquet.

One row is one molecule. A label column holds numbers, with gaps where a molecule was not measured,
or lists with one number for each atom in the order of its SMILES. Columns that hold no labels are
named with the reason, and so is everything that is read as a gap (`label_columns`). That covers the
layouts of graphium's collections (docs/method.md §10): ToyMix (QM9, Tox21, ZINC12k) and LargeMix
(`geneID-*` of L1000, `assayID-*` of PCBA, `graph_*` and `node_*` of PCQM4M).
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from molphenix_jax.molecules import (
    FEATURISER_VERSION,
    FINGERPRINTS,
    column_names,
    featurise,
    standardise,
)
from molphenix_jax.screens.confounders import cell_column, relative_share
from molphenix_jax.storage import digest_texts, make_file_once
from molphenix_jax.tasks.property_pretraining.label_columns import (
    CONSTANT,
    EMPTY,
    RELATIONS,
    ColumnNotes,
    are_bounds,
    label_of_relation,
    read_numbers,
    refuse_units,
    why_no_label,
)
from molphenix_jax.tasks.property_pretraining.label_tables import LabelsError, read_label_table

LOSSES = ("bce", "mae", "hybrid_ce", "none")
REJECTED = ["file", "row", "field", "value", "reason"]  # columns of `Labels.rejected`
# Integers from 0 to at most this are ordered classes; more of them are a quantity.
_MAX_CLASS = 4


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
            a table has labels of atoms; file, row and field that each is from. Those of tables have
            cell_share: the cells that are left as a share of the controls', NaN where unknown.
        groups: Labels by group; none is empty.
        rejected: Columns file, row (from 1), field, value, reason.
        notes: What was left out and what was read as a gap, one sentence each.
    """

    molecules: pd.DataFrame
    groups: tuple[LabelGroup, ...]
    rejected: pd.DataFrame
    notes: tuple[str, ...] = ()


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
        paths: CSV (may be compressed), Parquet or .sdf files, whose properties are the labels.
        smiles_column: Of tables; empty finds it.
        columns: Regular expression of the label columns; empty takes every column of numbers,
            truth values or lists that neither numbers rows nor names or doses samples.
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
    return Labels(molecules, groups, rejected, tuple(note for t in tables for note in t[3]))


def computed_labels(smiles: Sequence[str], *, blocks: Sequence[str]) -> Labels:
    """Labels that RDKit computes: descriptors to regress on, fingerprint bits to tell.

    Args:
        smiles: Molecules; those that cannot be read are rejected, repeats are dropped.
        blocks: Feature blocks: fingerprints (bce), physchem and others with numbers (mae).

    Raises:
        LabelsError: An unknown block, or no usable molecule.
    """
    unknown = [block for block in blocks if block not in FINGERPRINTS]
    if unknown or not blocks:
        raise LabelsError(
            f"data.computed={','.join(blocks)!r}: choose of {', '.join(FINGERPRINTS)}"
        )
    table = standardise(smiles).assign(given=list(smiles))
    rows = range(1, len(table) + 1)
    molecules, rejected = _split_rejected(table, "shipped molecules", rows, "smiles")
    molecules = molecules.drop_duplicates("inchikey").reset_index(drop=True)
    bits = [b for b in blocks if FINGERPRINTS[b].bits]
    numbers = [b for b in blocks if b not in bits]
    groups = []
    if bits:
        values = np.concatenate([featurise(molecules["smiles"].tolist(), b) for b in bits], axis=1)
        names = [name for b in bits for name in column_names(b)]
        varies = np.asarray(values.any(axis=0) & ~values.all(axis=0))
        kept = tuple(name for name, keep in zip(names, varies, strict=True) if keep)
        groups.append(
            LabelGroup("graph_bce", "graph", "bce", 1, kept, values[:, varies].astype(np.float32))
        )
    if numbers:
        of_block = [featurise(molecules["smiles"].tolist(), b) for b in numbers]
        values = np.concatenate(of_block, axis=1)
        names = [name for b in numbers for name in column_names(b)]
        varies = values.std(axis=0) > 1e-6
        kept = tuple(name for name, keep in zip(names, varies, strict=True) if keep)
        groups.append(LabelGroup("graph_mae", "graph", "mae", 1, kept, values[:, varies]))
    return Labels(molecules, tuple(groups), rejected)


def _read(path, smiles_column, columns, losses, cache):
    if not path.is_file():
        raise LabelsError(f"data.labels: there is no file {path}")
    read = read_label_table(path, smiles_column=smiles_column)
    table, name = read.frame, read.smiles
    standard = _standardised(table[name].tolist(), cache).assign(given=table[name].to_numpy())
    standard["error"] = [
        own or error for own, error in zip(read.reasons, standard["error"], strict=True)
    ]
    usable = np.asarray(standard["error"].isna())
    molecules, rejected = _split_rejected(standard, path.name, read.rows, read.field)
    if not len(molecules):
        raise LabelsError(
            f"{path}: none of the {len(table)} molecules in column {name!r} can be used; the "
            f"first: {standard['error'].iloc[0] if len(standard) else 'the table is empty'}"
        )
    molecules["cell_share"], counted = _cells(path, table, usable)
    labels, notes = {}, ColumnNotes()
    for column in (str(c) for c in table if c != name):
        if not re.search(columns, column):
            notes.leave_out(column, f"data.columns={columns!r} does not match them")
            continue
        rule = next((loss for pattern, loss in losses if re.search(pattern, column)), None)
        if rule == "none":
            notes.leave_out(column, "data.losses says none")
            continue
        refuse_units(str(path), column, pd.Series(table.loc[usable, column]))
        spec = _label(path, column, pd.Series(table[column]), usable, rule, bool(columns), notes)
        if isinstance(spec, str):
            notes.leave_out(column, spec)
        else:
            labels[column] = spec
    for relation in notes.left_out.pop(RELATIONS, []):
        _censor(labels, relation, are_bounds(pd.Series(table.loc[usable, relation])), notes)
    if not labels:
        reasons = "; ".join(f"{', '.join(c[:5])}: {why}" for why, c in notes.left_out.items())
        raise LabelsError(
            f"{path}: no label column (numbers, or lists of them, one per atom); data.columns="
            f"{columns!r} chooses among {reasons or 'no other columns'}"
        )
    if any(level == "node" for level, *_ in labels.values()):
        # As given: labels of atoms come in that order, and hold for that form.
        molecules["smiles"] = table.loc[usable, name].to_numpy()
    sentences = [*read.notes, *notes.sentences(path.name), *_repeats(path.name, molecules, labels)]
    return molecules, rejected, labels, [*sentences, *counted]


def _cells(
    path: pathlib.Path, table: pd.DataFrame, usable: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Share of the controls' cells that each usable molecule leaves, and a sentence on that."""
    column = cell_column([str(name) for name in table])
    if column:
        numbers = read_numbers(str(path), column, pd.Series(table[column]), ColumnNotes())
        if not isinstance(numbers, str) and np.isfinite(numbers[usable]).any():
            share, told = relative_share(column, numbers[usable])
            return share, [f"{path.name}: {column} counts cells; as a share, it is {told}"]
    return np.full(int(usable.sum()), np.nan), []


def _censor(labels: dict[str, Any], relation: str, bound: np.ndarray, notes: ColumnNotes) -> None:
    """Makes gaps of the labels that a column of relations calls bounds."""
    label = label_of_relation(relation, [n for n, spec in labels.items() if spec[0] == "graph"])
    if label is None:
        notes.leave_out(relation, RELATIONS)
        return
    notes.leave_out(relation, f"they tell which of {label!r} are bounds")
    level, loss, n_classes, values = labels[label]
    bound = bound & np.isfinite(values)
    if bound.any():
        notes.tell("censored", label, f"{bound.sum():,} by {relation!r}")
    labels[label] = (level, loss, n_classes, np.where(bound, np.float32(np.nan), values))
    if not np.isfinite(labels[label][3]).any():
        del labels[label]
        notes.leave_out(label, "all they hold are bounds")


def _repeats(where: str, molecules: pd.DataFrame, labels: dict[str, Any]) -> list[str]:
    """A sentence on molecules in several rows, and on labels that differ between these."""
    keys = molecules["inchikey"].to_numpy(str)
    _, code, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if (counts == 1).all():
        return []
    differing = []
    for column, (level, _, _, values) in labels.items():
        if level == "node":
            continue
        known = (counts[code] > 1) & np.isfinite(values)
        low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
        np.minimum.at(low, code[known], values[known])
        np.maximum.at(high, code[known], values[known])
        at = np.isfinite(high)
        if n := int((high[at] - low[at] > 1e-6 * np.abs(high[at])).sum()):
            differing.append(f"{column} ({n:,})")
    return [
        f"{where}: {(counts > 1).sum():,} molecules stand in several rows, each of which is "
        "learned by itself, all on one side of the split; "
        + (f"labels of one differ in {', '.join(differing)}" if differing else "labels agree")
    ]


def _standardised(smiles: list[str], cache: pathlib.Path | None) -> pd.DataFrame:
    if cache is None:
        return standardise(smiles)
    key = digest_texts([FEATURISER_VERSION, *map(str, smiles)])[:16]
    path = cache / f"standard-{key}.parquet"
    make_file_once(path, lambda private: standardise(smiles).to_parquet(private, index=False))
    return pd.read_parquet(path).astype(object).where(lambda t: t.notna(), None)


def _split_rejected(
    table: pd.DataFrame, source: str, rows: Sequence[int], field: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The molecules that can be used, and the rows that cannot."""
    table = table.assign(file=source, row=rows, field=field, value=table["given"])
    bad = table["error"].notna()
    rejected = table.loc[bad].rename(columns={"error": "reason"})[REJECTED]
    molecules = table.loc[~bad, ["smiles", "inchikey", "scaffold", "file", "row", "field"]]
    return molecules.reset_index(drop=True), rejected.reset_index(drop=True)


def _label(path, column, series: pd.Series, usable: np.ndarray, rule, asked: bool, notes):
    """Level, loss, classes and values of a column; or why it holds no labels.

    Args:
        path: Of the table, for messages.
        column: Its name.
        series: Its cells.
        usable: Rows whose molecule can be used.
        rule: The loss that data.losses gives it, if any.
        asked: Whether data.columns names it: then it is taken whatever its name says.
        notes: Gathers what was read as a gap.
    """
    first = next((v for v in series if not _is_missing(v)), None)
    level = "node" if isinstance(first, list | tuple | np.ndarray) else "graph"
    if level == "node":
        try:
            values = [
                None if _is_missing(v) else np.asarray(v, np.float32)
                for v, keep in zip(series, usable, strict=True)
                if keep
            ]
        except (ValueError, TypeError):
            return "they hold lists of something else than numbers"
        flat = np.concatenate([v for v in values if v is not None] or [np.zeros(0)])
    else:
        told = ColumnNotes()
        numbers = read_numbers(str(path), column, series, told)
        if isinstance(numbers, str):
            return numbers
        if why := why_no_label(column, numbers):
            if not asked:
                return why
            told.tell("taken", column, why)
        notes.join(told)
        flat = values = numbers[usable].astype(np.float32)
    known = flat[np.isfinite(flat)]
    if not len(known):
        return EMPTY
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
    if known.min() == known.max() and level == "graph" and not asked:
        return CONSTANT
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
