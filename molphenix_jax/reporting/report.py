"""The page of a finished run: ``report/index.html`` with its pictures, CSV and Markdown."""

import html
import pathlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from molphenix_jax.evaluation import METRICS, chance_field
from molphenix_jax.evaluation.protocol import Setting
from molphenix_jax.evaluation.ranks import cutoff
from molphenix_jax.parts import PartError, Parts, define, function_of, register
from molphenix_jax.reporting import curves, rows
from molphenix_jax.reporting.page import (
    definitions,
    html_page,
    html_table,
    picture,
    sentences,
)
from molphenix_jax.storage import write_csv, write_text

Metrics = Mapping[str, Sequence[Mapping]]
# A section of the page as HTML, "" for none: of `evaluation.json`, of the lines of
# `metrics.jsonl` by the name of the fold, and of the folder for pictures (`page.picture`).
Section = Callable[[Mapping, Metrics, pathlib.Path], str]
_WORDS = (
    ("profile", "mean of a perturbation's wells after correction by the controls of their plates"),
    ("perturbation", "a molecule at a dose, under one condition"),
    ("query, gallery", "a profile that looks for its own perturbation; those it chooses among"),
    ("top-1%, top-5%", "share of queries whose own is among the best 1% or 5% of the gallery"),
    ("gallery (1%: n)", "number of candidates, and how many of them are its best 1%"),
    ("nDCG", "how alike the best 1% are to the own perturbation, by true effects or mechanism"),
    ("mean 1/rank", "of the own perturbation (MRR); 1 where it always comes first"),
    ("molecules", "each stands where the best of its doses does"),
    ("not toxic", "at least half (eval.toxic_below) of the controls' cells are left"),
    ("median rank", "of the own perturbation, in % of the gallery; chance is about 50"),
    ("active, p", "replicates agree more than controls do, by the p-value p of that agreement"),
    ("unseen molecules", "of other scaffolds than the training's: what the method is for"),
    ("unseen images", "new wells of molecules that the training has seen"),
    ("interval", "95%, over molecules: another draw of molecules may give any value within"),
    ("knn, ridge, physchem", "profiles of the nearest training molecules; linear regressions"),
    ("dose_only, cell_count", "controls: the dose alone; how many cells a structure should leave"),
    (
        "magnitude, source_only",
        "controls: how long a profile is; in which campaign it was measured",
    ),
    ("untrained", "control: the model before its first update"),
    ("chance, oracle", "a guess; the true effects, known of simulated screens alone"),
)
_MRR = "mean 1/rank"
_CONTROLS = "Controls, which know no chemistry, or no training: what could be found without"
_FURTHER = "The same queries among candidates of one dose, of one source, and among molecules"
_LEAD = "lead"
_GRADED = "Graded relevance: is what stands first like the own perturbation?"
_LOSS, _RECALL = "loss", "validation_top_1pct"  # fields of the metrics

# In the order of the page, after what each split has.
SECTIONS: Parts[Section] = define(
    "section", function_of("evaluation", "metrics", "folder", gives="HTML")
)


