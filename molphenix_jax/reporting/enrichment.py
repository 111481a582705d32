"""The page of `molphenix enrichment`: curves, enrichment factors, structures."""

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from molphenix_jax.reporting.page import (
    Markup,
    definitions,
    html_page,
    html_table,
    picture,
    sentences,
)
from molphenix_jax.storage import write_text

_TITLE = "Hits found against wells spent"
_MODEL = "molphenix"
_PANEL = (4.2, 3.2)
# Okabe and Ito's; the model is a full line.
_STYLES = {
    _MODEL: ("#0072B2", "-"),
    "neighbours": ("#E69F00", (0, (6, 2, 1, 2))),
    "trees": ("#009E73", (0, (6, 2))),
    "activity": ("#CC79A7", (0, (3, 1.5))),
    "knn": ("#D55E00", (0, (6, 2))),
    "dose": ("#8C6D31", (0, (1, 1.5))),
}


def best_rival(record: Mapping[str, Any], candidates: str = "all") -> Mapping[str, Any] | None:
    """The row of the method beside the model with the highest mean enrichment factor at 5%."""
    rows = [
        row
        for row in record["macro"]
        if row["candidates"] == candidates and row["percent"] == 5.0 and "ratio" in row
    ]
    return max(rows, key=lambda row: row["factor"], default=None)


def in_words(record: Mapping[str, Any], candidates: str = "all") -> str:
    """The main result in a sentence."""
    rows = {
        (row["percent"], row["model"]): row
        for row in record["macro"]
        if row["candidates"] == candidates
    }
    own, best = rows[5.0, _MODEL], best_rival(record, candidates)
    halves = [
        row["wells_for_half"]
        for row in record["kinds"]
        if row["candidates"] == candidates and row["model"] == _MODEL
    ]
    said = (
        f"mean over {own['kinds']} kinds of hits: enrichment factor at 5% "
        f"{_with_ends(own['factor'], own['ci'])}, at 1% {rows[1.0, _MODEL]['factor']:.2f}; half of "
        f"the hits after {100 * sum(halves) / len(halves):.0f}% of the wells"
    )
    if best is None:
        return said
    return (
        f"{said}; the best beside it, {best['model']}, has {best['factor']:.2f} at 5%: "
        f"{_with_ends(best['ratio'], best['ratio_ci'])} times as much"
    )


def write_enrichment(
    folder: pathlib.Path,
    record: Mapping[str, Any],
    curves: pd.DataFrame,
    shown: pd.DataFrame,
    pictures: Mapping[str, str],
) -> pathlib.Path:
    """Writes `index.html` and the PNGs.

    Args:
        folder: Of the page.
        record: What `enrichment.json` has.
        curves: Columns kind, method, wells, found (shares).
        shown: Molecules to show: kind, what, smiles, concentration_um, wells_molphenix.
        pictures: Inline SVG of each SMILES, made by this package.

    Returns:
        The page's path.
    """
    settings = list(dict.fromkeys(row["candidates"] for row in record["macro"]))
    body = [f"<h1>{_TITLE}</h1>", definitions(list(record["about"].items()))]
    body.append(
        "<p>Every candidate is a molecule at a concentration that its fold held out; methods know "
        "its structure and dose, and the hits among the other molecules. A fold spends its wells "
        "in the order of a ranking. The enrichment factor at K% is the share of the hits in the "
        "first K% of the wells over K%; chance has 1.</p>"
    )
    for candidates in settings:
        said = in_words(record, candidates)
        body += [f"<h2>{html.escape(candidates.capitalize())} candidates</h2>"]
        body += [f"<p>{html.escape(said[0].upper() + said[1:])}.</p>", _macro(record, candidates)]
        if candidates == "all":
            body.append(_curves(folder, curves))
        body.append(
            f"<details><summary>Every kind of hit</summary>{_kinds(record, candidates)}</details>"
        )
    if len(settings) > 1:
        notes = ["matched: each hit beside others of its fold with the most similar cell counts"]
        body.append(sentences(notes))
    body += ["<h2>Structures</h2>", *_structures(shown, pictures)]
    path = folder / "index.html"
    write_text(path, html_page(_TITLE, body))
    return path


