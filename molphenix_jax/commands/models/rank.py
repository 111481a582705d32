"""`molphenix rank`: profiles against a library, or molecules against profiles."""

from __future__ import annotations

import argparse
import pathlib
from collections import Counter

from molphenix_jax.commands.arguments import concentrations, need_other_output, positive
from molphenix_jax.commands.screens.reading import add_reading, need_columns, sources_of

_DESCRIPTION = """\
Ranks a library for profiles (--index), or profiles for molecules (--molecules).

Written are hits.html, hits.csv, hits.parquet, hits.sdf and queries.csv; of molecules against
profiles resembling.html, molecules.csv, .parquet and .sdf, profiles.csv and .parquet. Rows of the
wells that cannot be used are in rejected.csv.
"""


def add_parser(commands) -> None:
    """Adds `rank`."""
    parser = commands.add_parser(
        "rank",
        help="rank a library for profiles, or profiles for molecules",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, path = parser.add_argument, pathlib.Path
    add("files", nargs="*", metavar="WELLS", help="wells tables, or patterns such as 'p/*.parquet'")
    add("--wells", nargs="+", default=[], metavar="FILE", help="the same")
    add("--index", type=path, metavar="INDEX", help="a library that molphenix index embedded")
    add("--model", type=path, metavar="RUN", help="run or model folder (default: the index's)")
    add("--fold", type=int, help="which, where the run has several")
    add("--out", type=path, required=True, metavar="DIR", help="a new folder")
    add("--top", type=positive, default=100, help="hits of each query (default 100)")
    add("--doses", default="best", choices=("best", "all"), help="of a molecule (default best)")
    add("--diverse", action="store_true", help="the best molecule of each scaffold alone")
    add("--substructure", default="", metavar="SMARTS", help="that hits hold")
    add("--filter", default="", metavar="mw<500,…", help="limits of properties of hits")
    add("--name", default="auto", metavar="COLUMN", help="names of wells; it groups replicates")
    add(
        "--combine",
        action="append",
        default=[],
        metavar="+A,-B",
        help="one query of several profiles, +A,+2*B,-C; may be given again",
    )
    add(
        "--query",
        type=path,
        metavar="FILE",
        help="the same as a table: query (its name), profile, weight",
    )
    add("--rank-inactive", action="store_true", help="list hits of inactive profiles too")
    add(
        "--no-chance", action="store_true", help="measure no chance: saves a pass for held-out ones"
    )
    add(
        "--chances",
        type=path,
        metavar="FILE",
        help="take the chance from what all folds found in this library: the table of molphenix "
        "bench library --table",
    )
    add("--molecules", type=path, metavar="FILE", help="find the profiles that these resemble")
    add("--smiles-column", default="", help="of --molecules; default: the one ending in 'smiles'")
    add("--concentrations", default="", metavar="0.1,1,…", help="of --molecules, in µM")
    add("--told", default="", metavar="NAME=VALUE,…", help="conditions of --molecules: time_h=48")
    add_reading(add, layouts="wells, rxrx3_core, bray2017, pycytominer or jump_lite")
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(arguments: argparse.Namespace) -> int:
    if bool(arguments.index) == bool(arguments.molecules):
        arguments.usage_error("give --index=INDEX, or --molecules=FILE and --model=RUN")
    if arguments.molecules and not arguments.model:
        arguments.usage_error("--molecules needs --model=RUN")
    arguments.files += arguments.wells
    need_columns(arguments.columns)
    return _molecules(arguments) if arguments.molecules else _library(arguments)


def _library(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.retrieval import open_index
    from molphenix_jax.retrieval.hits_page import write_page
    from molphenix_jax.retrieval.ranking import Asked, find_hits, model_of, wanted_of
    from molphenix_jax.runtime.progress import say

    wanted = wanted_of(
        arguments.top,
        arguments.doses,
        diverse=arguments.diverse,
        substructure=arguments.substructure,
        limits=arguments.filter,
    )
    combinations = _combinations(arguments)
    index = open_index(arguments.index)
    model = _model(arguments) if arguments.model else model_of(index, None)
    index.need_model(model)
    queries = _queries(arguments, model, arguments.index, arguments.query, arguments.chances)
    say(f"ranking {len(index):,} molecules for {len(queries.table):,} profiles")
    asked = Asked(combinations, arguments.rank_inactive, not arguments.no_chance, arguments.chances)
    hits = find_hits(queries, index, model, wanted=wanted, asked=asked)
    with storage.new_folder(arguments.out) as private:
        hits.write(private)
        write_page(private / "hits.html", hits)
        if len(queries.rejected):
            storage.write_csv(private / "rejected.csv", queries.rejected)
    elsewhere = [note for notes in hits.queries["note"] for note in str(notes).split("; ")]
    for note, n in Counter(n for n in elsewhere if n.startswith("measured at")).items():
        say(f"{n:,} of {len(hits.queries):,} profiles were {note}")
    if n_silent := sum(hits.queries["abstained"]):
        more = "" if arguments.rank_inactive else ": no hits; --rank-inactive lists them anyway"
        say(f"{n_silent:,} of {len(hits.queries):,} profiles look inactive{more}")
    say(f"chance that the true molecule is in a list: {hits.about['chance']}")
    say(f"{len(hits.table):,} hits of {len(hits.queries):,} queries: {arguments.out}")
    return 0


def _molecules(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.molecules.files import read_molecules
    from molphenix_jax.retrieval.ranking import resemble
    from molphenix_jax.retrieval.resembling_page import write_page
    from molphenix_jax.runtime.progress import say

    doses = concentrations(arguments.concentrations)
    model = _model(arguments)
    file, molecules = read_molecules(arguments.molecules, smiles_column=arguments.smiles_column)
    queries = _queries(arguments, model, arguments.molecules)
    found = resemble(
        molecules,
        queries,
        model,
        doses_um=doses or model.doses_um.tolist(),
        top=arguments.top,
        conditions=_told(arguments.told),
    )
    for note in file.notes:
        say(f"- {note}")
    with storage.new_folder(arguments.out) as private:
        found.write(private)
        write_page(private / "resembling.html", found)
        if len(found.rejected):
            storage.write_csv(private / "rejected_molecules.csv", found.rejected)
        if len(queries.rejected):
            storage.write_csv(private / "rejected.csv", queries.rejected)
    if n_lost := len(found.rejected):
        say(f"{n_lost:,} molecules cannot be used: {arguments.out / 'rejected_molecules.csv'}")
    n, n_active = len(found.molecules), sum(found.molecules["onset_um"].notna())
    if found.has_rule:
        say(f"onset: {found.rule}")
        say(f"{n_active:,} of {n:,} molecules are predicted active at the highest dose")
    else:
        say(found.rule)
    say(f"what {n:,} molecules resemble: {arguments.out / 'resembling.html'}")
    return 0


def _queries(arguments: argparse.Namespace, model, *others: pathlib.Path | None):
    from molphenix_jax.errors import InputError
    from molphenix_jax.retrieval.ranking import Reading, read_queries
    from molphenix_jax.runtime.progress import say

    sources = sources_of(arguments)
    need_other_output(arguments.out, *sources.files, *others, arguments.model)
    if arguments.out.exists():
        raise InputError(f"--out={arguments.out} is there already: choose another name")
    reading = Reading(
        columns=arguments.columns,
        concentration_unit=arguments.concentration_unit,
        conditions=arguments.conditions,
        controls=arguments.controls,
        group_by=arguments.group_by,
        name=arguments.name,
    )
    say(f"reading {sources}")
    queries = read_queries(sources, model, reading)
    for note in queries.notes:
        say(f"- {note}")
    if len(queries.rejected):
        say(f"- {len(queries.rejected):,} rows were rejected: {arguments.out / 'rejected.csv'}")
    return queries


def _model(arguments: argparse.Namespace):
    from molphenix_jax.retrieval import load

    return load(arguments.model, fold=arguments.fold)


def _combinations(arguments: argparse.Namespace):
    from molphenix_jax.retrieval.ranking import parse_terms, read_terms
    from molphenix_jax.tables.text import read_text

    found = {text: parse_terms(text) for text in arguments.combine}
    if arguments.query:
        found |= read_terms(read_text(arguments.query), str(arguments.query))
    return found


def _told(text: str) -> dict[str, str]:
    from molphenix_jax.errors import InputError

    entries = [part.partition("=") for part in text.split(",") if part.strip()]
    if bad := [name for name, equals, _ in entries if not equals]:
        raise InputError(f"--told: {bad[0]!r} is not NAME=VALUE, such as time_h=48")
    return {name.strip(): value.strip() for name, _, value in entries}