def write_report(
    workdir: str | pathlib.Path,
    evaluation: Mapping,
    metrics: Metrics,
    *,
    title: str = "MolPhenix run",
    notes: Sequence[str] = (),
    about: Sequence[tuple[str, str]] = (),
    advice: Sequence[str] = (),
    molecules: str = "",
) -> pathlib.Path:
    """Write ``report/`` below the run's folder, over what an earlier call wrote.

    Args:
        workdir: the run's folder.
        evaluation: contents of ``evaluation.json``.
        metrics: rows of ``metrics.jsonl`` by the name of the fold; one entry for a single run.
        title: heading of the page.
        notes: how the screen was read, sentence by sentence.
        about: what the screen and the run are, names with values.
        advice: what to do next, sentence by sentence.
        molecules: section of `molecules_section`; it follows the unseen molecules.

    Returns:
        Path of ``report/index.html``, which has all that it shows. Beside it: PNGs, ``results.csv``
        and ``results.md``.

    Raises:
        PartError: A section from outside gives no text.
    """
    folder = pathlib.Path(workdir) / "report"
    write_csv(folder / "results.csv", results_table(evaluation))
    write_text(folder / "results.md", results_markdown(evaluation, title=title))

    body = [f"<h1>{html.escape(title)}</h1>"]
    if about:
        body.append(f"<h2>The screen</h2>{definitions(about)}")
    if notes:
        body.append(f"<details><summary>How it was read</summary>{sentences(notes)}</details>")
    if advice:
        body.append(f"<h2>What to do next</h2>{sentences(advice)}")
    body.append(f"<details><summary>Words of this page</summary>{definitions(_WORDS)}</details>")
    if not evaluation["results"]:
        body.append("<p>No results: see below for what could not be computed.</p>")
    for number, split in enumerate(rows.splits(evaluation)):
        body.append(_split_section(folder, f"{number}_{_slug(split)}", evaluation, split))
        if split == "unseen_molecules":
            body.append(molecules)
    for name, section in SECTIONS.items():
        body.append(section(evaluation, metrics, folder))
        if not isinstance(body[-1], str):
            raise PartError(f"section {name!r} gives {body[-1]!r}; it has to give HTML, a text")
    body.append("<h2>All results</h2>")
    body.append("<p>Recalls and chances are shares in [0, 1]. Beside this page lie results.csv and")
    body.append("results.md with the same numbers.</p><details><summary>Every row</summary>")
    columns = _full_columns(evaluation)
    body.append(html_table(columns, _full_rows(evaluation), text_columns=6) + "</details>")
    index = folder / "index.html"
    write_text(index, html_page(title, body))
    return index


def results_table(evaluation: Mapping) -> pd.DataFrame:
    """Every row of ``evaluation.json``; intervals are two columns each, empty without one."""
    return pd.DataFrame(_full_rows(evaluation), columns=_full_columns(evaluation), dtype=object)


def results_markdown(evaluation: Mapping, *, title: str) -> str:
    """Headline table and verdicts of each split, and what was not computed."""
    lines, headline = [f"# {_markdown(title)}"], _headline(evaluation)
    for split in rows.splits(evaluation):
        lines += ["", f"## {_markdown(rows.split_title(split))}", ""]
        lines.append(
            "Profile to molecule, % of queries [95% interval over molecules], "
            "median rank in % of the gallery."
        )
        lines += [
            "",
            f"| {' | '.join(headline)} |",
            f"|{'---|' * 2}{'---:|' * (len(headline) - 2)}",
        ]
        for cells, best in _headline_rows(evaluation, split):
            shown = [
                f"**{_markdown(cell)}**" if column in best else _markdown(cell)
                for column, cell in zip(headline, cells, strict=True)
            ]
            lines.append(f"| {' | '.join(shown)} |")
        lines += ["", *(f"- {_markdown(s)}" for s in rows.verdicts(evaluation, split))]
        for told, cells in (
            (_CONTROLS, _control_rows(evaluation, split)),
            (_FURTHER, _further_rows(evaluation, split)),
        ):
            if cells:
                lines += ["", f"{told}:", "", f"| {' | '.join(headline)} |"]
                lines.append(f"|{'---|' * 2}{'---:|' * (len(headline) - 2)}")
                lines += [f"| {' | '.join(map(_markdown, row))} |" for row in cells]
    if graded := rows.graded(evaluation):
        lines += ["", f"## {_GRADED}", "", f"| {' | '.join(rows.GRADED_COLUMNS)} |"]
        lines.append(f"|{'---|' * 3}{'---:|' * 3}")
        lines += [f"| {' | '.join(map(_markdown, row))} |" for row in graded]
    if left_out := [f"- {_markdown(line)}" for line in _left_out(evaluation)]:
        lines += ["", "## Controls that are left out", "", *left_out]
    missing = [f"- {_markdown(rows.missing_line(m))}" for m in evaluation.get("not_computed", ())]
    if missing:
        lines += ["", "## Not computed", "", *missing]
    return "\n".join(lines) + "\n"


