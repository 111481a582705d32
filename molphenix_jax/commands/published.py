"""`molphenix published`: a public benchmark on its own files, beside what others published."""

from __future__ import annotations

import argparse
import io
import pathlib

from molphenix_jax.commands.arguments import need_other_output, positive

_WIDTH = 150  # of a table, at least
_EPILOG = """
molphenix published bray2017 --run=RUN
molphenix published rxrx3_core --metadata=metadata_rxrx3_core.csv \\
    --embeddings=OpenPhenom_rxrx3_core_embeddings.parquet --truth=compound_gene_interactions.csv
molphenix published replicates SCREEN
"""


def add_parser(commands) -> None:
    """Adds the command and its parts."""
    parser = commands.add_parser(
        "published",
        help="public benchmarks on their own files, beside the published numbers",
        description="Each prints its table with the numbers that others published and where they "
        "stand, and says what keeps them from being compared (docs/public.md).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(title="benchmarks", metavar="NAME", required=True)
    path = pathlib.Path
    bray = parts.add_parser("bray2017", help="R@1, R@5, R@10 of unseen molecules, both ways")
    # `run` is what a command does.
    option = {"dest": "of_run", "type": path, "metavar": "RUN"}
    bray.add_argument("--run", **option, required=True, help="finished --workdir")
    bray.add_argument("--out", type=path, metavar="FILE", help="the table as .csv")
    bray.set_defaults(run=_bray2017)
    core = parts.add_parser(
        "rxrx3_core", help="EFAAR's compound-gene benchmark and known pairs of genes"
    )
    add = core.add_argument
    add("--metadata", type=path, required=True, metavar="FILE", help="metadata_rxrx3_core.csv")
    add("--embeddings", type=path, required=True, metavar="FILE", help="of its wells, as Parquet")
    add("--truth", type=path, metavar="FILE", help="EFAAR's compound_gene_interactions.csv")
    add("--relations", type=path, metavar="DIR", help="EFAAR's folder of known pairs: CORUM.txt, …")
    add("--run", **option, help="compounds by this run's molecule embeddings too")
    add("--fold", type=int, metavar="K", help="of --run, where it has several")
    add("--seeds", type=positive, default=100, help="draws of negatives (default 100, as EFAAR)")
    add("--out", type=path, metavar="DIR", help="folder for the tables as .csv")
    core.set_defaults(run=_rxrx3_core)
    again = parts.add_parser(
        "replicates", help="replicate mAP of a prepared screen by copairs, beside our p-values"
    )
    add = again.add_argument
    add("screen", type=path, metavar="SCREEN", help="folder that `molphenix prepare` made")
    add("--null-size", type=positive, default=10_000, help="random orders of a p-value (10000)")
    add("--seed", type=int, default=0, help="of these (default 0)")
    add("--out", type=path, metavar="FILE", help="every perturbation as .csv")
    again.set_defaults(run=_replicates)


def _bray2017(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.commands.training.compare import ranks_of
    from molphenix_jax.published.bray2017 import recall_table
    from molphenix_jax.published.numbers import BRAY2017_SOURCE
    from molphenix_jax.runtime.progress import say

    need_other_output(arguments.out, arguments.of_run)
    table, cautions = recall_table(ranks_of(arguments.of_run))
    for direction, rows in table.groupby("direction", sort=False):
        _show(rows.drop(columns="direction"), f"Bray2017, {str(direction).replace('_', ' ')}, in %")
    say(f"published: {BRAY2017_SOURCE}")
    for sentence in cautions:
        say(f"- {sentence}")
    if arguments.out:
        storage.write_csv(arguments.out, table)
        say(f"the table: {arguments.out}")
    return 0


def _rxrx3_core(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.errors import InputError
    from molphenix_jax.published import rxrx3_core as core
    from molphenix_jax.runtime.progress import say

    if not (arguments.truth or arguments.relations):
        raise InputError("give --truth=compound_gene_interactions.csv, --relations=DIR, or both")
    if arguments.of_run and not arguments.truth:
        raise InputError("--run is for the compound-gene benchmark: give --truth")
    if arguments.out and arguments.out.exists():
        raise InputError(f"--out={arguments.out} is there already: choose another name")
    truth = core.read_truth(arguments.truth) if arguments.truth else None
    relations = core.read_relations(arguments.relations) if arguments.relations else {}
    model = _model(arguments)
    wells, notes = core.read_wells(arguments.metadata, arguments.embeddings)
    for note in notes:
        say(f"- {note}")
    say(f"correcting {len(wells.told):,} wells × {len(wells.features):,} features by PCA-CS")
    found = core.make_map(wells)
    compounds = found.compounds["compound"].nunique()
    say(f"a map of {len(found.genes):,} genes and {compounds:,} compounds")
    tables = {}
    if truth is not None:
        tables = _compound_gene(arguments, truth, wells, found, model)
    if relations:
        tables["known_pairs"] = _known_pairs(relations, found)
    if arguments.out:
        with storage.new_folder(arguments.out) as private:
            for name, table in tables.items():
                storage.write_csv(private / f"{name}.csv", table)
        say(f"the tables: {arguments.out}")
    return 0


def _replicates(arguments: argparse.Namespace) -> int:
    from molphenix_jax import storage
    from molphenix_jax.published.numbers import REPLICATE_MAP, REPLICATES_SOURCE
    from molphenix_jax.published.replicates import replicate_map, summary
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.screens.store import open_screen

    need_other_output(arguments.out, arguments.screen)
    screen = open_screen(arguments.screen)
    table = replicate_map(screen, null_size=arguments.null_size, seed=arguments.seed)
    _show(
        summary(table), f"{screen.name}: {len(table):,} perturbations, replicates before controls"
    )
    told = ", ".join(f"{model} {value:g}" for model, value in REPLICATE_MAP.items())
    say(f"published: {told} ({REPLICATES_SOURCE}); of another screen, and corrected otherwise")
    if arguments.out:
        storage.write_csv(arguments.out, table)
        say(f"the table: {arguments.out}")
    return 0


def _model(arguments: argparse.Namespace):
    from molphenix_jax.retrieval import load

    return load(arguments.of_run, fold=arguments.fold) if arguments.of_run else None


def _compound_gene(arguments: argparse.Namespace, truth, wells, found, model) -> dict:
    from molphenix_jax.published import rxrx3_core as core
    from molphenix_jax.published.compound_gene import questions, score_seeds, summarise
    from molphenix_jax.runtime.progress import say

    names = found.compounds["compound"].unique().tolist()
    asked, left = questions(truth, names, found.genes)
    for reason, n in left.items():
        if n:
            say(f"- {n:,} compounds are left out, {reason}")
    if not asked:
        raise core.PublishedError(
            f"{arguments.truth}: no compound can be asked about; names of compounds and genes are "
            "those of treatment in the metadata"
        )
    kinds = {"compound_gene": (found.compound_profiles, found.gene_profiles)}
    if model is not None:
        kinds["compound_gene_by_structure"] = core.cross_modal(
            model, wells, found.genes, found.compounds
        )
        _say_trained_on(arguments, found, [question.compound for question in asked])
    tables, seeds = {}, range(arguments.seeds)
    for name, (profiles, genes) in kinds.items():
        scores = core.scores_by_dose(found.compounds, profiles, genes)
        table = summarise(score_seeds(asked, scores, seeds))
        what = "molecule embeddings" if name.endswith("structure") else "compound profiles"
        _show(table, f"RxRx3-core, {what} against gene knock-outs, {len(seeds)} seeds")
        tables[name] = table
    say(
        "AP and AUROC are means over compounds, then over seeds; random: of scores drawn at random "
        "for the same genes. Published numbers of it were not recovered: see RxRx3-core "
        "(arXiv 2503.20158) and CellCLIP (arXiv 2506.06290)"
    )
    return tables


def _say_trained_on(arguments: argparse.Namespace, found, compounds: list[str]) -> None:
    """How many of the compounds the run has seen, as far as it says."""
    import pandas as pd

    from molphenix_jax.published.rxrx3_core import count_trained_on
    from molphenix_jax.runtime.progress import say
    from molphenix_jax.trained.finding import find_model

    splits = find_model(arguments.of_run, fold=arguments.fold) / "splits.csv"
    by_name = dict(zip(found.compounds["compound"], found.compounds["smiles"], strict=True))
    asked = {name: by_name[name] for name in compounds}
    if not splits.exists():
        say("- the model does not say which molecules it was trained on")
        return
    seen = count_trained_on(asked, pd.read_csv(splits))
    say(f"- {seen:,} of {len(asked):,} compounds were seen in the run's training or validation")


def _known_pairs(relations: dict, found):
    import pandas as pd

    from molphenix_jax.published.compound_gene import relation_recall
    from molphenix_jax.published.numbers import RELATION_RECALL, RELATIONS, RELATIONS_SOURCE
    from molphenix_jax.runtime.progress import say

    ours = {
        name: relation_recall(found.genes, found.gene_profiles, of)
        for name, of in relations.items()
    }
    rows = [
        {"source": name, "pairs": n, "these embeddings": recall, "chance": 0.1}
        for name, (recall, n) in ours.items()
    ]
    table = pd.DataFrame(rows)
    places = {name.lower(): i for i, name in enumerate(RELATIONS)}
    for model, numbers in RELATION_RECALL.items():
        at = [places.get(name.lower()) for name in table["source"]]
        table[f"{model}, published"] = [None if i is None else numbers[i] for i in at]
    _show(table, "RxRx3-core, share of known pairs of genes among the 5% most and least alike")
    say(f"published: {RELATIONS_SOURCE}; there with the embeddings of each model")
    return table


def _show(table, title: str) -> None:
    """A table as text, two digits behind the point for percentages, three for shares."""
    import rich.box
    import rich.console
    import rich.markup
    import rich.table

    from molphenix_jax.runtime.progress import say

    shown = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for name in table.columns:
        number = table[name].dtype.kind in "fi"
        shown.add_column(rich.markup.escape(str(name)), justify="right" if number else "left")
    digits = {name: 2 if str(name).startswith("R@") else 3 for name in table.columns}
    for row in table.to_dict("records"):
        cells = [
            ("" if value != value else f"{value:.{digits[name]}f}")
            if isinstance(value, float)
            else str(value)
            for name, value in row.items()
        ]
        shown.add_row(*map(rich.markup.escape, cells))
    # As wide as it needs: in a narrow terminal columns would lose their digits.
    text = io.StringIO()
    rich.console.Console(file=text, width=_WIDTH).print(shown)
    say("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
