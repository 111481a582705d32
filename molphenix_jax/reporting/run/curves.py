"""Pictures of a finished run, as matplotlib figures, one a panel; the caller saves them.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; lines differ
in dash and marker as well. Figures are made without pyplot, so nothing global is touched.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from molphenix_jax.evaluation import METRICS, chance_field
from molphenix_jax.reporting import rows

_COLOURS = {
    rows.MODEL: "#0072B2",
    "ridge": "#009E73",
    "knn": "#E69F00",
    "physchem": "#CC79A7",
    rows.CHANCE: "#777777",
    rows.ORACLE: "#000000",
}
_OTHERS = ("#D55E00", "#56B4E9", "#8C6D31")
_DASHES = {
    "ridge": (0, (6, 2)),
    "knn": (0, (6, 2, 1, 2)),
    "physchem": (0, (3, 1.5)),
    rows.CHANCE: (0, (4, 3)),
    rows.ORACLE: (0, (1, 1.5)),
}
_MARKERS = {rows.MODEL: "o", "ridge": "s", "knn": "^", "physchem": "D"}
_PANEL = (4.2, 3.2)


def training_figure(
    metrics: Mapping[str, Sequence[Mapping]], *, loss_key: str, recall_key: str
) -> list[Figure]:
    """Training loss and validation recall over the steps, a thin line for each fold.

    Args:
        metrics: rows of ``metrics.jsonl`` by the name of the fold; each row has ``step``.
        loss_key: field of the training loss.
        recall_key: field of the validation recall, a share in [0, 1].

    Raises:
        ValueError: if no row holds a field; the message names those there are.
    """
    figures, panels = _panels(2)
    for axes, key, label, factor in (
        (panels[0], loss_key, "training loss", 1.0),
        (panels[1], recall_key, "validation top-1% recall, %", 100.0),
    ):
        series = {
            fold: [(row["step"], factor * row[key]) for row in found if key in row]
            for fold, found in metrics.items()
        }
        if not any(series.values()):
            known = sorted({field for found in metrics.values() for row in found for field in row})
            raise ValueError(f"no row of the metrics has {key!r}; there are {known}")
        single = len(series) == 1
        for number, (fold, points) in enumerate(series.items()):
            step, value = np.array(points, np.float64).reshape(-1, 2).T
            # One colour for all folds: what matters is how far they lie apart.
            axes.plot(
                step,
                value,
                color=_COLOURS[rows.MODEL],
                linewidth=1.6 if single else 0.8,
                alpha=1.0 if single else 0.6,
                marker="." if len(points) < 2 else None,
                label=fold if single else ("one line a fold" if number == 0 else None),
            )
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
    if len(metrics) > 1:
        panels[0].legend(frameon=False)
    panels[1].set_ylim(bottom=0)
    return figures


def recall_figure(evaluation: Mapping, split: str, *, metric: str = "top_1pct") -> list[Figure]:
    """Recall of each model with its 95% interval; chance is the dashed line.

    The oracle is a number in the corner: on the scale of an upper bound the others would vanish.
    """
    settings = rows.headline(evaluation, split)
    figures, panels = _panels(len(settings))
    right = 0.0
    for axes, setting in zip(panels, settings, strict=True):
        found = rows.at(evaluation["results"], setting)
        bars = [row for row in found if row["model"] not in (rows.CHANCE, rows.ORACLE)]
        names = [row["model"] for row in bars]
        value = 100 * np.array([row[metric] for row in bars])
        known = [rows.interval_of(row[f"{metric}_ci"]) or [row[metric]] * 2 for row in bars]
        ends = 100 * np.array(known).reshape(-1, 2)
        place = np.arange(len(bars))
        axes.barh(place, value, color=_colours(names), height=0.62)
        axes.hlines(place, ends[:, 0], ends[:, 1], color="#222222", linewidth=1.4)
        chance = 100 * found[0][chance_field(metric)]
        axes.axvline(chance, color=_COLOURS[rows.CHANCE], linestyle=_DASHES[rows.CHANCE])
        right = max([right, chance, *ends[:, 1]])
        for y, v, end in zip(place, value, ends[:, 1], strict=True):
            axes.annotate(
                f"{v:.1f}",
                (end, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(place, names)
        axes.tick_params(axis="y", length=0)
        oracle = "".join(
            f", oracle {rows.share(r[metric])}" for r in found if r["model"] == rows.ORACLE
        )
        axes.set_xlabel(f"{METRICS[metric].title} recall, % (chance {chance:.1f}{oracle})")
        axes.set_title(f"{rows.in_words(setting)}\n{found[0]['n_queries']} queries", fontsize=10)
    for axes in panels:
        axes.set_xlim(0, 1.15 * right)
        axes.invert_yaxis()
    return figures


def rank_figure(evaluation: Mapping, split: str) -> list[Figure]:
    """Share of queries whose own candidate is within the top K%, for every K."""
    settings = rows.headline(evaluation, split)
    figures, panels = _panels(len(settings))
    for axes, setting in zip(panels, settings, strict=True):
        for row in rows.at(evaluation["rank_curves"], setting):
            model = row["model"]
            axes.plot(
                row["percent"],
                100 * np.array(row["recall"]),
                label=model,
                color=_colours([model])[0],
                linestyle=_DASHES.get(model, "-"),
                linewidth=2.0 if model == rows.MODEL else 1.3,
            )
        axes.set_xscale("log")
        axes.set_xlim(0.1, 100)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.set_xlabel("top K% of the gallery")
        axes.set_ylabel("queries found, %")
        axes.set_title(rows.in_words(setting), fontsize=10)
    _legends_below(figures, panels)
    return figures


def dose_figure(evaluation: Mapping, split: str, *, metric: str = "top_1pct") -> list[Figure]:
    """Recall at each concentration; the band is the 95% interval of the model.

    Intervals of the others would only hide each other, and are in ``evaluation.json``. The oracle
    is left out as in ``recall_figure``.

    Raises:
        ValueError: if the split has no rows by concentration.
    """
    by_dose = [row for row in evaluation["by_concentration"] if row["split"] == split]
    found = {s: rows.at(by_dose, s) for s in rows.headline(evaluation, split)}
    settings = [setting for setting, of in found.items() if of]
    if not settings:
        raise ValueError(f"no rows by concentration for split {split!r}")
    figures, panels = _panels(len(settings))
    for axes, setting in zip(panels, settings, strict=True):
        models = dict.fromkeys(row["model"] for row in found[setting])
        for model in models:
            if model == rows.ORACLE:
                continue
            line = [row for row in found[setting] if row["model"] == model]
            line.sort(key=lambda row: row["concentration_um"])
            dose = [row["concentration_um"] for row in line]
            low, high = 100 * np.array([row[f"{metric}_ci"] or [row[metric]] * 2 for row in line]).T
            colour = _colours([model])[0]
            axes.plot(
                dose,
                [100 * row[metric] for row in line],
                color=colour,
                linestyle=_DASHES.get(model, "-"),
                marker=None if model == rows.CHANCE else _MARKERS.get(model, "v"),
                markersize=4,
                linewidth=2.0 if model == rows.MODEL else 1.0,
                label=model,
            )
            if model == rows.MODEL:
                axes.fill_between(dose, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.set_xlabel("concentration, µM")
        axes.set_ylabel(f"{METRICS[metric].title} recall, %")
        axes.set_title(rows.in_words(setting), fontsize=10)
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)
    _legends_below(figures, panels)
    return figures


_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def _panels(number: int) -> tuple[list[Figure], list[Axes]]:
    # A figure each: a narrow page puts them below one another, at a size that can be read.
    figures = [Figure(figsize=_PANEL, layout="constrained") for _ in range(number)]
    panels = [figure.subplots() for figure in figures]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figures, panels


def _legends_below(figures: Sequence[Figure], panels: Sequence[Axes]) -> None:
    for figure, axes in zip(figures, panels, strict=True):
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=min(3, len(names)),
            frameon=False,
            fontsize=9,
        )


def _colours(models: Sequence[str]) -> list[str]:
    # A name outside the list keeps its colour from picture to picture.
    return [_COLOURS.get(m, _OTHERS[sum(map(ord, m)) % len(_OTHERS)]) for m in models]
