"""`molphenix prepare`: wells to a screen on disk, of any size, on one machine or many."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

from molphenix_jax.commands.arguments import need_other_output, positive
from molphenix_jax.commands.screens.reading import add_reading, named, need_columns, sources_of

SIMULATED = "simulated"
_EPILOG = """
molphenix prepare wells.parquet --dry-run
molphenix prepare wells.parquet --out=screens/mine
molphenix prepare 'profiles/*.csv.gz' --layout=pycytominer --join=compounds.csv --out=screens/lincs
molphenix prepare metadata_rxrx3_core.csv OpenPhenom_rxrx3_core_embeddings.parquet \\
    --layout=rxrx3_core --out=screens/rxrx3_core
molphenix prepare --layout=simulated --set=n_molecules=200 --out=screens/simulated

The folder takes the place of a wells file: --config=configs/s2l.py:wells=screens/mine
"""


def add_parser(commands) -> None:
    """Adds `prepare`."""
    parser = commands.add_parser(
        "prepare",
        help="turn wells into a screen: correct, group, p-values, molecule features",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="wells tables, or patterns such as 'p/*.parquet'")
    add("--out", type=pathlib.Path, metavar="DIR", help="folder of the screen")
    add(
        "--dry-run",
        action="store_true",
        help="show each column's role, controls, conditions and counts, and write nothing",
    )
    add_reading(add, layouts="wells, rxrx3_core, bray2017, pycytominer, jump_lite or simulated")
    add("--features", default="", metavar="REGEX", help="feature columns (default: by rule)")
    add("--correction", default="tvn", choices=("none", "centerscale", "pca_cs", "tvn"))
    add("--clip", type=float, default=10.0, help="limit in control SDs, 0 for none (default 10)")
    add("--n_null", type=positive, default=5000, help="random groups of the p-values (5000)")
    add(
        "--blocks",
        default="morgan,maccs,rdkit,physchem",
        help="molecule features (default %(default)s; morgan_chiral tells stereoisomers apart)",
    )
    add("--molecule_embeddings", type=named, default={}, metavar="NAME=FILE,…")
    add("--seed", type=int, default=0, help="of the p-values (default 0)")
    add("--reference", type=pathlib.Path, metavar="DIR", help="prepared screen to match")
    add(
        "--beam_pipeline_options",
        default="",
        metavar="A=B,…",
        help="spread the work out by Beam: runner=… (pip install 'molphenix-jax[beam]')",
    )
    add("--set", type=named, default={}, metavar="FIELD=VALUE,…", help="of the simulated screen")
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.molecules import FINGERPRINTS
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.screens import prepare as data
    from molphenix_jax.screens.store import open_screen
    from molphenix_jax.stages import load_beam
    from molphenix_jax.storage import scratch_folder
    from molphenix_jax.tables.columns import WellsError

    if not (arguments.out or arguments.dry_run):
        arguments.usage_error("--out is needed, or --dry-run")
    blocks = tuple(filter(None, arguments.blocks.split(",")))
    if unknown := [block for block in blocks if block not in FINGERPRINTS]:
        raise WellsError(f"--blocks: {unknown[0]!r} is none of {', '.join(FINGERPRINTS)}")
    need_columns(arguments.columns)
    config = data.PrepareConfig(
        columns=arguments.columns,
        features=arguments.features,
        correction=arguments.correction,
        group_by=arguments.group_by,
        conditions=arguments.conditions,
        controls=arguments.controls,
        clip=arguments.clip,
        n_null=arguments.n_null,
        blocks=blocks,
        embeddings=arguments.molecule_embeddings,
        seed=arguments.seed,
        concentration_unit=arguments.concentration_unit,
    )
    sources = None
    if arguments.layout != SIMULATED:
        sources = sources_of(arguments, more=(SIMULATED,))
        embedded = arguments.molecule_embeddings.values()
        need_other_output(arguments.out, *sources.files, *embedded, arguments.reference)
    if beam_options := [f"--{o}" for o in arguments.beam_pipeline_options.split(",") if o]:
        load_beam()  # before any work
    if arguments.dry_run:
        return _dry_run(arguments, config, sources)
    common = {"folder": arguments.out, "beam_options": beam_options, "say": say}
    if sources is None:
        if arguments.files:
            raise WellsError("--layout=simulated makes its own wells: give no file")
        with scratch_folder(arguments.out) as wells:
            screen = data.prepare_simulated(
                _simulation(arguments.set), config, cache=wells, **common
            )
    else:
        if arguments.set:
            raise WellsError("--set belongs to --layout=simulated")
        reference = open_screen(arguments.reference) if arguments.reference else None
        screen = data.prepare(
            sources,
            config,
            cache=arguments.out.parent,
            reference=reference,
            **common,
        )
    for note in screen.notes:
        say(f"- {note}")
    if n_rejected := len(screen.archive.rejected):
        say(f"- {n_rejected:,} rows were rejected: {arguments.out / 'rejected.csv'}")
    say(
        f"screen {screen.name}: {screen.n_wells:,} treated wells × {screen.width:,} features, "
        f"{screen.n_perturbations:,} perturbations of {len(screen.molecules):,} molecules"
    )
    return 0


def _dry_run(arguments: argparse.Namespace, config, sources) -> int:
    from molphenix_jax.commands.screens.dry_run import show
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.screens.prepare import what_would_be_done
    from molphenix_jax.screens.preparing.dry_run import dry_run
    from molphenix_jax.screens.store import open_screen
    from molphenix_jax.simulated.screen import simulate_wells
    from molphenix_jax.storage import temporary_folder
    from molphenix_jax.tables.columns import WellsError
    from molphenix_jax.wells.inputs.sources import Sources

    if sources is None:
        if arguments.out and arguments.out.exists():
            raise WellsError(
                f"{arguments.out} exists, and --dry-run cannot tell whether it holds this screen, "
                "which is made anew each time: leave --out away, or run without --dry-run"
            )
        with temporary_folder() as folder:
            simulate_wells(_simulation(arguments.set), folder)
            sources = Sources((folder / "wells.parquet",))
            show(dry_run(sources, config, say=say))
        return 0
    reference = open_screen(arguments.reference) if arguments.reference else None
    show(dry_run(sources, config, reference=reference, say=say))
    if arguments.out:
        say(what_would_be_done(arguments.out, sources, config, reference=reference))
    return 0


def _simulation(fields: dict[str, str]):
    from molphenix_jax.simulated.screen import SimulationConfig
    from molphenix_jax.tables.columns import WellsError

    default = SimulationConfig()
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    changes = {}
    for name, text in fields.items():
        if name not in known:
            raise WellsError(f"--set: no field {name!r}; fields are {', '.join(known)}")
        old = known[name]
        try:
            if isinstance(old, tuple):
                changes[name] = tuple(float(part) for part in text.split("/"))
            else:
                changes[name] = type(old)(text)
        except ValueError as error:
            raise WellsError(f"--set={name}={text}: {error}") from None
    try:
        return SimulationConfig(**{**known, **changes})
    except ValueError as error:
        raise WellsError(f"--set: {error}") from error
