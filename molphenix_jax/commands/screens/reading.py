"""Options that say how wells tables are read, for every command that reads some."""

from __future__ import annotations

import argparse
import glob
import pathlib


def add_reading(add, *, layouts: str) -> None:
    """Adds them.

    Args:
        add: `add_argument` of a parser.
        layouts: What --layout may be, in words.
    """
    add("--layout", default="wells", help=layouts)
    add("--embeddings", nargs="+", default=[], metavar="FILE", help="embeddings of these wells")
    add("--join", nargs="+", default=[], metavar="FILE", help="tables to put beside the metadata")
    add(
        "--pool",
        default="",
        metavar="HOW",
        help="of --layout=jump_lite: how a well's tiles become one row, median (default) or mean",
    )
    add("--columns", type=named, default={}, metavar="OURS=THEIRS,…", help="names of columns")
    add("--concentration-unit", default="", metavar="UNIT", help="of doses that name none: nM, …")
    add("--group_by", default="auto", choices=("auto", "plate", "batch"))
    add(
        "--conditions",
        default="auto",
        metavar="COLUMN,…",
        help="columns that part wells which are no replicates (default auto: time, cell line)",
    )
    add(
        "--controls",
        default="auto",
        metavar="KIND,…|COLUMN=VALUE+…",
        help="negative controls (default auto: DMSO where there are several kinds)",
    )


def need_columns(columns: dict[str, str]) -> None:
    """Stops at a name that is none of ours.

    Raises:
        WellsError: It names the first.
    """
    from molphenix_jax.tables.columns import ALIASES, WellsError

    if unknown := [name for name in columns if name not in ALIASES]:
        raise WellsError(f"--columns: {unknown[0]!r} is none of {', '.join(ALIASES)}")


def sources_of(arguments: argparse.Namespace, *, more: tuple[str, ...] = ()):
    """The files of a wells table, from the options of `add_reading` and `arguments.files`.

    Args:
        arguments: Of the command line.
        more: Further layouts of the command, for the message.

    Raises:
        WellsError: An unknown layout, a file too few, or sites that cannot be pooled.
    """
    from molphenix_jax import storage
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.tables.columns import WellsError
    from molphenix_jax.wells.inputs.layouts import LAYOUTS, PerSite
    from molphenix_jax.wells.inputs.sites import POOLS, pool_sites
    from molphenix_jax.wells.inputs.sources import Sources

    if arguments.layout not in LAYOUTS:
        raise WellsError(
            f"--layout={arguments.layout}: choose one of {', '.join([*LAYOUTS, *more])}"
        )
    files = [path for pattern in arguments.files for path in _matching(pattern)]
    embeddings = [path for pattern in arguments.embeddings for path in _matching(pattern)]
    if not embeddings and LAYOUTS[arguments.layout].embeddings_last:
        if len(files) < 2:
            raise WellsError(
                f"--layout={arguments.layout} needs {LAYOUTS[arguments.layout].what}: give "
                "metadata files first and the file of embeddings last"
            )
        files, embeddings = files[:-1], files[-1:]
    if not files:
        also = f", or --layout={more[0]}" if more else ""
        raise WellsError(f"give at least one wells table{also}")
    join = [path for pattern in arguments.join for path in _matching(pattern)]
    if isinstance(LAYOUTS[arguments.layout], PerSite):
        pool = arguments.pool or "median"
        if pool not in POOLS:
            raise WellsError(f"--pool={pool}: choose one of {', '.join(POOLS)}")
        files = [pool_sites(files, storage.cache_folder(""), pool=pool, say=say)]
    elif arguments.pool:
        raise WellsError(f"--pool={arguments.pool}: --layout={arguments.layout} has a row per well")
    return Sources(tuple(files), tuple(embeddings), tuple(join), arguments.layout)


def named(text: str) -> dict[str, str]:
    """The entries of `name=value,name=value`."""
    entries = [part.partition("=") for part in text.split(",") if part]
    if bad := [name for name, equals, _ in entries if not equals]:
        raise argparse.ArgumentTypeError(f"{bad[0]!r} is not NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in entries}


def _matching(pattern: str) -> list[pathlib.Path]:
    """The files of a pattern in order; a name that is none is left for the reader to miss."""
    found = sorted(glob.glob(pattern))
    return [pathlib.Path(path) for path in found or [pattern]]