def _macro(record: Mapping[str, Any], candidates: str) -> str:
    by_model: dict[str, dict[float, Mapping]] = {}
    for row in record["macro"]:
        if row["candidates"] == candidates:
            by_model.setdefault(row["model"], {})[row["percent"]] = row
    halves: dict[str, list[float]] = {}
    for row in record["kinds"]:
        if row["candidates"] == candidates:
            halves.setdefault(row["model"], []).append(row["wells_for_half"])
    content = [
        [
            model,
            _with_ends(of[1.0]["factor"], of[1.0]["ci"]),
            _with_ends(of[5.0]["factor"], of[5.0]["ci"]),
            f"{100 * float(np.mean(halves[model])):.0f}",
            _with_ends(of[5.0]["ratio"], of[5.0]["ratio_ci"]) if "ratio" in of[5.0] else "",
        ]
        for model, of in by_model.items()
    ]
    return html_table(
        ["method", "EF1% [95%]", "EF5% [95%]", "wells for half of the hits, %"]
        + [f"EF5% of {_MODEL} over it [95%]"],
        content,
        text_columns=1,
        caption="Means over kinds of hits; intervals over molecules, ratios paired",
    )


def _kinds(record: Mapping[str, Any], candidates: str) -> str:
    rows = [row for row in record["kinds"] if row["candidates"] == candidates]
    content, before = [], ""
    for row in rows:
        counts = [f"{row['hits']:,} ({row['hit_molecules']:,})", f"{row['n']:,}"]
        first = row["kind"] != before
        content.append(
            [row["kind"] if first else "", row["model"], *(counts if first else ["", ""])]
            + [f"{row['ef_1pct']:.2f}", f"{row['ef_5pct']:.2f}"]
            + [f"{100 * row['wells_for_half']:.0f}"]
        )
        before = row["kind"]
    columns = ["kind", "method", "hits (molecules)", "candidates", "EF1%", "EF5%"]
    return html_table([*columns, "wells for half, %"], content, text_columns=2)


def _curves(folder: pathlib.Path, curves: pd.DataFrame) -> str:
    figures, alts = [], []
    for kind, of in curves.groupby("kind", sort=False):
        figure = Figure(figsize=_PANEL, layout="constrained")
        axes = figure.subplots()
        for method, drawn in of.groupby("method", sort=False):
            if style := _STYLES.get(str(method)):
                width = 2.0 if method == _MODEL else 1.2
                wells, found = 100 * drawn["wells"], 100 * drawn["found"]
                axes.plot(
                    wells, found, label=method, color=style[0], linestyle=style[1], linewidth=width
                )
        axes.plot([0, 100], [0, 100], color="#cccccc", linewidth=0.8, label="chance")
        axes.set_xlabel("wells spent, %")
        axes.set_ylabel("hits found, %")
        axes.set_title(str(kind), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
        own = of.iloc[np.flatnonzero(of["method"].to_numpy(str) == _MODEL)]
        found = np.interp(0.2, own["wells"].to_numpy(float), own["found"].to_numpy(float))
        alts.append(f"{kind}: a fifth of the wells finds {100 * found:.0f}%")
        figures.append(figure)
    return picture(folder, "curves.png", figures, "Hits found against wells spent.", alts)


def _structures(shown: pd.DataFrame, pictures: Mapping[str, str]) -> list[str]:
    sections = []
    for kind, of in shown.groupby("kind", sort=False):
        content, before = [], ""
        for row in of.to_dict("records"):
            drawn = pictures.get(row["smiles"], "")
            label = f'role="img" aria-label="Structure of {html.escape(row["smiles"])}"'
            content.append(
                [
                    row["what"] if row["what"] != before else "",
                    Markup(drawn.replace('aria-hidden="true"', label, 1)),
                    Markup(f'<span class="smiles">{html.escape(row["smiles"])}</span>'),
                    f"{row['concentration_um']:g}",
                    f"{100 * row[f'wells_{_MODEL}']:.1f}",
                ]
            )
            before = row["what"]
        table = html_table(
            ["", "structure", "SMILES", "dose, µM", "after % of the wells"], content, text_columns=3
        )
        sections.append(f"<details><summary>{html.escape(str(kind))}</summary>{table}</details>")
    return sections


def _with_ends(value: float, ci: Sequence[float] | None) -> str:
    return f"{value:.2f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else "")
