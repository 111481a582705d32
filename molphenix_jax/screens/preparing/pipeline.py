"""Wells to a screen on disk, in stages whose memory does not grow with the embeddings.

    read      each part of each file        embeddings to raw rows on disk, other columns to memory
    check     this process                  rows one by one, features by passes over the rows
    fit       this process                  the correction, in passes over the control wells
    correct   65,536 treated wells each     raw rows to corrected rows
    write     shards of 32 MiB              p-values, records; molecules by 8,192

Read, correct and write are stages with a work folder between them: in this process, or spread out
by Beam where its pipeline options are given (`stages`).
Held in memory for each well are its row, group, molecule and dose: some tens of bytes.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float, Int

from molphenix_jax.molecules import FINGERPRINTS, column_names, load_embeddings
from molphenix_jax.phenomics import (
    Correction,
    Method,
    NullProfiles,
    draw_controls,
    draw_replicates,
    fit_correction,
    null_statistics,
)
from molphenix_jax.screens.builders import PerturbationSpec, ScreenContent, write_screen
from molphenix_jax.screens.confounders import CONTROL_CELLS, control_cells
from molphenix_jax.screens.preparing.correct import Correct, axes_path, store_statistics
from molphenix_jax.screens.preparing.grouping import Grouping, StandardForms, group_wells
from molphenix_jax.screens.preparing.shards import (
    SHARD_MOLECULES,
    MoleculeShard,
    PerturbationShard,
    embedding_path,
    read_digests,
    read_p_values,
    shard_bounds,
    store_index,
    store_molecules,
    store_null,
)
from molphenix_jax.screens.screen import Screen, ScreenError
from molphenix_jax.screens.ties import describe_ties
from molphenix_jax.storage import scratch_folder
from molphenix_jax.tables.reading.files import open_file
from molphenix_jax.tables.reading.spool import Spool, SpooledRows
from molphenix_jax.wells.conditions.columns import AUTO
from molphenix_jax.wells.ingest import Ingest
from molphenix_jax.wells.inputs.sources import Sources
from molphenix_jax.wells.table import Wells, scan_wells


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """What turns wells into a screen.

    Attributes:
        columns: Our column name → the file's.
        features: Regular expression over feature columns; empty chooses by rule (see `read_wells`).
        correction: Batch correction: none, centerscale, pca_cs or tvn.
        group_by: What the correction works within: plate, batch or auto.
        clip: Corrected features are limited to ± this many control standard deviations.
        n_null: Random groups behind each replicate-consistency p-value.
        blocks: Molecule features by name: morgan, maccs, rdkit, physchem.
        embeddings: Further blocks: name → file of precomputed embeddings.
        seed: Of the p-values' null.
        concentration_unit: Of doses whose cell names none; empty asks the column (see `doses`).
        conditions: Columns that tell conditions, by commas; auto or none (see `scan_wells`).
        controls: Which wells are negative controls (see `scan_wells`).
    """

    columns: Mapping[str, str]
    features: str
    correction: Method
    group_by: str
    clip: float
    n_null: int
    blocks: tuple[str, ...]
    embeddings: Mapping[str, str]
    seed: int
    concentration_unit: str = ""
    conditions: str = AUTO
    controls: str = AUTO


def prepare_screen(
    sources: Sources,
    config: PrepareConfig,
    folder: pathlib.Path,
    *,
    name: str,
    provenance: Mapping[str, Any],
    truth_path: pathlib.Path | None = None,
    reference: Screen | None = None,
    beam_options: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Prepares a screen into `folder`.

    Args:
        sources: The wells.
        config: Parameters.
        folder: Empty, and private: see `storage.make_folder_once`.
        name: Of the screen.
        provenance: What it is computed from, to be stored beside it.
        truth_path: The same wells without noise.
        reference: Correction and features of the screen that this one has to match.
        beam_options: Pipeline options of Beam; none mean this process.
        say: Is told, sentence by sentence, what is being done.

    Raises:
        WellsError: The source has no usable row.
        ScreenError: A file of molecule embeddings does not fit.
    """
    with scratch_folder(folder) as work:
        forms = StandardForms()
        say(f"reading {sources}")
        wells = scan(sources, config, work, forms, reference, beam_options=beam_options)
        n, d = wells.embedding.shape
        say(f"correcting {n:,} wells × {d:,} features within {wells.group_by}")
        correction = _fit(wells, config, work, reference)
        null = _null(wells, correction, config)
        treated = _correct(wells, correction, work, truth_path, beam_options)
        grouped, bounds, draw_notes = _group(wells, treated, forms, config, work)
        molecules = grouped.molecules
        n_pairs = bounds[-1][1]
        say(f"p-values of {n_pairs:,} perturbations of {len(molecules):,} molecules")
        for block, rows in stored_embeddings(config, molecules):
            np.save(embedding_path(work, block), rows)
        widths = {block: len(column_names(block)) for block in config.blocks}
        for block in config.embeddings:
            widths[block] = np.load(embedding_path(work, block), mmap_mode="r").shape[1]
        say(f"featurising {len(molecules):,} molecules: {', '.join(config.blocks)}")
        notes = (*wells.notes, *forms.notes, *correction.notes, *draw_notes)
        content = ScreenContent(
            name=name,
            spec=PerturbationSpec(
                # By their names: where they lie makes no other screen.
                description=f"screen {name}, from {', '.join(f.name for f in sources.files)}",
                width=d,
                groups=treated.groups,
                conditions=grouped.conditions,
                has_truth=treated.truth is not None,
            ),
            perturbations=[
                PerturbationShard(work, first, last, treated.corrected, treated.truth)
                for first, last in bounds
            ],
            molecules=[
                MoleculeShard(
                    work,
                    first,
                    min(first + SHARD_MOLECULES, len(molecules)),
                    config.blocks,
                    tuple(config.embeddings),
                )
                for first in range(0, len(molecules), SHARD_MOLECULES)
            ],
            blocks=widths,
            bits=frozenset(name for name in config.blocks if FINGERPRINTS[name].bits),
            index=lambda: {
                "offsets": np.load(work / "offsets.npy"),
                "molecule": np.load(work / "molecule.npy"),
                "concentration_um": np.load(work / "concentration.npy"),
                "condition": np.load(work / "condition.npy"),
                "p_value": read_p_values(work, bounds),
            },
            feature_names=wells.feature_names,
            concentration=wells.concentration,
            correction=correction,
            null=null,
            wells=_wells_of(wells, treated.wells[grouped.order]),
            rejected=wells.rejected,
            notes=lambda: (
                *notes,
                *describe_ties(read_digests(work, len(molecules)), tuple(widths)),
            ),
            provenance=provenance,
        )
        del wells
        write_screen(content, folder, beam_options=beam_options)