def _split_section(folder: pathlib.Path, slug: str, evaluation: Mapping, split: str) -> str:
    found = _headline_rows(evaluation, split)
    parts = [
        f"<h2>{html.escape(rows.split_title(split))}</h2>",
        '<p class="note">Profile to molecule, % of queries [95% interval over molecules], '
        "median rank in % of the gallery; ties count against the model; best in bold. "
        "The lead over a row is in points of top-1%, paired by molecule; it is bold where it lies "
        "beyond the interval.</p>",
        _with_leads(evaluation, split, [cells for cells, _ in found], [best for _, best in found]),
    ]
    if cells := _control_rows(evaluation, split):
        parts.append(f"<p>{_CONTROLS}:</p>{_with_leads(evaluation, split, cells)}")
    if cells := _further_rows(evaluation, split):
        parts.append(f"<details><summary>{_FURTHER}</summary>")
        parts.append(html_table(_headline(evaluation), cells, text_columns=2) + "</details>")
    parts.append(
        picture(
            folder,
            f"recall_{slug}.png",
            curves.recall_figure(evaluation, split),
            "Top-1% recall with 95% intervals; the dashed line is chance.",
            [_said(evaluation["results"], s, "top_1pct") for s in rows.headline(evaluation, split)],
        )
    )
    if any(row["split"] == split for row in evaluation.get("rank_curves", ())):
        parts.append(
            picture(
                folder,
                f"ranks_{slug}.png",
                curves.rank_figure(evaluation, split),
                "Share of queries whose own candidate is among the top K%.",
                [
                    f"Rising curves; at 5%: {_said(evaluation['results'], s, 'top_5pct')}"
                    for s in rows.headline(evaluation, split)
                ],
            )
        )
    if any(row["split"] == split for row in evaluation.get("by_concentration", ())):
        parts.append(
            picture(
                folder,
                f"dose_{slug}.png",
                curves.dose_figure(evaluation, split),
                "Top-1% recall of the queries of each concentration, same gallery; the band is the "
                "model's 95% interval.",
                _dose_alts(evaluation, split),
            )
        )
    return "\n".join(parts)


def _with_leads(
    evaluation: Mapping,
    split: str,
    found: Sequence[Sequence[str]],
    best: Sequence[Collection[str]] = (),
) -> str:
    """A table of headline settings, with a column of the model's lead over each row."""
    settings = {rows.in_words(setting): setting for setting in rows.headline(evaluation, split)}
    leads: Mapping[str, tuple[str, bool]] = {}
    content, bold = [], []
    for number, cells in enumerate(found):
        if cells[0]:
            leads = rows.leads(evaluation, settings[cells[0]])
        lead, beyond = leads.get(cells[1], ("", False))
        content.append([*cells, lead])
        bold.append({*(best[number] if best else ()), *([_LEAD] if beyond else [])})
    columns = [*_headline(evaluation), _LEAD]
    return html_table(columns, content, text_columns=2, best=bold)


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
    return f'<h2>{_GRADED}</h2><p class="note">{rows.GRADED_NOTE}</p>{table}' if found else ""


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
    missing = [*_left_out(evaluation), *missing]
    return f"<h2>Not computed</h2>{sentences(missing)}" if missing else ""


def _left_out(evaluation: Mapping) -> list[str]:
    """Why controls are left out, a sentence each."""
    return [f"{name}: {why}" for name, why in evaluation.get("left_out", {}).items()]


register("section", "conditions", _conditions_section)
register("section", "graded", _graded_section)
register("section", "training", _training_section)
register("section", "not_computed", _missing_section)


def _said(found: Sequence[Mapping], setting: Setting, metric: str) -> str:
    """The values of a picture in words."""
    values = ", ".join(
        f"{row['model']} {rows.share(row[metric])}" for row in rows.at(found, setting)
    )
    return f"{METRICS[metric].title} recall in %, {rows.in_words(setting)}: {values}"


def _dose_alts(evaluation: Mapping, split: str) -> list[str]:
    """What each panel of `dose_figure` shows of the model, in words."""
    said = []
    for setting in rows.headline(evaluation, split):
        found = [
            row
            for row in rows.at(evaluation["by_concentration"], setting)
            if row["model"] == rows.MODEL
        ]
        found.sort(key=lambda row: row["concentration_um"])
        values = ", ".join(
            f"{row['concentration_um']:g} µM {rows.share(row['top_1pct'])}" for row in found
        )
        if rows.at(evaluation["by_concentration"], setting):
            said.append(
                f"top-1% recall in % by dose, {rows.in_words(setting)}, {rows.MODEL}: {values}"
            )
    return said


