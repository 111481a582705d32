"""Writing the folder of a screen with its two data sets, and reading raw records back."""

import contextlib
import dataclasses
import io
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters, splits

from molphenix_jax import stages as beam
from molphenix_jax.phenomics import Correction, NullProfiles
from molphenix_jax.screens.builders.molecules import Molecules
from molphenix_jax.screens.builders.perturbations import Perturbations, PerturbationSpec, Shard
from molphenix_jax.storage import digest_file, signed, write_csv, write_json, write_npz

# 2: wrong numbers of records in data sets of more than ten shards. 3: no conditions. 4: one centre
# and scale of the correction for all conditions. 5: no null profiles. 6: no wells of replicates.
FORMAT_VERSION = "7"
READ_VERSIONS = ("3", "4", "5", "6", FORMAT_VERSION)
HEADER, WELLS_FILE = "screen.json", "wells.parquet"
SPLIT = "screen"


@dataclasses.dataclass(frozen=True)
class ScreenContent:
    """All that goes into the folder of a screen.

    Attributes:
        name: Short name, from the source file.
        spec: What the perturbation records look like.
        perturbations: Shards of perturbation records.
        molecules: Shards of molecule records.
        blocks: Columns of each molecule feature block.
        bits: Names of the blocks that are fingerprints.
        index: Asked for once the shards are written: offsets, molecule, concentration_um,
            condition, p_value.
        feature_names: Names of the source's features, before correction.
        correction: The fitted batch correction.
        null: Corrected control wells.
        wells: The well of each replicate, in their order (`Archived.wells`).
        rejected: Rows of the source that could not be used.
        notes: What was decided while preparing, one sentence each; asked for as `index` is.
        provenance: What the screen was computed from.
        concentration: Column, unit and how these were told, of the concentrations.
    """

    name: str
    spec: PerturbationSpec
    perturbations: Sequence[Shard]
    molecules: Sequence[Shard]
    blocks: Mapping[str, int]
    bits: frozenset[str]
    index: Callable[[], Mapping[str, np.ndarray]]
    feature_names: Sequence[str]
    correction: Correction
    null: NullProfiles
    wells: pa.Table
    rejected: pd.DataFrame
    notes: Callable[[], Sequence[str]]
    provenance: Mapping[str, Any]
    concentration: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write_screen(
    content: ScreenContent, folder: pathlib.Path, *, beam_options: Sequence[str] = ()
) -> None:
    """Writes a screen into `folder`.

    Args:
        content: What to write.
        folder: Empty, and private: see `storage.new_folder`.
        beam_options: See `build`.
    """
    molecules = Molecules(
        description=f"Molecules of {content.spec.description}",
        widths=content.blocks,
        bits=content.bits,
        shards=content.molecules,
        data_dir=folder,
    )
    build(molecules, beam_options=beam_options)
    perturbations = Perturbations(spec=content.spec, shards=content.perturbations, data_dir=folder)
    build(perturbations, beam_options=beam_options)
    shutil.rmtree(folder / "downloads", ignore_errors=True)  # TFDS makes it, empty
    write_npz(folder / "index.npz", **content.index())
    content.correction.save(folder / "correction.npz")
    content.null.save(folder / "null_profiles.npz")
    pq.write_table(content.wells, folder / WELLS_FILE, compression="zstd")
    write_csv(folder / "rejected.csv", content.rejected)
    header = {
        "format": FORMAT_VERSION,
        "name": content.name,
        "width": content.spec.width,
        "groups": content.spec.groups,
        "conditions": content.spec.conditions.as_json(),
        "has_truth": content.spec.has_truth,
        "blocks": content.blocks,
        "bits": sorted(content.bits),
        "feature_names": list(content.feature_names),
        "concentration": dict(content.concentration),
        "notes": list(content.notes()),
        "provenance": content.provenance,
        "wells_sha256": digest_file(folder / WELLS_FILE),
        "rejected_sha256": digest_file(folder / "rejected.csv"),
    }
    write_json(folder / HEADER, signed(header))


def build(builder: tfds.core.DatasetBuilder, *, beam_options: Sequence[str] = ()) -> None:
    """Writes the data set of a builder; its shards are what Beam hands out.

    Args:
        builder: Its folder must not exist yet.
        beam_options: Pipeline options of Beam; none mean this process, shard by shard.
    """
    config = tfds.download.DownloadConfig()
    if beam_options:
        config.beam_options = beam.pipeline_options(beam_options)
        config.beam_runner = beam.runner(beam_options)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that nothing is downloaded
        builder.download_and_prepare(download_config=config)
    _count_records(builder)


def _count_records(builder: Any) -> None:
    """Puts right how many records each shard has: TFDS (4.9.10) sorts those of Beam as text.

    Shard 10 stands before shard 2 in its list, and a reader looks for records in the wrong files.
    """
    split = builder.info.splits[SPLIT]
    adapter = file_adapters.ADAPTER_FOR_FORMAT[builder.info.file_format]
    counts = [adapter.num_examples(path) for path in split.filepaths]
    if sum(counts) != split.num_examples:
        raise RuntimeError(
            f"{builder.data_dir} has {sum(counts)} records, {split.num_examples} were written"
        )
    builder.info.set_splits(splits.SplitDict([split.replace(shard_lengths=counts)]))
    builder.info.write_to_directory(builder.data_dir)


def record_source(folder: pathlib.Path, name: str) -> Any:
    """The raw records of data set `name` under `folder`: an ArrayRecordDataSource.

    Raises:
        OSError, ValueError: There is no such data set, or its files are damaged.
    """
    versions = sorted((folder / name).glob("*.*.*"))
    if not versions:
        raise FileNotFoundError(f"no data set {name} in {folder}")
    builder: Any = tfds.builder_from_directory(versions[-1])
    return builder.as_data_source(split=SPLIT).data_source
