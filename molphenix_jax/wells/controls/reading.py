"""Which wells are negative controls, of which kind, and how that was told.

What a well is comes from columns that give its role (is_control, control_type, pert_type, …), from
names in compound and treatment columns, and from its structure. Positive controls are treated
wells. Several kinds of negative control (DMSO, untreated, empty) are never pooled unasked.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

from molphenix_jax.tables.columns import (
    COMPOUND_NAMES,
    ROLES,
    WellsError,
    as_text,
    near,
    normal,
    short,
    translated,
)
from molphenix_jax.tables.missing import NOTHING
from molphenix_jax.wells.checked import CheckedRows
from molphenix_jax.wells.controls.words import (
    CONTROL,
    DMSO,
    POSITIVE,
    TREATED,
    UNTREATED,
    VEHICLE,
    is_sure,
    kind_of,
    molecules_among,
    solvents_among,
    truth_of,
)
from molphenix_jax.wells.doses.reading import Doses

AUTO = "auto"
# DMSO is taken among several kinds where it makes up this share of the controls.
_SHARE_OF_DMSO = 0.1


@dataclasses.dataclass
class _Evidence:
    """What was found out about each row; text is "" where nothing was.

    Attributes:
        kind: kind of negative control.
        sure: whether what says so says "negative" or names a kind.
        source: column and value that say so.
        positive: column and value that say positive control.
        denied: the is_control column says that it is none.
    """

    kind: np.ndarray
    sure: Bool[np.ndarray, "n"]
    source: np.ndarray
    positive: np.ndarray
    denied: Bool[np.ndarray, "n"]

    @classmethod
    def none(cls, n: int) -> "_Evidence":
        text = [np.full(n, "", object) for _ in range(3)]
        return cls(text[0], np.zeros(n, bool), text[1], text[2], np.zeros(n, bool))

    def add(self, rows: np.ndarray, kind: np.ndarray, sure: np.ndarray, source: np.ndarray) -> None:
        """Notes that some rows are controls; a stated kind goes before none."""
        news = rows & ((self.kind == "") | ((self.kind == CONTROL) & (kind != CONTROL)))
        first = rows & (self.source == "")
        self.kind[news] = kind[news]
        self.source[first] = source[first]
        self.sure |= rows & sure


def find_controls(
    rows: CheckedRows, smiles: np.ndarray, doses: Doses, wanted: str, notes: list[str]
) -> Bool[np.ndarray, "n"]:
    """Finds the negative controls; says what was taken, what was not, and how it was told.

    A well is one if its is_control column says so, or where there is none, if a role, a name or its
    structure (DMSO) does, or if no column does for any well and it has neither SMILES nor dose. A
    well that is only called "control" and holds a molecule at a dose is a positive control, as is
    one that is called so: both are treated wells. Where controls are of several kinds, DMSO is
    taken if a tenth of them are, else the commonest; the others are left out.

    Args:
        rows: the rows, of which contradictory ones are rejected.
        smiles: of each row.
        doses: of each row.
        wanted: auto; kinds to take together, by commas; or COLUMN=VALUE+VALUE.
        notes: gets the sentences.

    Raises:
        WellsError: no control is of a kind or value that is wanted.
    """
    if "=" in wanted:
        return _by_value(rows, wanted, notes)
    found = _Evidence.none(len(rows.kept))
    asked = _ask_is_control(rows, found, notes)
    _ask_words(rows, found, asked)
    by_column = (found.kind != "").any()
    # Of wells that nothing calls a control, only those of DMSO are: sulfur and oxygen.
    called = set(smiles[found.kind != ""].tolist())
    maybe = {text for text in set(smiles.tolist()) - called if "S" in text and "O" in text}
    solvents = solvents_among(called | maybe)
    structure = translated(smiles, lambda text: solvents.get(text, ""))
    is_dmso = structure == DMSO
    label = np.full(len(smiles), "the structure of DMSO", object)
    found.add(is_dmso & ~asked, structure, is_dmso, label)
    found.add((found.kind == CONTROL) & (structure != ""), structure, structure != "", label)
    if doses.column and not by_column and not rows.raw.named:
        # An empty SMILES alone says nothing.
        bare = (
            translated(smiles, lambda text: text.casefold() in NOTHING, bool)
            & (np.isnan(doses.um) | (doses.um == 0))
            & (doses.reason == "")
        )
        label = np.full(len(smiles), "neither SMILES nor dose", object)
        found.add(bare, np.full(len(smiles), UNTREATED, object), bare, label)
    rows.reject(
        found.denied & is_dmso, "smiles", smiles, "holds DMSO, but is_control says that it is none"
    )
    _refuse_named_otherwise(rows, found, smiles, doses, structure)
    drug = (found.kind != "") & ~found.sure & (structure == "") & (doses.um > 0)
    drug[drug] = np.isin(smiles[drug], list(molecules_among(smiles[drug].tolist())))
    if not ((found.kind != "") & (found.positive == "") & ~drug & rows.kept).any():
        drug[:] = False  # no control would be left
    _say_positive(rows, found, drug, notes)
    is_control = (found.kind != "") & (found.positive == "") & ~drug
    return _one_kind(
        rows, found, is_control, wanted, "" if by_column else "no control column, so ", notes
    )


def _ask_is_control(rows: CheckedRows, found: _Evidence, notes: list[str]) -> Bool[np.ndarray, "n"]:
    """Reads the is_control column; returns the rows that it decides."""
    n = len(rows.kept)
    name = rows.found.get("is_control")
    if name is None:
        return np.zeros(n, bool)
    given = rows.text("is_control")
    default = DMSO if "dmso" in normal(name) else CONTROL
    told: dict[str, str | None] = {}
    for text in set(given.tolist()):
        truth, word = truth_of(text), kind_of(text)
        told[text] = (default if truth else TREATED) if truth is not None else word or None
    unclear = [text for text, kind in told.items() if kind is None]
    rows.reject(np.isin(given, unclear), "is_control", given, "neither true nor false")
    kind = translated(given, lambda text: told[text] or TREATED)
    denied = kind == TREATED
    kind[denied] = ""
    if not (kind[rows.kept] != "").any():
        notes.append(f"controls: column {name!r} is true for no well, so other columns are asked")
        return np.zeros(n, bool)
    label = translated(given, lambda text: f"{name!r} is {text!r}")
    positive = kind == POSITIVE
    found.positive[positive] = label[positive]
    certain = normal(name) not in ("control", "iscontrol")  # isnegcon, isdmso
    by_word = lambda text: truth_of(text) is None and is_sure(text)  # noqa: E731
    sure = translated(given, lambda text: certain or by_word(text), bool)
    found.add((kind != "") & ~positive, kind, sure, label)
    found.denied = denied
    return np.ones(n, bool)


def _ask_words(rows: CheckedRows, found: _Evidence, decided: Bool[np.ndarray, "n"]) -> None:
    """Reads the columns of roles and names; where is_control decides they only tell the kind."""
    by_normal = {normal(name): name for name in reversed(rows.raw.table.column_names)}
    columns = [by_normal[plain] for plain in (*ROLES, *COMPOUND_NAMES) if plain in by_normal]
    # Some write DMSO where a structure belongs.
    for name in (*columns, *filter(None, [rows.found.get("smiles")])):
        if name == rows.found.get("is_control"):
            continue
        given = as_text(rows.raw.table.column(name))
        kind, sure = translated(given, kind_of), translated(given, is_sure, bool)
        label = translated(given, lambda text: f"{name!r} is {text!r}")  # noqa: B023
        positive = (kind == POSITIVE) & (found.positive == "")
        found.positive[positive] = label[positive]
        negative = ~np.isin(kind, ["", POSITIVE, TREATED])
        found.add(negative & (~decided | (found.kind != "")), kind, sure, label)


def _refuse_named_otherwise(
    rows: CheckedRows, found: _Evidence, smiles: np.ndarray, doses: Doses, structure: np.ndarray
) -> None:
    """Rejects wells that are called DMSO, empty and the like, and hold a molecule at a dose."""
    odd = (found.kind != "") & (found.kind != CONTROL) & (structure == "") & (doses.um > 0)
    odd[odd] = np.isin(smiles[odd], list(molecules_among(smiles[odd].tolist())))
    rows.reject(
        odd & rows.kept & (found.positive == ""),
        "smiles",
        smiles,
        translated(found.source, lambda text: f"{text}, and the well has a molecule at a dose"),
    )


def _by_value(rows: CheckedRows, wanted: str, notes: list[str]) -> Bool[np.ndarray, "n"]:
    column, _, values = wanted.partition("=")
    names = rows.raw.table.column_names
    by_normal = {normal(name): name for name in reversed(names)}
    name = column if column in names else by_normal.get(normal(column))
    if name is None:
        raise WellsError(f"{rows.path}: controls: no column {column!r}{near(column, names)}")
    given = as_text(rows.raw.table.column(name))
    chosen = [value.strip().casefold() for value in values.split("+")]
    is_control = translated(given, lambda text: text.casefold() in chosen, bool)
    if not (is_control & rows.kept).any():
        some = ", ".join(map(repr, sorted(set(given.tolist()))[:8]))
        raise WellsError(f"{rows.path}: controls: {name!r} is {values!r} nowhere; it holds {some}")
    notes.append(f"controls: {name!r} is {values.replace('+', ' or ')}, as asked for")
    return is_control


def _say_positive(
    rows: CheckedRows, found: _Evidence, drug: Bool[np.ndarray, "n"], notes: list[str]
) -> None:
    for mask, why in (
        ((found.positive != "") & rows.kept, ""),
        (drug & (found.positive == "") & rows.kept, ", but a molecule at a dose"),
    ):
        if mask.any():
            labels = found.positive[mask] if not why else found.source[mask]
            named = _counted(labels)
            notes.append(
                f"{int(mask.sum()):,} wells are positive controls, treated wells like others: "
                f"{named}{why}"
            )


def _one_kind(
    rows: CheckedRows,
    found: _Evidence,
    is_control: Bool[np.ndarray, "n"],
    wanted: str,
    preface: str,
    notes: list[str],
) -> Bool[np.ndarray, "n"]:
    """Leaves out the controls of other kinds than the one that is taken, and says so."""
    kept = is_control & rows.kept
    kind = found.kind.copy()
    counts = _counts(kind[kept])
    if VEHICLE in counts and DMSO in counts:  # a solvent without a name is the one that has one
        kind[kind == VEHICLE] = DMSO
        counts = _counts(kind[kept])
    stated = {name: n for name, n in counts.items() if name != CONTROL}
    asked = [] if wanted == AUTO else [part.strip().casefold() for part in wanted.split(",")]
    if unknown := [name for name in asked if name not in counts]:
        there = ", ".join(f"{name} ({n})" for name, n in counts.items()) or "none at all"
        raise WellsError(
            f"{rows.path}: controls: no well is a control of kind {unknown[0]!r}; found are "
            f"{there}. Give some of these, auto, or COLUMN=VALUE"
        )
    taken = set(asked)
    if not asked:
        total, most = sum(stated.values()), max(stated, key=lambda k: stated[k], default="")
        enough = stated.get(DMSO, 0) >= _SHARE_OF_DMSO * total
        taken = {DMSO if DMSO in stated and enough else most} - {""}
        # Those of no stated kind go with the only kind there is, or with the commonest.
        taken |= {CONTROL} if CONTROL in counts else set()
    other = {name: n for name, n in counts.items() if name not in taken}
    chosen = kept & np.isin(kind, list(taken))
    if chosen.any():
        how = f" ({', '.join(sorted(taken))})" if stated else ""
        notes.append(f"controls: {preface}{_counted(found.source[chosen])}{how}")
    else:
        notes.append("controls: no control column, nor a well with DMSO or without SMILES and dose")
    if other:
        named = ", ".join(f"{n:,} {name}" for name, n in other.items())
        rows.leave_out(is_control & np.isin(kind, list(other)))
        notes.append(
            f"{named} wells are other kinds of negative control and are left out; "
            f"--controls={','.join(sorted(taken | set(other)))} takes all, --controls="
            f"{next(iter(other))} these (data.controls in a run)"
        )
    return is_control


def _counts(kinds: np.ndarray) -> dict[str, int]:
    names, n = np.unique(kinds.astype(str), return_counts=True)
    return dict(sorted(zip(names.tolist(), n.tolist(), strict=True), key=lambda item: -item[1]))


def _counted(labels: Sequence[str] | np.ndarray) -> str:
    """Sources with how many wells each tells of, the commonest first."""
    counts = _counts(np.asarray(labels, object))
    shown = [f"{label} ({n:,} wells)" for label, n in list(counts.items())[:4]]
    return ", ".join(shown) + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")


def say_per_plate(table: pd.DataFrame, group_by: str, notes: list[str]) -> None:
    """Says how many controls of a wells table lie on each plate, and which plates have none."""
    is_control = table["is_control"].to_numpy(bool)
    if not is_control.any():
        notes.append("no control wells")
        return
    column = "group" if group_by == "plate" else "plate"
    plates, code = np.unique(table[column].to_numpy(str), return_inverse=True)
    n = np.bincount(code[is_control], minlength=len(plates))
    some = n[n > 0]
    span = f"{some.min()}" if some.min() == some.max() else f"{some.min()} to {some.max()}"
    sentence = f"{int(n.sum()):,} control wells: {span} on {len(some):,} of {len(plates):,} plates"
    if without := plates[n == 0].tolist():
        sentence += f", none on {short(without, 5)}"
    notes.append(sentence)
