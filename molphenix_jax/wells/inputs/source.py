"""The wells of one screen, from one file or many: metadata in memory, embeddings on disk.

Tables of the same columns are put below each other. Embeddings in a file of their own, and further
tables (compounds by broad_sample, wells by plate and position), are put beside them by the columns
that both have.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from molphenix_jax.tables.columns import (
    COMPOUND_NAMES,
    FAILED,
    MARKED,
    PASSED,
    ROLES,
    WellsError,
    as_text,
    find_columns,
    is_number,
    is_text,
    near,
    normal,
    short,
)
from molphenix_jax.tables.matching import (
    KeyPairs,
    average_repeats,
    columns_at,
    filled_from,
    first_match,
    join_columns,
    key_columns,
    meaning_of,
    numbered_wells,
    recurring,
    refuse_contradictions,
    unmatched,
)
from molphenix_jax.tables.names import (
    numbers_frames,
    numbers_parts,
    parts_profiles,
    refuse_shortened,
    row_and_column,
    with_well,
    with_well_names,
)
from molphenix_jax.tables.reading.files import (
    TableFile,
    describe_dialects,
    describe_styles,
    open_file,
)
from molphenix_jax.tables.reading.spool import Spool
from molphenix_jax.wells.conditions.columns import AUTO, condition_columns, may_tell
from molphenix_jax.wells.description import described
from molphenix_jax.wells.features.choice import FeatureColumns, find_features, why_no_feature
from molphenix_jax.wells.features.plan import FeaturePlan, plan_features
from molphenix_jax.wells.ingest import Ingest, stacked
from molphenix_jax.wells.inputs.layouts import LAYOUTS, Layout
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.names import name_column

FEATURE = "feature"  # the role of a column that profiles are made of


@dataclasses.dataclass(frozen=True)
class Unjoined:
    """Rows for which a joined table has none; k of n.

    Attributes:
        rows: their numbers, [k].
        column: of the table, by which they were looked up.
        value: what they have there, [k].
        reason: what is not there, [k].
        brought: columns that the joined table gives the others.
    """

    rows: Int[np.ndarray, " k"]
    column: str
    value: np.ndarray
    reason: np.ndarray
    brought: frozenset[str]


@dataclasses.dataclass(frozen=True)
class RawWells:
    """A screen as found: nothing checked yet. n rows.

    Attributes:
        path: what was asked for.
        table: the columns that tell what was done to a well, [n].
        beside: what else the tables say of a well, which nothing is decided by, [n].
        spool: all embeddings.
        row: row of `spool` of each well; 0 where there is none, [n].
        without_embedding: what the embeddings lack for each well; "" where they have it, [n].
        fits: wells whose list of numbers is as long as the others, [n].
        plan: what the features are; `names` in the order of the spool's columns.
        rule: how they were found, in words.
        found: our name → the table's column.
        given: the same of those that the user or the layout names, and no rule.
        conditions: our names of the columns that may tell conditions.
        roles: what each column of all files is taken for, in words.
        files: the wells tables.
        file_start: first row of each, and the end.
        layout: see `LAYOUTS`.
        unjoined: rows that a joined table lacks, join by join.
        parts: columns that number the cells or images of a well.
        named: wells need no molecule (see `names`).
        decimal_commas: some column writes its numbers so.
        notes: what was joined, averaged or left out.
    """

    path: str
    table: pa.Table
    beside: pa.Table
    spool: Spool
    row: Int[np.ndarray, " n"]
    without_embedding: np.ndarray
    fits: Bool[np.ndarray, " n"]
    plan: FeaturePlan
    rule: str
    found: Mapping[str, str]
    given: Mapping[str, str]
    conditions: tuple[str, ...]
    roles: Mapping[str, str]
    files: tuple[str, ...]
    file_start: tuple[int, ...]
    layout: Layout
    unjoined: tuple[Unjoined, ...]
    parts: tuple[str, ...]
    named: bool
    decimal_commas: bool
    notes: tuple[str, ...]


def open_wells(
    sources: Sources,
    work: pathlib.Path,
    *,
    columns: Mapping[str, str],
    features: str,
    feature_names: Sequence[str],
    conditions: str = AUTO,
    named_by: str = "",
    beam_options: Sequence[str] = (),
) -> RawWells:
    """Reads a screen: metadata into memory, embeddings into part files in `work`.

    Args:
        sources: the files.
        work: folder that all workers see.
        columns: our column name → the file's.
        features: regular expression for feature columns; "" finds them.
        feature_names: exactly these features, for a screen that has to match another one.
        conditions: see `conditions.condition_columns`.
        named_by: see `scan_wells`.
        beam_options: of the stage that reads.

    Raises:
        WellsError: a file cannot be read, or there is no SMILES or feature column.
    """
    path, layout = str(sources), LAYOUTS[sources.layout]
    wanted = (*columns.values(), *layout.columns.values())
    tables = [open_file(file, wanted=wanted) for file in sources.tables]
    joins = [open_file(file, wanted=wanted) for file in sources.join]
    holders = [open_file(file, wanted=wanted) for file in sources.embeddings] or tables
    files = [*tables, *joins, *(holders if holders is not tables else ())]
    notes = [*describe_dialects(files), *describe_styles(files)]
    schema = _common(tables, notes)
    holder_schema = _common(holders, notes) if sources.embeddings else schema
    pairs: KeyPairs = []
    if sources.embeddings:
        what = (path, sources.tables[0].name, sources.embeddings[0].name)
        pairs = key_columns(what, schema.names, holder_schema.names)
    keys = {right for _, right in pairs}
    own = [
        n
        for n in holder_schema.names
        if n not in keys and (holders is tables or n not in schema.names)
    ]
    if any(file.kind == "h5ad" for file in holders):  # which says itself what is a feature
        profile = {name for file in holders for name in file.profile}
        own = [n for n in own if n in profile or not is_number(holder_schema.field(n).type)]

    names, joined_by = (
        layout.with_derived(with_well(list(dict.fromkeys([*schema.names, *own])))),
        [],
    )
    for join in joins:
        theirs = with_well(join.schema.names)
        by = join_columns((path, "the wells", join.path.name), names, theirs)
        joined_by.append(by)
        taken = {right for _, right in by}
        names = list(dict.fromkeys([*names, *(n for n in theirs if n not in taken)]))
    given = layout.named(names, columns)
    found, column_notes = find_columns(path, names, given)
    notes += column_notes
    told_by = condition_columns(path, names, found, conditions)
    if named_by:
        named, more = name_column(path, names, found, named_by)
        found |= {"name": named} if named else {}
        notes += more
    elif "smiles" not in found:
        raise WellsError(
            f"{path}: no SMILES column{near('smiles', names)}; "
            "name it with columns={'smiles': ...}"
        )
    in_all = [n for n in own if all(n in file.schema.names for file in holders)]
    candidates = pa.schema([holder_schema.field(name) for name in in_all])
    profile = find_features(
        path,
        candidates,
        found,
        features,
        feature_names,
        head=holders[0].head,
        codes=[name for name in holders[0].codes if name in in_all],
        unclear=[n for n, style in holders[0].styles.items() if style == "?" and n in in_all],
        files=len(holders),
    )
    notes += profile.notes
    chosen = list(profile.columns)
    _need_in_all(holders, chosen)
    known = {*own, *found.values(), *(left for left, _ in pairs)}
    beside = _numbers_beside([schema, *(join.schema for join in joins)], known)
    notes += beside.notes
    plan = plan_features(path, holders[0].head(chosen), chosen, feature_names)

    of_tables = [[*schema.names, *own], *(join.schema.names for join in joins)]
    kept = {*found.values(), *filter(is_text, names), *(left for left, _ in pairs)}
    kept |= {left for by in joined_by for left, _ in by}
    kept |= {n for of in of_tables for n in row_and_column(of) or ()}
    for asked in (may_tell, parts_profiles, numbers_frames):  # to say so
        kept |= set(filter(asked, names))
    kept = (kept | recurring(of_tables)) - set(chosen)
    more = described([*tables, *joins, *holders], {*kept, *chosen, *keys})
    held = [name for name in holder_schema.names if name in kept | keys | more]
    ingested = Ingest(work, "wells", tuple(holders), tuple(held), plan).run(beam_options)
    notes += ingested.notes
    if holders is tables:
        table, row = ingested.table, np.arange(ingested.table.num_rows)
        missing, file_rows = np.full(len(row), "", object), ingested.file_rows
    else:
        read = [name for name in schema.names if name in kept | more]
        parts = [file.read(file.having(read)) for file in tables]
        table, file_rows = stacked(parts, read), tuple(part.num_rows for part in parts)
        for of, side in ((table, 0), (ingested.table, 1)):
            refuse_shortened(path, of, [pair[side] for pair in pairs])
        at, first = first_match(table, ingested.table, pairs, layout.key)
        notes += _match_notes(sources, pairs, at, first)
        row = np.where(at < 0, 0, average_repeats(ingested.spool, first, work)[at])
        missing = np.full(len(at), "", object)
        lost = np.flatnonzero(at < 0)
        texts = _key_texts(table.select([left for left, _ in pairs]).take(lost), pairs)
        missing[lost] = [f"no embedding for this key: {text or 'it is empty'}" for text in texts]
        extra = [name for name in held if name in own]
        for name, values in zip(extra, columns_at(ingested.table, extra, at).columns, strict=True):
            table = table.append_column(name, values)
        ingested = dataclasses.replace(ingested, fits=ingested.fits[at] | (at < 0))
    table = with_well_names(layout.derived(table))
    unjoined = []
    for file, by in zip(joins, joined_by, strict=True):
        table, lost = _beside(table, file, by, kept, more, notes)
        unjoined += lost
    return RawWells(
        path=path,
        table=table.drop_columns([n for n in table.column_names if n in more]),
        beside=table.select([n for n in table.column_names if n in more]),
        spool=ingested.spool,
        row=row,
        without_embedding=missing,
        fits=ingested.fits,
        plan=plan,
        rule=profile.rule,
        found=found,
        given=given,
        conditions=told_by,
        roles=_roles(names, found, chosen, {**profile.left_out, **beside.left_out}, keys),
        files=tuple(str(file) for file in sources.tables),
        file_start=tuple(np.cumsum([0, *file_rows]).tolist()),
        layout=layout,
        unjoined=tuple(unjoined),
        parts=tuple(name for name in names if numbers_parts(name)),
        named=bool(named_by),
        decimal_commas=any("," in file.styles.values() for file in files),
        notes=tuple(notes),
    )


def _common(files: Sequence[TableFile], notes: list[str]) -> pa.Schema:
    """The columns that all files have; feature columns of some only are told and left out.

    A column that names a well or treatment may be missing in some: it is null there.
    """
    names = [set(file.schema.names) for file in files]
    common = set.intersection(*names)
    fields = {field.name: field for file in files for field in file.schema}
    kept = [field for name, field in fields.items() if name in common or is_text(name)]
    if dropped := [name for name in fields if name not in {field.name for field in kept}]:
        notes.append(
            f"{len(dropped)} columns are not in all {len(files)} files: {short(dropped, 5)}"
        )
    return pa.schema(kept)


def _need_in_all(files: Sequence[TableFile], columns: Sequence[str]) -> None:
    """Raises where some files lack the profiles of the others."""
    for name in columns:
        lacking = [str(file.path) for file in files if name not in file.schema.names]
        if lacking:
            having = next(str(file.path) for file in files if name in file.schema.names)
            raise WellsError(
                f"{short(lacking, 3)} has no column {name!r}, the profiles of {having}: "
                "the files of a screen have the same features; two screens are prepared one by "
                "one, or trained on as wells=NAME=FILE+NAME=FILE"
            )


def _numbers_beside(schemas: Sequence[pa.Schema], known: Collection[str]) -> FeatureColumns:
    """What numeric columns are no features since they stand in tables without profiles."""
    left: dict[str, list[str]] = {}
    for field in (field for schema in schemas for field in schema):
        if is_number(field.type) and field.name not in known:
            why = why_no_feature(field.name) or "their table holds no profiles"
            left.setdefault(why, []).append(field.name)
    return FeatureColumns((), "", left)


def _roles(
    names: Sequence[str],
    found: Mapping[str, str],
    features: Sequence[str],
    left_out: Mapping[str, Sequence[str]],
    keys: Collection[str],
) -> dict[str, str]:
    """What each column is taken for, in words."""
    roles = dict.fromkeys(names, "not used")
    roles |= {name: f"no feature, for {why}" for why, group in left_out.items() for name in group}
    for name in names:
        plain = normal(name)
        if plain in ROLES or plain in COMPOUND_NAMES:
            roles[name] = "asked which wells are controls"
        elif plain in PASSED | FAILED | MARKED:
            roles[name] = "asked which wells are not to be used"
    roles |= dict.fromkeys(keys & roles.keys(), "key of a join")
    roles |= {theirs: ours for ours, theirs in found.items()}
    return roles | dict.fromkeys(features, FEATURE)


def _match_notes(sources: Sources, pairs: KeyPairs, at: np.ndarray, first: np.ndarray) -> list[str]:
    embeddings = ", ".join(file.name for file in sources.embeddings)
    tables = ", ".join(file.name for file in sources.tables)
    notes = [f"joined {tables} and {embeddings} on {', '.join(left for left, _ in pairs)}"]
    if repeated := int((first != np.arange(len(first))).sum()):
        notes.append(f"{repeated} repeated keys in {embeddings} were averaged")
    if unused := unmatched(first, at):
        notes.append(f"{unused} embeddings in {embeddings} have no metadata and are left out")
    return notes


def _beside(
    table: pa.Table,
    file: TableFile,
    pairs: KeyPairs,
    kept: Collection[str],
    beside: Collection[str],
    notes: list[str],
) -> tuple[pa.Table, list[Unjoined]]:
    """The table with the columns of another one put beside it, and the rows that has none for."""
    names, keys = file.schema.names, [right for _, right in pairs]
    new = [n for n in names if n not in keys and n not in table.column_names]
    more = [n for n in new if n in kept]
    placed = row_and_column(names) or ()
    again = [n for n in names if n in table.column_names and n not in keys and is_text(n)]
    told = [n for n in names if n in {*keys, *more, *placed, *again} or (n in new and n in beside)]
    other = with_well_names(file.read(told))
    refuse_shortened(str(file.path), other, keys)
    at, first = first_match(table, other, pairs)
    refuse_contradictions(str(file.path), other, pairs, first, more)
    lost = np.flatnonzero(at < 0)
    note = (
        f"joined {file.path.name} on {', '.join(left for left, _ in pairs)}: "
        f"{len(at) - len(lost):,} of {len(at):,} rows found"
    )
    unjoined = []
    if len(lost):
        value = _key_texts(table.select([left for left, _ in pairs]).take(lost), pairs)
        reason = [
            f"no row in {file.path.name} for {text}" if text else f"no key for {file.path.name}"
            for text in value
        ]
        unjoined = [
            Unjoined(
                rows=lost,
                column=pairs[-1][0],
                value=np.array(value, object),
                reason=np.array(reason, object),
                brought=frozenset(more),
            )
        ]
        named = list(dict.fromkeys(filter(None, value)))
        if named and len(lost) == len(at):
            other_keys = short(_key_texts(other.select(keys).slice(0, 3), pairs), 3)
            hint = numbered_wells(table, other, pairs)
            raise WellsError(
                f"{file.path} has none of the wells: they have {short(named, 3)}, it has "
                f"{other_keys}; write both alike, or leave it out{hint}"
            )
        note += f"; it lacks {short(named, 3)}" if named else "; the others have no key"
        unused = np.setdiff1d(first, at)
        if len(unused):
            others = other.select(keys).take(unused[:3])
            examples = short(_key_texts(others, pairs), 3)
            note += f", and has {len(unused):,} that the wells lack: {examples}"
    notes.append(note)
    more += [n for n in new if n in beside]
    for name, values in zip(more, columns_at(other, more, at).columns, strict=True):
        table = table.append_column(name, values)
    for name, theirs in zip(again, columns_at(other, again, at).columns, strict=True):
        values, told_again = filled_from(file.path.name, name, table.column(name), theirs)
        table = table.set_column(table.column_names.index(name), name, values)
        notes.append(told_again)
    return table, unjoined


def _key_texts(table: pa.Table, pairs: KeyPairs) -> list[str]:
    """Keys in words: "plate P1, well B01"; "" where one is missing."""
    columns = [as_text(column).tolist() for column in table.columns]
    labels = [meaning_of(left) for left, _ in pairs]
    plain = ("plate", "well", "batch")
    labels = [m if m in plain else left for m, (left, _) in zip(labels, pairs, strict=True)]
    return [
        ", ".join(f"{label} {v}" for label, v in zip(labels, row, strict=True)) if all(row) else ""
        for row in zip(*columns, strict=True)
    ]
