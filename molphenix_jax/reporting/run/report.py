"""The page of a finished run: ``report/index.html`` with its pictures, CSV and Markdown."""

import html
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence

from molphenix_jax.evaluation import METRICS
from molphenix_jax.evaluation.protocol import Setting
from molphenix_jax.parts import PartError
from molphenix_jax.reporting import rows
from molphenix_jax.reporting.page import (
    definitions,
    html_page,
    html_table,
    picture,
    sentences,
)
from molphenix_jax.reporting.run import curves, results
from molphenix_jax.reporting.run.sections import SECTIONS, Metrics
from molphenix_jax.storage import write_csv, write_text

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
    ("embedded", "linear regression from embeddings of molecules that the model is told"),
    ("dose_only, cell_count", "controls: the dose alone; how many cells a structure should leave"),
    (
        "magnitude, source_only",
        "controls: how long a profile is; in which campaign it was measured",
    ),
    ("untrained", "control: the model before its first update"),
    ("chance, oracle", "a guess; the true effects, known of simulated screens alone"),
)
_LEAD = "lead"


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
    write_csv(folder / "results.csv", results.results_table(evaluation))
    write_text(folder / "results.md", results.results_markdown(evaluation, title=title))

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
    columns = results.full_columns(evaluation)
    body.append(html_table(columns, results.full_rows(evaluation), text_columns=6) + "</details>")
    index = folder / "index.html"
    write_text(index, html_page(title, body))
    return index


def _split_section(folder: pathlib.Path, slug: str, evaluation: Mapping, split: str) -> str:
    found = results.headline_rows(evaluation, split)
    parts = [
        f"<h2>{html.escape(rows.split_title(split))}</h2>",
        '<p class="note">Profile to molecule, % of queries [95% interval over molecules], '
        "median rank in % of the gallery; ties count against the model; best in bold. "
        "The lead over a row is in points of top-1%, paired by molecule; it is bold where it lies "
        "beyond the interval.</p>",
        _with_leads(evaluation, split, [cells for cells, _ in found], [best for _, best in found]),
    ]
    if cells := results.control_rows(evaluation, split):
        parts.append(f"<p>{results.CONTROLS}:</p>{_with_leads(evaluation, split, cells)}")
    if cells := results.further_rows(evaluation, split):
        parts.append(f"<details><summary>{results.FURTHER}</summary>")
        parts.append(
            html_table(results.headline_columns(evaluation), cells, text_columns=2) + "</details>"
        )
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
    columns = [*results.headline_columns(evaluation), _LEAD]
    return html_table(columns, content, text_columns=2, best=bold)


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


def _slug(split: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", split)