@dataclasses.dataclass(frozen=True)
class _Treated:
    """Treated wells, in the order of the file.

    Attributes:
        wells: row of each in the wells table.
        row: its number in `corrected`.
        group: number of its correction group.
        groups: their names.
        corrected: corrected embeddings.
        truth: corrected embeddings without noise, if known.
    """

    wells: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]
    groups: tuple[str, ...]
    corrected: Spool
    truth: Spool | None


def scan(
    sources: Sources,
    config: PrepareConfig,
    work: pathlib.Path,
    forms: StandardForms,
    reference: Screen | None,
    *,
    beam_options: Sequence[str] = (),
) -> Wells:
    """The checked wells of a screen, their embeddings in the folder `work`; see `scan_wells`."""
    return scan_wells(
        sources,
        work,
        columns=config.columns,
        features=config.features,
        check_smiles=forms.check,
        group_by=config.group_by,
        concentration_unit=config.concentration_unit,
        conditions=config.conditions,
        controls=config.controls,
        feature_names=reference.feature_names if reference else (),
        beam_options=beam_options,
    )


def stored_embeddings(
    config: PrepareConfig, molecules: pd.DataFrame
) -> Iterator[tuple[str, Float[np.ndarray, "m k"]]]:
    """The blocks that come from files, for the molecules of a screen.

    Raises:
        ScreenError: A file does not fit.
    """
    for block, file in config.embeddings.items():
        try:
            rows = load_embeddings(file, molecules)
        except (OSError, ValueError) as error:
            raise ScreenError(f"molecules.embeddings, block {block}: {error}") from error
        yield block, rows


def _fit(
    wells: Wells, config: PrepareConfig, work: pathlib.Path, reference: Screen | None
) -> Correction:
    group = pd.Categorical(wells.table["group"])
    is_control = wells.table["is_control"].to_numpy(bool)
    pool = wells.table["condition"].to_numpy(np.int64)
    if reference:
        return reference.archive.correction.extend(
            wells.embedding, group, is_control, pool=pool, axes_path=axes_path(work)
        )
    return fit_correction(
        wells.embedding,
        group,
        is_control,
        method=config.correction,
        clip=config.clip,
        pool=pool,
        axes_path=axes_path(work),
    )


def _null(wells: Wells, correction: Correction, config: PrepareConfig) -> NullProfiles:
    rows = draw_controls(wells.table["is_control"].to_numpy(bool), seed=config.seed)
    if not len(rows):
        return NullProfiles.none(wells.embedding.shape[1])
    table = wells.table.iloc[rows]
    group = table["group"].to_numpy(str)
    corrected = correction.apply(wells.embedding[rows], group)
    return NullProfiles(corrected, group, table["condition"].to_numpy(np.int64))


