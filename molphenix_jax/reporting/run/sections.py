"""Sections of the page beside the tables of its splits: parts, by name."""

import html
import pathlib
from collections.abc import Callable, Mapping, Sequence

from molphenix_jax.parts import Parts, define, function_of, register
from molphenix_jax.reporting import rows
from molphenix_jax.reporting.page import html_table, picture, sentences
from molphenix_jax.reporting.run import curves, results

Metrics = Mapping[str, Sequence[Mapping]]
# A section of the page as HTML, "" for none: of `evaluation.json`, of the lines of
# `metrics.jsonl` by the name of the fold, and of the folder for pictures (`page.picture`).
Section = Callable[[Mapping, Metrics, pathlib.Path], str]
_LOSS, _RECALL = "loss", "validation_top_1pct"  # fields of the metrics

# In the order of the page, after what each split has.
SECTIONS: Parts[Section] = define(
    "section", function_of("evaluation", "metrics", "folder", gives="HTML")
)


def _conditions_section(evaluation: Mapping, metrics: Metrics, folder: pathlib.Path) -> str:
    """Counts and recall of each condition; nothing where a screen has one."""
    del metrics, folder
    counts = evaluation.get("conditions", ())
    if not counts:
        return ""
    psis = list(counts[0]["active"])
    columns = ("condition", "wells", "molecules", "perturbations", *(f"p ≤ {psi}" for psi in psis))
    table = [
        [str(row[column]) for column in columns[:4]] + [str(row["active"][psi]) for psi in psis]
        for row in counts
    ]
    parts = ["<h2>Conditions</h2>", html_table(columns, table, text_columns=1)]
    found = [
        row for row in evaluation.get("by_condition", ()) if row["split"] == "unseen_molecules"
    ]
    shown = rows.metrics_of(found)
    columns = ("queries", "condition", "model", "number", *shown.values(), "median rank")
    table = [
        [
            rows.in_words(rows.setting_of(row)),
            row["condition"],
            row["model"],
            str(row["n_queries"]),
            *(rows.with_interval(row, metric) for metric in shown),
            f"{row['median_rank_pct']:.1f}",
        ]
        for row in sorted(found, key=lambda row: rows.model_place(row["model"]))
        if row["model"] in (rows.MODEL, rows.CHANCE)
    ]
    if table:
        parts.append("<p>Unseen molecules, the queries of each condition:</p>")
        parts.append(
            html_table(columns, sorted(table, key=lambda cells: cells[:2]), text_columns=3)
        )
    return "\n".join(parts)


def _graded_section(evaluation: Mapping, metrics: Metrics, folder: pathlib.Path) -> str:
    """NDCG of each model, of unseen molecules; nothing where relevance cannot be told."""
    del metrics, folder
    table = html_table(rows.GRADED_COLUMNS, found := rows.graded(evaluation), text_columns=3)
    return (
        f'<h2>{results.GRADED}</h2><p class="note">{rows.GRADED_NOTE}</p>{table}' if found else ""
    )


def _training_section(evaluation: Mapping, metrics: Metrics, folder: pathlib.Path) -> str:
    del evaluation
    parts = ["<h2>Training</h2>"]
    try:
        figure = curves.training_figure(metrics, loss_key=_LOSS, recall_key=_RECALL)
    except ValueError as error:
        # A run without validation still deserves its report, and the reader the reason.
        parts.append(f'<p class="note">No training curves: {html.escape(str(error))}.</p>')
    else:
        n = len(metrics)
        caption = f"Loss and validation recall of {f'{n} folds' if n > 1 else 'the run'}."
        parts.append(picture(folder, "training.png", figure, caption, _training_alts(metrics)))
    return "\n".join(parts)


def _missing_section(evaluation: Mapping, metrics: Metrics, folder: pathlib.Path) -> str:
    del metrics, folder
    missing = [rows.missing_line(m) for m in evaluation.get("not_computed", ())]
    missing = [*results.left_out(evaluation), *missing]
    return f"<h2>Not computed</h2>{sentences(missing)}" if missing else ""


def _training_alts(metrics: Metrics) -> list[str]:
    best = [
        max((row[_RECALL] for row in found if _RECALL in row), default=float("nan"))
        for found in metrics.values()
    ]
    values = ", ".join(rows.share(value) for value in best)
    return ["Training loss over the updates", f"Validation recall, best of each run in %: {values}"]


register("section", "conditions", _conditions_section)
register("section", "graded", _graded_section)
register("section", "training", _training_section)
register("section", "not_computed", _missing_section)
