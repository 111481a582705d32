"""A run on data of stated size that is not there: shapes are all that a compiler asks for."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from molphenix_jax import storage, tasks
from molphenix_jax.bench.made.random_run import random_run
from molphenix_jax.errors import InputError
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.run import Run
from molphenix_jax.tasks.align.training.tables import Tables

# A random screen that scalings and principal components can be fitted on, in seconds.
_PAIRS = 1024


@dataclasses.dataclass(frozen=True)
class ScreenSize:
    """Size of a screen; the defaults are the paper's (docs/method.md, section 5).

    Attributes:
        wells: Treated wells.
        pairs: Of a molecule and a concentration.
        molecules: Different ones.
        width: Numbers of a profile.
    """

    wells: int = 2_150_000
    pairs: int = 1_316_283
    molecules: int = 438_761
    width: int = 1024


@dataclasses.dataclass(frozen=True)
class Described:
    """What one update of a training computes with, as shapes.

    Attributes:
        run: Gives the loss; its own data are few.
        batch: A global batch, shapes without placement.
        tables: Shapes and placement.
        rows: Of the batch.
        about: A sentence on where the sizes are from.
    """

    run: Run
    batch: Any
    tables: Any
    rows: int
    about: str


def describe_run(config: Config, mesh: Mesh, size: ScreenSize) -> Described:
    """The run of a config on devices that are described alone.

    An alignment without `data.wells` has a screen of the given size and the paper's three blocks of
    bits; any other config is set up with its own data, whose sizes count.

    Args:
        config: A resolved config, valid.
        mesh: Devices, of `pod_mesh`.
        size: Of the screen that is not there.

    Raises:
        InputError: The batch cannot be spread over the devices, or data that cannot be used.
    """
    n, rows = mesh.devices.size, config.train.batch_size
    if rows % n:
        raise InputError(
            f"train.batch_size={rows:,} cannot be spread over {n:,} chips: give a multiple of {n:,}"
        )
    small = config.copy_and_resolve_references()
    small.train.batch_size = max(n, 2)
    if config.task == "align" and not config.data.wells:
        run, tables, about = _random(small, mesh, size)
    else:
        if "=" in config.get("data", {}).get("wells", ""):
            raise InputError(
                "data.wells names several screens: give one of them alone, whose step is compiled"
            )
        with storage.temporary_folder() as work:
            run = tasks.make(small, mesh, pathlib.Path(work)).run(0, pathlib.Path(work))
        tables, about = run.table_shapes(mesh), "data as they are"
    batch = run.batch(0)
    has = max(np.shape(leaf)[0] for leaf in jax.tree.leaves(batch))
    of_run = run.batch_rows or has

    def grown(leaf: Any) -> jax.ShapeDtypeStruct:
        length = np.shape(leaf)[0]
        return jax.ShapeDtypeStruct((length * rows // of_run, *np.shape(leaf)[1:]), leaf.dtype)

    return Described(run, jax.tree.map(grown, batch), tables, rows, about)


def _random(config: Config, mesh: Mesh, size: ScreenSize) -> tuple[Run, Any, str]:
    if config.molecules.encoder != "none":
        raise InputError(
            f"molecules.encoder={config.molecules.encoder} needs real molecules: name a wells file "
            "or prepared screen by data.wells"
        )
    n = max(_PAIRS, 4 * mesh.devices.size)
    run = random_run(config, mesh, perturbations=n, width=size.width)
    tables = run.table_shapes(mesh)
    if isinstance(tables, Tables):
        tables = _resized(tables, size, mesh)
    about = (
        f"a screen of {size.wells:,} wells × {size.width:,}, {size.pairs:,} pairs of "
        f"{size.molecules:,} molecules"
    )
    return run, tables, about


def _resized(tables: Tables, size: ScreenSize, mesh: Mesh) -> Tables:
    def of(leaf: Any, n_rows: int) -> Any:
        n_rows = meshes.padded(n_rows, mesh) if leaf.ndim > 1 else n_rows
        return jax.ShapeDtypeStruct((n_rows, *leaf.shape[1:]), leaf.dtype, sharding=leaf.sharding)

    return Tables(
        replicates=of(tables.replicates, size.wells),
        profile=None if tables.profile is None else of(tables.profile, size.pairs),
        blocks={name: of(block, size.molecules) for name, block in tables.blocks.items()},
        molecule=of(tables.molecule, size.pairs),
        concentration_um=of(tables.concentration_um, size.pairs),
        condition=of(tables.condition, size.pairs),
    )
