"""The table of an ablation as Markdown, CSV and a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from molphenix_jax.evaluation import METRICS
from molphenix_jax.reporting import rows

_FIRST = "top_1pct"
_COLOURS = {"better": "#009E73", "worse": "#D55E00", "reference": "#0072B2"}
_PLAIN, _BASELINE = "#222222", "#777777"


def settings_of(table: Mapping) -> list[tuple]:
    """Every (subset, psi, gallery) with results, active queries first."""
    found = dict.fromkeys(
        (line["subset"], line["psi"], line["gallery"]) for line in table["results"]
    )
    return sorted(found, key=lambda s: (s[0] != "active", s[1] or 0, s[2]))


def lines_of(table: Mapping, setting: tuple, metric: str) -> list[Mapping]:
    """The lines of one setting, rows in the order of the ablation, baselines after them."""
    order = [row["name"] for row in table["rows"]]
    lines = [
        line
        for line in table["results"]
        if (line["subset"], line["psi"], line["gallery"], line["metric"]) == (*setting, metric)
    ]
    own = [line for name in order for line in lines if line["row"] == name]
    others = sorted((x for x in lines if x["baseline"]), key=lambda x: rows.model_place(x["row"]))
    return own + others


def ablation_frame(table: Mapping) -> pd.DataFrame:
    """A line for each setting, metric and row, with the recall of each seed in one cell."""
    labels = {row["name"]: row["label"] for row in table["rows"]}
    return pd.DataFrame(
        [
            {
                **line,
                "label": labels.get(line["row"], line["row"]),
                "seeds": " ".join(f"{value:.6g}" for value in line["seeds"]),
            }
            for line in table["results"]
        ]
    )


def ablation_markdown(table: Mapping, *, level: int = 1) -> str:
    """The page of an ablation: what is compared, each setting as a table, claims.

    Args:
        table: From ``ablations.judging.judge``.
        level: Of the first heading.
    """
    labels = {row["name"]: row["label"] for row in table["rows"]}
    head, reference = "#" * level, labels[table["reference"]]
    tier = "" if table["tier"] == "small" else f", tier {table['tier']}"
    drawn = (
        "molecules and seeds" if table["n_seeds"] > 1 else "molecules; one seed tells of no other"
    )
    parts = [
        f"{head} {table['title']} ({table['paper']}){tier}",
        f"{table['data']}; tier {table['tier']}, seeds of each row: {table['n_seeds']}, by "
        f"`{table['command']}`. Recall in %, mean ± sd over seeds; Δ: points above {reference} on "
        "the same queries, with 95% intervals that hold for all rows together (max-t bootstrap "
        f"over {drawn}). "
        f"Equivalent: the whole interval is within ± {100 * table['margin']:g} points.",
    ]
    if table["note"]:
        parts.append(table["note"])
    for setting in settings_of(table):
        parts.append("\n".join([f"{head}# {_title(table, setting)}", "", *_lines(table, setting)]))
    missing = [
        f"- {row['label']}: {row['skipped'] or _unfinished(row)}"
        for row in table["rows"]
        if row["skipped"] or row["unfinished"]
    ]
    missing += [
        f"- {row['label']} trained exactly as {labels[row['twin_of']]}, to the last digit"
        for row in table["rows"]
        if row["twin_of"]
    ]
    if missing:
        parts.append("\n".join(["SKIP, and what else to know:", "", *missing]))
    if table["claims"]:
        parts.append("\n".join([f"{head}# Claims", "", *claim_lines([table])]))
    return "\n\n".join(parts) + "\n"


def claim_lines(tables: Sequence[Mapping]) -> list[str]:
    """The claims of ablations as lines of one Markdown table."""
    lines = ["| claim | paper | here | verdict |", "|---|---|---|---|"]
    for table in tables:
        for text, paper, told, verdict, why in claim_cells(table):
            told, why = told or "no run", f" {why}" if why else ""
            lines.append(f"| {text} | {paper} | {told} | **{verdict}**{why} |")
    return lines


def claim_cells(table: Mapping) -> list[tuple[str, str, str, str, str]]:
    """Of each claim its text, the paper's number, ours ("" without one), the verdict, and why."""
    labels, found = {row["name"]: row["label"] for row in table["rows"]}, []
    for claim in table["claims"]:
        told = "; ".join(
            f"{labels[c['first']]} − {labels[c['second']]}: {_points(c)}"
            for c in claim["contrasts"]
        )
        told = "; ".join(filter(None, [told, *claim["missing"]]))
        which = "all queries" if claim["subset"] == "all" else f"active, p ≤ {claim['psi']}"
        metric = claim.get("metric", _FIRST)
        which += "" if metric == _FIRST else f", {_metric(metric)}"
        told += f" ({which})" if claim["contrasts"] else ""
        why = claim["reading"] if claim["verdict"] != "holds" else ""
        found.append((claim["text"], claim["paper"], told, claim["verdict"], why))
    return found


