"""`molphenix index`: a library of molecules, embedded by a model at chosen concentrations."""

from __future__ import annotations

import argparse
import pathlib
import re
from collections.abc import Sequence

from molphenix_jax.commands.arguments import concentrations, need_other_output, positive

_EPILOG = """
Examples:

molphenix index library.csv --model=RUN --concentrations=0.1,1,10 --out=INDEX
molphenix index add more.csv --out=INDEX

A job array makes an index in shards, in one folder or in several, whose parts are then put into
one. What was stopped goes on with the same command. docs/use.md tells more.
"""


def add_parser(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "index",
        help="embed a library of molecules at chosen concentrations, to rank it",
        usage="%(prog)s [add] LIBRARY [LIBRARY ...] --out=INDEX [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "library",
        nargs="+",
        metavar="LIBRARY",
        help="CSV or Parquet with a column of SMILES, .smi or .sdf; behind the word add: into the "
        "index that is there, with its model and concentrations",
    )
    parser.add_argument(
        "--model",
        type=pathlib.Path,
        metavar="RUN",
        help="--workdir of a run, or a model folder; of add the index's own, if it is still there",
    )
    parser.add_argument("--fold", type=int, help="which fold's model, where the run has several")
    parser.add_argument("--concentrations", metavar="LIST", help="in µM: 0.1,1,10")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="INDEX")
    parser.add_argument(
        "--shard", default="1/1", metavar="I/N", help="the i-th of n equal shares of the rows: 3/16"
    )
    parser.add_argument(
        "--conditions",
        default="",
        metavar="LIST",
        help="what the model is told beside, as time_h=24,cell_line=U2OS",
    )
    parser.add_argument(
        "--embeddings",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="of a block that the model takes from a file, those of these molecules; repeatable",
    )
    parser.add_argument("--smiles-column", default="", help="default: the one ending in 'smiles'")
    parser.add_argument("--id-column", default="", help="names of the molecules (default: found)")
    parser.add_argument("--workers", type=positive, help="processes (default one for each core)")
    parser.add_argument(
        "--export",
        default="",
        metavar="FACTORY",
        help="also write INDEX/index.faiss for approximate search by FAISS: auto, IVF4096,Flat, "
        "HNSW32, … of its index_factory; usearch writes INDEX/index.usearch for usearch; ids are "
        "molecule · doses + dose",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from molphenix_jax.molecules.parallel import using_workers
    from molphenix_jax.retrieval.index import LibraryError, open_index
    from molphenix_jax.retrieval.index.building import Building
    from molphenix_jax.runtime.progress import say

    if arguments.export and arguments.shard != "1/1":
        raise LibraryError(
            "--export needs the whole index: join the shards, then call open_index(INDEX)"
            ".export_faiss(FILE) or .export_usearch(FILE) in Python"
        )
    words, add = list(arguments.library), arguments.library[0] == "add"
    libraries = [pathlib.Path(word) for word in words[add:]]
    if not libraries:
        raise LibraryError("index add: name the library to add; a file called add is ./add")
    need_other_output(arguments.out, arguments.model, *libraries)
    with using_workers(arguments.workers or 0):
        model, settings = _settings(arguments, add)
        for number, library in enumerate(libraries):
            later = add or number > 0
            _build(Building(model, library, arguments.out, settings, add=later))
    if settings.shards == 1:
        made = open_index(arguments.out)
        say(str(made))
        if arguments.export == "usearch":
            made.export_usearch(path := arguments.out / "index.usearch")
            say(f"a graph for usearch: {path}")
        elif arguments.export:
            path = arguments.out / "index.faiss"
            factory = "" if arguments.export == "auto" else arguments.export
            say(f"{made.export_faiss(path, factory=factory)} for FAISS: {path}")
    return 0


def _settings(arguments: argparse.Namespace, add: bool):
    """The model, and what all parts have in common; of `add` that of the index."""
    from molphenix_jax.retrieval.index.building import Settings
    from molphenix_jax.retrieval.index.folder import LibraryError, read_parts
    from molphenix_jax.retrieval.model import load
    from molphenix_jax.trained.folder import ModelError

    path, doses, conditions = arguments.model, arguments.concentrations, arguments.conditions
    told = _pairs("--conditions", conditions.split(",") if conditions else [], "time_h=24")
    doses_um = concentrations(doses) if doses else None
    fold = arguments.fold
    parts = read_parts(arguments.out) if add else []
    if add:
        if not parts:
            raise LibraryError(
                f"{arguments.out} is no index yet: molphenix index LIBRARY --model=RUN makes one"
            )
        about = parts[0].about
        doses_um = tuple(about["doses_um"]) if doses_um is None else doses_um
        told = told or about["conditions"]
        path = path or pathlib.Path(about["model"]["name"])
    if path is None or doses_um is None:
        missing = "--model=RUN" if path is None else "--concentrations=0.1,1,10"
        raise LibraryError(f"index: give {missing}, for a new index needs both")
    try:
        model = load(path, fold=fold)
    except ModelError as error:
        if arguments.model is not None:
            raise
        raise LibraryError(f"{arguments.out} names its model: {error}. Give --model=RUN") from error
    shard, shards = _shard(arguments.shard)
    embeddings = _pairs("--embeddings", arguments.embeddings, "minimol=emb.parquet")
    return model, Settings(
        doses_um,
        told,
        {name: pathlib.Path(file) for name, file in embeddings.items()},
        arguments.smiles_column,
        arguments.id_column,
        shard,
        shards,
    )


def _build(job) -> None:
    from molphenix_jax.memory import in_words
    from molphenix_jax.runtime.progress import Progress, duration, say

    for note in job.notes:
        say(note)
    if job.n_done:
        say(f"{job.n_done:,} of {job.rows:,} rows are in the index already")
    counts = [0, 0, 0]
    if job.n_done < job.rows:
        need = job.need()
        say(
            f"{need.rows:,} rows will take {in_words(need.disk)} of disk, "
            f"{in_words(need.memory)} of memory and about {duration(need.seconds)}"
        )
        with Progress("index: ", total=job.rows, done=job.n_done, unit="row") as progress:
            for done in job.run():
                progress.advance(done.rows)
                counts = [a + b for a, b in zip(counts, done[1:], strict=True)]
    _, lost = job.close()
    say(
        f"{counts[0]:,} molecules are new, {counts[1]:,} rows repeat a molecule, {counts[2]:,} "
        "cannot be used" + (f": {lost} has each with its reason" if lost else "")
    )


def _shard(text: str) -> tuple[int, int]:
    from molphenix_jax.retrieval.index.folder import LibraryError

    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise LibraryError(f"--shard={text}: give i/n with i from 1 to n, as 3/16")
    return int(match[1]), int(match[2])


def _pairs(option: str, given: Sequence[str], example: str) -> dict[str, str]:
    from molphenix_jax.retrieval.index.folder import LibraryError

    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise LibraryError(f"{option}={word}: give NAME=VALUE, as {example}")
        found[name.strip()] = value.strip()
    return found