def _correct(
    wells: Wells,
    correction: Correction,
    work: pathlib.Path,
    truth_path: pathlib.Path | None,
    beam_options: Sequence[str],
) -> _Treated:
    assert isinstance(wells.embedding, SpooledRows)
    columns = wells.embedding.columns
    assert columns is not None, "scan_wells names the columns in use"
    group = pd.Categorical(wells.table["group"])
    groups, code = tuple(group.categories.tolist()), np.asarray(group.codes)
    treated = np.flatnonzero(~wells.table["is_control"].to_numpy(bool))
    spooled = wells.embedding.rows[treated]
    order = np.argsort(spooled, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    offset, truth = None, None
    if truth_path is not None:
        ingest = Ingest(work, "truth", (open_file(truth_path),), (), wells.plan)
        truth = ingest.run(beam_options).spool
        if truth.shape[0] != wells.embedding.spool.shape[0]:
            raise ScreenError(f"{truth_path} has other rows than the wells it belongs to")
        offset = _group_offsets(wells, code, len(groups))
    store_statistics(work, correction, spooled[order], code[treated][order], offset)
    correct = Correct(work, "corrected", wells.embedding.spool, columns, groups, shifted=False)
    corrected = correct.run(len(treated), beam_options)
    if truth is not None:
        correct = Correct(work, "expected", truth, columns, groups, shifted=True)
        truth = correct.run(len(treated), beam_options)
    return _Treated(treated, rank, code[treated], groups, corrected, truth)


def _group_offsets(
    wells: Wells, group: Int[np.ndarray, " n"], n_groups: int
) -> Float[np.ndarray, "g d"]:
    """How far the controls of each group lie from those of its batches, [g, d].

    The truth holds no plate effects, so a correction within plates would put them in with the sign
    turned round; this is what it takes out.
    """
    controls = wells.table["is_control"].to_numpy(bool)
    batch = np.asarray(pd.Categorical(wells.table["batch"]).codes)
    mean = lambda rows: wells.embedding[np.flatnonzero(rows)].mean(axis=0)  # noqa: E731
    of_batches: dict[tuple[int, ...], np.ndarray] = {}
    offset = np.zeros((n_groups, wells.embedding.shape[1]), np.float32)
    for i in np.unique(group):
        members = group == i
        batches = tuple(np.unique(batch[members]).tolist())
        if batches not in of_batches:
            of_batches[batches] = mean(controls & np.isin(batch, batches))
        offset[i] = mean(controls & members) - of_batches[batches]
    return offset


def _group(
    wells: Wells,
    treated: _Treated,
    forms: StandardForms,
    config: PrepareConfig,
    work: pathlib.Path,
) -> tuple[Grouping, list[tuple[int, int]], list[str]]:
    """Sorts treated wells into perturbations and draws the null, in the work folder.

    Returns:
        The perturbations, bounds of the shards, and what was limited.
    """
    grouped = group_wells(wells.table.iloc[treated.wells], wells.conditions, forms.table)
    store_molecules(work, grouped.molecules)
    order, offsets, condition = grouped.order, grouped.offsets, grouped.condition
    row = treated.row[order]
    perturbation = np.repeat(np.arange(len(condition)), np.diff(offsets))
    draw = draw_replicates(
        perturbation, n_null=config.n_null, seed=config.seed, condition=condition
    )
    store_null(work, null_statistics(SpooledRows(treated.corrected, row), draw))
    arrays = {
        "offsets": offsets,
        "molecule": grouped.molecule,
        "concentration": grouped.concentration_um.astype(np.float32),
        "condition": condition.astype(np.int32),
        "row": row,
        "group": treated.group[order],
    }
    store_index(work, arrays, draw)
    notes = list(draw.notes)
    if undefined := int((draw.used < 2).sum()):
        notes.append(
            f"{undefined:,} of {len(condition):,} perturbations have a single replicate: their "
            "p-value is undefined"
        )
    bounds = shard_bounds(offsets, wells.embedding.shape[1])
    return grouped, bounds, notes


def _wells_of(wells: Wells, rows: Int[np.ndarray, " n"]) -> pa.Table:
    """The wells of some rows, as `Archived.wells` of a screen."""
    table = wells.table[["row", "plate", "well", "batch", "group", "smiles"]].iloc[rows]
    ours = pa.Table.from_pandas(table, preserve_index=False)
    beside = wells.beside.take(pa.array(rows))
    for name in beside.column_names:
        ours = ours.append_column(name, beside.column(name))
    control = control_cells(wells, rows)
    if control is not None and CONTROL_CELLS not in ours.column_names:
        ours = ours.append_column(CONTROL_CELLS, pa.array(control))
    return ours.replace_schema_metadata()
