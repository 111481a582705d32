"""A screen that is in memory, written as `prepare` would."""

import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from molphenix_jax.screens.builders import (
    PerturbationSpec,
    Record,
    ScreenContent,
    molecule_records,
    write_screen,
)
from molphenix_jax.screens.screen import FeatureBlock, PackedBlock, Screen
from molphenix_jax.storage import new_folder


def save_screen(screen: Screen, folder: pathlib.Path, *, rejected: pd.DataFrame) -> None:
    """Writes a screen that is in memory, complete or not at all."""
    blocks = {name: _unpacked(block) for name, block in screen.blocks.items()}
    bits = frozenset(name for name, block in blocks.items() if block.dtype == np.uint8)
    wells = screen.archive.wells
    groups, code = np.unique(wells["group"].to_numpy(str), return_inverse=True)
    index = {
        "offsets": screen.offsets,
        "molecule": screen.molecule,
        "concentration_um": screen.concentration_um,
        "condition": screen.condition,
        "p_value": screen.p_value,
    }
    content = ScreenContent(
        name=screen.name,
        spec=PerturbationSpec(
            description=f"screen {screen.name}",
            width=screen.width,
            groups=tuple(groups.tolist()),
            conditions=screen.conditions,
            has_truth=screen.truth is not None,
        ),
        perturbations=[functools.partial(_perturbation_records, screen, code)],
        molecules=[functools.partial(molecule_records, screen.molecules, blocks, first=0)],
        blocks={name: block.shape[1] for name, block in blocks.items()},
        bits=bits,
        index=lambda: index,
        feature_names=screen.feature_names,
        correction=screen.archive.correction,
        null=screen.archive.null,
        wells=pa.Table.from_pandas(wells, preserve_index=False).replace_schema_metadata(),
        rejected=rejected,
        notes=lambda: screen.notes,
        provenance=screen.provenance,
        concentration=screen.concentration,
    )
    with new_folder(folder) as private:
        write_screen(content, private)


def _unpacked(block: FeatureBlock) -> np.ndarray:
    return block.unpack() if isinstance(block, PackedBlock) else block


def _perturbation_records(screen: Screen, code: np.ndarray) -> Iterator[Record]:
    table = screen.molecules
    for i in range(screen.n_perturbations):
        rows = slice(*screen.offsets[i : i + 2])
        molecule = table.iloc[screen.molecule[i]]
        record = {
            "replicates": screen.replicates[rows],
            "replicate_group": code[rows],
            "molecule": screen.molecule[i],
            "smiles": molecule["smiles"],
            "inchikey": molecule["inchikey"],
            "concentration_um": screen.concentration_um[i],
            "condition": screen.condition[i],
            "p_value": screen.p_value[i],
        }
        if screen.truth is not None:
            record["truth"] = screen.truth[i]
        yield i, record