def ablation_figure(table: Mapping) -> Figure:
    """A panel for each setting of one p-value cut-off: top-1% recall of each row.

    Dots are seeds, bars their mean; green and vermilion rows differ from the reference beyond their
    simultaneous interval.
    """
    chosen = settings_of(table)
    first = next((s[1] for s in chosen if s[0] == "active"), None)
    chosen = [s for s in chosen if s[0] == "all" or s[1] == first]
    labels = {row["name"]: row["label"] for row in table["rows"]}
    tall = len(lines_of(table, chosen[0], _FIRST))
    figure = Figure(figsize=(3.6 * len(chosen) + 1.2, 0.28 * tall + 1.4), layout="constrained")
    panels = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, chosen, strict=True):
        lines = [x for x in lines_of(table, setting, _FIRST) if x["row"] != rows.ORACLE]
        for place, line in enumerate(lines):
            colour = _BASELINE if line["baseline"] else _COLOURS.get(line["verdict"], _PLAIN)
            seeds = 100 * np.array(line["seeds"])
            axes.plot(seeds, [place] * len(seeds), "o", color=colour, alpha=0.5, markersize=4)
            axes.plot(
                100 * line["mean"], place, "|", color=colour, markersize=14, markeredgewidth=2
            )
        axes.axvline(100 * lines[0]["chance"], color=_BASELINE, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(lines)), [labels.get(x["row"], x["row"]) for x in lines])
        axes.set_xlim(left=0)
        axes.set_xlabel("top-1% recall, %")
        axes.set_title(_title(table, setting), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def curve_figure(table: Mapping) -> Figure:
    """Top-5% recall of validation pairs against the samples seen, a line for each row.

    A panel of all pairs, and where each run told them apart one of the active ones.
    """
    labels = {row["name"]: row["label"] for row in table["rows"]}
    panels = {"all pairs": [(np.array(c["recall"]), c["sd"]) for c in table["curves"]]}
    if table["curves"] and all(curve.get("active") for curve in table["curves"]):
        seeds = [np.array(curve["active"]) for curve in table["curves"]]
        panels["active pairs"] = [
            (of.mean(axis=0), of.std(axis=0, ddof=1) if len(of) > 1 else None) for of in seeds
        ]
    figure = Figure(figsize=(3.2 * len(panels) + 2.4, 3.6), layout="constrained")
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for number, (curve, (recall, sd)) in enumerate(zip(table["curves"], curves, strict=True)):
            label = labels[curve["row"]] if title == "all pairs" else None
            dashes = ("-", "--", "-.", ":")[number // 8 % 4]
            line = axes.plot(curve["samples"], 100 * recall, dashes, label=label)[0]
            if sd is not None:
                low, high = 100 * (recall - np.array(sd)), 100 * (recall + np.array(sd))
                colour = line.get_color()
                axes.fill_between(
                    curve["samples"], low, high, alpha=0.12, color=colour, linewidth=0
                )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("samples seen")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("validation top-5% recall, %")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _title(table: Mapping, setting: tuple) -> str:
    subset, psi, gallery = setting
    line = lines_of(table, setting, _FIRST)[0]
    queries = "all queries" if subset == "all" else f"active queries (p ≤ {psi:g})"
    own = gallery.replace("_", " ")
    return f"{queries}, {own} gallery ({line['n_queries']:,} / {line['n_gallery']:,})"


def _lines(table: Mapping, setting: tuple) -> list[str]:
    labels = {row["name"]: row["label"] for row in table["rows"]}
    found = dict.fromkeys(line["metric"] for line in table["results"])
    metrics = [name for name in found if lines_of(table, setting, name)]
    titles = [_metric(name) for name in metrics]
    lines = [
        f"| row | {' '.join(f'{title} | Δ | |' for title in titles)}",
        f"|---|{'---:|---:|---|' * len(titles)}",
    ]
    by_metric = [lines_of(table, setting, metric) for metric in metrics]
    for pair in zip(*by_metric, strict=True):
        name = pair[0]["row"]
        cells = [f"{labels.get(name, name)}"]
        for line in pair:
            sd = "" if line["sd"] is None else f" ± {100 * line['sd']:.1f}"
            shown = "" if line["difference"] is None else _points(line)
            cells += [f"{100 * line['mean']:.1f}{sd}", shown, line["verdict"]]
        lines.append(f"| {' | '.join(cells)} |")
    chance = " | ".join(f"{100 * of[0]['chance']:.1f} | | " for of in by_metric)
    return [*lines, f"| chance | {chance}|"]


def _metric(name: str) -> str:
    return METRICS[name].title if name in METRICS else {"ndcg": "nDCG"}.get(name, name)


def _points(line: Mapping) -> str:
    told = f"{100 * line['difference']:+.1f}"
    if line["low"] is None:
        return f"{told} [{rows.NO_INTERVAL}]"
    return f"{told} [{100 * line['low']:+.1f}, {100 * line['high']:+.1f}]"


def _unfinished(row: Mapping) -> str:
    return f"{row['unfinished']} runs are not finished"
