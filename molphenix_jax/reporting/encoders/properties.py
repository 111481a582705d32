"""Table, picture and page of a property-pretraining run."""

import html
import io
import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from molphenix_jax.reporting.page import picture
from molphenix_jax.reporting.rows import interval_of
from molphenix_jax.storage import write_csv, write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; } th { border-bottom: 2px solid #222; }
td { border-bottom: 1px solid #ddd; } img { max-width: 100%; } .note { color: #555; }
"""
_COLUMNS = ("target", "metric", "model", "value", "95% interval", "molecules", "positives")
_WORDS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "r2": "R²",
    "mae": "mean absolute error",
}


def property_text(evaluation: Mapping) -> str:
    """The table for a terminal, with a sentence for each comparison."""
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for row in evaluation["results"]:
        table.add_row(*_cells(row))
    text = io.StringIO()
    console = Console(file=text, width=140)
    console.print(table)
    for sentence in _sentences(evaluation):
        console.print(sentence)
    return text.getvalue()


def write_property_report(
    workdir: str | pathlib.Path,
    evaluation: Mapping,
    metrics: Sequence[Mapping],
    *,
    title: str,
) -> pathlib.Path:
    """Writes `report/` below the run's folder: page, table as CSV, pictures.

    Args:
        workdir: The run's folder.
        evaluation: Contents of `evaluation.json`.
        metrics: Rows of `metrics.jsonl`.
        title: Heading of the page.

    Returns:
        Path of `report/index.html`.
    """
    folder = pathlib.Path(workdir) / "report"
    cells = [_cells(row) for row in evaluation["results"]]
    write_csv(folder / "results.csv", pd.DataFrame(cells, columns=list(_COLUMNS), dtype=object))
    body = [f"<h1>{html.escape(title)}</h1>"]
    body.append("<p class='note'>Molecules of scaffolds that training did not see.</p>")
    if evaluation.get("comparisons"):
        items = "".join(f"<li>{html.escape(s)}</li>" for s in _sentences(evaluation))
        body.append(f"<ul>{items}</ul>")
        caption = "Each target with its 95% interval."
        body.append(picture(folder, "targets.png", _bars(evaluation), caption))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
        for row in evaluation["results"]
    )
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    body += [
        f"<p>Not computed: {html.escape(row['target'])}, {html.escape(row['reason'])}.</p>"
        for row in evaluation.get("not_computed", ())
    ]
    body.append("<h2>Training</h2>")
    body.append(picture(folder, "training.png", _training(metrics), "Loss and validation."))
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    index = folder / "index.html"
    write_text(index, page)
    return index


def _cells(row: Mapping) -> list[str]:
    ends = interval_of(row["ci"])
    interval = "" if ends is None else "{:.3f} to {:.3f}".format(*ends)
    positives = "" if row["n_positive"] is None else f"{row['n_positive']:,}"
    return [
        row["target"],
        _WORDS[row["metric"]],
        row["model"],
        f"{row['value']:.3f}",
        interval,
        f"{row['n']:,}",
        positives,
    ]


def _sentences(evaluation: Mapping) -> list[str]:
    sentences = []
    for row in evaluation.get("comparisons", ()):
        ends = interval_of(row["ci"])
        what = f"{row['target']}, {_WORDS[row['metric']]}: {row['model']}"
        if ends is None:
            sentences.append(
                f"{what} cannot be told from {row['baseline']}: {row['difference']:+.3f}, "
                "not enough scaffolds for an interval"
            )
            continue
        low, high = ends
        verb = "beats" if row["better"] else "is worse than" if high < 0 else "does not beat"
        sentences.append(
            f"{what} {verb} {row['baseline']} by {row['difference']:+.3f} (95% interval {low:+.3f} "
            f"to {high:+.3f}, paired, scaffolds resampled)"
        )
    return sentences


def _bars(evaluation: Mapping) -> Figure:
    """Value and, where there is one, interval of each model, a panel for each comparison."""
    rows = evaluation["results"]
    panels = list(dict.fromkeys((r["target"], r["metric"]) for r in evaluation["comparisons"]))
    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    axes_list = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (target, metric) in zip(axes_list, panels, strict=True):
        found = [row for row in rows if (row["target"], row["metric"]) == (target, metric)]
        for i, row in enumerate(found[::-1]):
            if ends := interval_of(row["ci"]):
                axes.plot(ends, [i, i], color="#888", linewidth=2)
            axes.plot(row["value"], i, "o", color="#0072B2" if row is found[0] else "#555")
        axes.set_yticks(range(len(found)), [row["model"] for row in found[::-1]])
        axes.set_title(f"{target}: {_WORDS[metric]}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _training(metrics: Sequence[Mapping]) -> Figure:
    """Training loss and every validation metric over the updates."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    train = [row for row in metrics if row["kind"] == "train"]
    left.plot([row["step"] for row in train], [row["loss"] for row in train], color="#0072B2")
    left.set_xlabel("update")
    left.set_ylabel("training loss")
    validation = [row for row in metrics if row["kind"] == "validation"]
    names = [name for name in (validation[-1] if validation else {}) if name.startswith("valid")]
    for name in names:
        values = [(row["step"], row[name]) for row in validation if row.get(name) is not None]
        right.plot(*zip(*values, strict=True) if values else ([], []), marker="o", label=name[11:])
    right.set_xlabel("update")
    right.set_ylabel("validation")
    if names:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