def _training_alts(metrics: Metrics) -> list[str]:
    best = [
        max((row[_RECALL] for row in found if _RECALL in row), default=float("nan"))
        for found in metrics.values()
    ]
    values = ", ".join(rows.share(value) for value in best)
    return ["Training loss over the updates", f"Validation recall, best of each run in %: {values}"]


def _headline_rows(evaluation: Mapping, split: str) -> list[tuple[list[str], set[str]]]:
    """Cells of each row, and the columns in which its model is the best of its setting."""
    result, shown = [], rows.metrics_of(evaluation["results"])
    metrics = {**shown, "mean_reciprocal_rank": _MRR, "median_rank_pct": "median rank"}
    for setting in rows.headline(evaluation, split):
        found = rows.at(evaluation["results"], setting)
        known = [metric for metric in metrics if all(metric in row for row in found)]
        best = {metric: rows.best_models(found, metric) for metric in known}
        for number, row in enumerate(found):
            leads = {metrics[metric] for metric in known if row["model"] in best[metric]}
            result.append((_cells(row, shown, first=not number), leads))
    return result


def _control_rows(evaluation: Mapping, split: str) -> list[list[str]]:
    """Cells of the controls of each headline setting."""
    result, shown = [], rows.metrics_of(evaluation["results"])
    for setting in rows.headline(evaluation, split):
        found = rows.controls_at(evaluation["results"], setting)
        result += [_cells(row, shown, first=not number) for number, row in enumerate(found)]
    return result


def _further_rows(evaluation: Mapping, split: str) -> list[list[str]]:
    """Cells of the model, two baselines, chance and the controls in the further galleries."""
    result, shown = [], rows.metrics_of(evaluation["results"])
    for setting in rows.further(evaluation, split):
        found = [
            row
            for row in rows.at(evaluation["results"], setting)
            if row["model"] in (rows.MODEL, "knn", "ridge", rows.CHANCE, rows.ORACLE)
        ]
        found += rows.controls_at(evaluation["results"], setting)
        result += [_cells(row, shown, first=not number) for number, row in enumerate(found)]
    return result


def _cells(row: Mapping, metrics: Mapping[str, str], *, first: bool) -> list[str]:
    """A row of a table; what all rows of its setting share stands in the first."""
    size = row["n_gallery"]
    gallery = f"{size} (1%: {cutoff(size, 1.0)})"
    reciprocal = row.get("mean_reciprocal_rank")  # evaluations of before had none
    return [
        *((rows.in_words(rows.setting_of(row)),) if first else ("",)),
        row["model"],
        *((str(row["n_queries"]), gallery) if first else ("", "")),
        *(rows.with_interval(row, metric) for metric in metrics),
        "" if reciprocal is None else f"{reciprocal:.3f}",
        f"{row['median_rank_pct']:.1f}",
    ]


def _headline(evaluation: Mapping) -> list[str]:
    metrics = rows.metrics_of(evaluation["results"]).values()
    return ["setting", "model", "queries", "gallery", *metrics, _MRR, "median rank"]


def _full_columns(evaluation: Mapping) -> list[str]:
    metrics = rows.metrics_of(evaluation["results"])
    return [
        *("split", "subset", "psi", "gallery", "direction", "model", "n_queries", "n_gallery"),
        *(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")),
        "median_rank_pct",
        "mean_reciprocal_rank",
        *map(chance_field, metrics),
    ]


def _full_rows(evaluation: Mapping) -> list[list[str]]:
    result, columns = [], _full_columns(evaluation)
    for row in evaluation["results"]:
        flat = dict(row)
        for metric in rows.metrics_of(evaluation["results"]):
            ends = rows.interval_of(row[f"{metric}_ci"]) or (None, None)
            flat[f"{metric}_low"], flat[f"{metric}_high"] = ends
        flat.setdefault("mean_reciprocal_rank", None)
        result.append([_plain(flat[column]) for column in columns])
    return result


def _plain(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _slug(split: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", split)


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
