"""Tables of a finished run for the terminal."""

import io
from collections.abc import Mapping

import rich.box
import rich.console
import rich.markup
import rich.table

from molphenix_jax.errors import InputError
from molphenix_jax.evaluation import chance_field
from molphenix_jax.reporting import rows


def headline_table(evaluation: Mapping, *, split: str | None = None) -> rich.table.Table:
    """The few rows to look at first: profile to molecule, active and all, both galleries.

    Args:
        evaluation: contents of ``evaluation.json``.
        split: the split to show; by default unseen molecules, or the first there is.

    Raises:
        InputError: if there are no results; says why.
        ValueError: if there are none for the split.
    """
    split = _known_split(evaluation, split)
    table = rich.table.Table(
        title=(
            f"{rich.markup.escape(rows.split_title(split))}: profile to molecule, % of queries "
            "\\[95% interval]; median rank in % of the gallery"
        ),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("setting", no_wrap=True)
    table.add_column("model")
    metrics = rows.metrics_of(evaluation["results"])
    for column in ("queries", "gallery", *metrics.values(), "median rank"):
        table.add_column(column, justify="right", no_wrap=True)
    for setting in rows.headline(evaluation, split):
        found = rows.at(evaluation["results"], setting)
        best = {m: rows.best_models(found, m) for m in (*metrics, "median_rank_pct")}
        for number, row in enumerate(found):
            cells = {metric: rows.with_interval(row, metric) for metric in metrics}
            cells["median_rank_pct"] = f"{row['median_rank_pct']:.1f}"
            table.add_row(
                "" if number else rows.in_words(setting),
                rich.markup.escape(row["model"]),
                *([""] * 2 if number else [str(row["n_queries"]), str(row["n_gallery"])]),
                *(_cell(text, row["model"] in best[metric]) for metric, text in cells.items()),
            )
        table.add_section()
    return table


def full_table(evaluation: Mapping) -> rich.table.Table:
    """Every row of ``evaluation.json``."""
    table = rich.table.Table(
        title="All results, % of queries \\[95% interval]; median rank in % of the gallery",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("split", "subset", "gallery", "direction", "model"):
        table.add_column(column)
    metrics = rows.metrics_of(evaluation["results"])
    for column in ("queries", "gallery size", *metrics.values(), "median rank"):
        table.add_column(column, justify="right")
    for title in metrics.values():
        table.add_column(f"chance {title.removeprefix('top-')}", justify="right")
    for row in evaluation["results"]:
        subset = row["subset"] if row["psi"] is None else f"{row['subset']}, p ≤ {row['psi']:g}"
        table.add_row(
            rich.markup.escape(row["split"]),
            subset,
            row["gallery"],
            row["direction"].replace("_", " "),
            rich.markup.escape(row["model"]),
            str(row["n_queries"]),
            str(row["n_gallery"]),
            *(rows.with_interval(row, metric) for metric in metrics),
            f"{row['median_rank_pct']:.1f}",
            *(rows.share(row[chance_field(metric)]) for metric in metrics),
        )
    return table


def to_text(evaluation: Mapping, *, full: bool = False, width: int = 120) -> str:
    """What to print at the end of a run: headline table, verdicts, and what was not computed.

    Args:
        evaluation: contents of ``evaluation.json``.
        full: every row in place of the headline of one split.
        width: columns of the terminal.
    """
    text = io.StringIO()
    console = rich.console.Console(file=text, width=width, highlight=False)
    split = _known_split(evaluation, None)
    console.print(full_table(evaluation) if full else headline_table(evaluation))
    for sentence in rows.verdicts(evaluation, split):
        console.print(rich.markup.escape(f"{rows.split_title(split)}, {sentence}"))
    for missing in evaluation.get("not_computed", ()):
        console.print(rich.markup.escape(f"Not computed: {rows.missing_line(missing)}"))
    return text.getvalue()


def _known_split(evaluation: Mapping, split: str | None) -> str:
    known = rows.splits(evaluation)
    if not known:
        reasons = "; ".join(rows.missing_line(m) for m in evaluation.get("not_computed", ()))
        raise InputError(
            f"the evaluation holds no results: {reasons or 'no split has a pair'}. More molecules "
            "are needed, or a larger data.test_fraction"
        )
    if split is not None and split not in known:
        raise ValueError(f"no results for split {split!r}; there are {known}")
    return split or known[0]


def _cell(text: str, best: bool) -> str:
    text = rich.markup.escape(text)
    return f"[bold]{text}[/bold]" if best else text
