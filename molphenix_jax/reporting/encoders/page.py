"""The page of a pretrained image encoder: neighbours, reconstructions, training."""

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from molphenix_jax.evaluation.neighbours import ImageLabels
from molphenix_jax.reporting.page import html_page, html_table, picture
from molphenix_jax.reporting.rows import NO_INTERVAL, interval_of
from molphenix_jax.storage import write_text

_COLOURS = {"mae": "#0072B2", "untrained": "#E69F00", "intensity": "#009E73"}
_TREATMENTS = ("#777777", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SUBSETS = {
    "all": "all images",
    "unseen": "images that the training had not seen",
}
_STANDARDISE = {
    "plate": "each plate was brought to mean 0, without a look at labels",
    "none": "embeddings were taken as they are",
}


def write_encoder_page(
    workdir: pathlib.Path,
    record: Mapping[str, Any],
    metrics: Sequence[Sequence[Mapping[str, Any]]],
    reconstructions: Figure | None,
    *,
    embeddings: Mapping[str, Sequence[np.ndarray]],
    labels: ImageLabels | None,
    title: str,
) -> pathlib.Path:
    """Writes `report/` below the run's folder, over what an earlier call wrote.

    Args:
        workdir: The run's folder.
        record: Contents of `evaluation.json`.
        metrics: Rows of `metrics.jsonl` of each fold.
        reconstructions: The picture of painted patches; None leaves it out.
        embeddings: Model → one embedding [n, d] for each seed, as the record was made from.
        labels: Of the images.
        title: Heading of the page.

    Returns:
        Path of `report/index.html`; beside it PNGs and `results.md`.
    """
    folder = workdir / "report"
    write_text(folder / "results.md", neighbour_text(record))
    body = [f"<h1>{html.escape(title)}</h1>"]
    if record.get("results"):
        body.append("<h2>Nearest neighbours</h2>")
        body.append(f'<p class="note">{html.escape(_explanation(record))}</p>')
        body.append(html_table(*_table(record), text_columns=3))
        verdicts = "".join(f"<li>{html.escape(line)}</li>" for line in verdict_lines(record))
        body.append(f"<p>Trained minus untrained, paired by image:</p><ul>{verdicts}</ul>")
        body.append(
            picture(
                folder,
                "neighbours.png",
                _bars(record),
                "Balanced accuracy on all images: bars are means over the seeds with 95% intervals "
                "over wells, dots single seeds, the dashed line chance.",
            )
        )
        if labels is not None:
            body.append(
                picture(
                    folder,
                    "map.png",
                    _maps(embeddings, labels),
                    "Every image in the two first principal components of each embedding (first "
                    "seed), coloured by treatment; grey are controls.",
                )
            )
    for line in record.get("not_computed", ()):
        body.append(f"<p>Not computed: {html.escape(line)}.</p>")
    if reconstructions is not None:
        body.append("<h2>Reconstructions</h2>")
        caption = (
            "Crops of held-back images: as they are, the patches that the encoder saw (hidden ones "
            "in blue), and the hidden ones painted in by the decoders."
        )
        body.append(picture(folder, "reconstructions.png", reconstructions, caption))
    body.append("<h2>Training</h2>")
    mse = [v["validation_mse"] for v in record["validation"]]
    nothing = [v["validation_mse_of_nothing"] for v in record["validation"]]
    body.append(
        f"<p>Squared error on hidden patches of held-back images: {_list(mse)}; painting each "
        f"channel's mean: {_list(nothing)}.</p>"
    )
    body.append(
        picture(folder, "training.png", _training(metrics), f"{len(metrics)} run(s), a line each.")
    )
    index = folder / "index.html"
    write_text(index, html_page(title, body))
    return index


def neighbour_text(record: Mapping[str, Any]) -> str:
    """The table and the verdicts as Markdown."""
    if not record.get("results"):
        return "".join(f"not computed: {line}\n" for line in record.get("not_computed", ()))
    columns, content = _table(record)
    lines = [_explanation(record), "", f"| {' | '.join(columns)} |"]
    lines.append(f"|{'---|' * 3}{'---:|' * (len(columns) - 3)}")
    lines += [f"| {' | '.join(cells)} |" for cells in content]
    lines += ["", *(f"- {line}" for line in verdict_lines(record))]
    return "\n".join(lines) + "\n"


def verdict_lines(record: Mapping[str, Any]) -> list[str]:
    """What trained minus untrained comes to, one sentence for each question and subset."""
    lines = []
    for row in record["differences"]:
        first, second = row["models"]
        ends = interval_of(row["ci"])
        low, high = ends or (0.0, 0.0)
        word = "beats" if low > 0 else "is below" if high < 0 else "is not told apart from"
        interval = (
            f"{100 * low:+.1f}, {100 * high:+.1f}" if ends else "not enough wells for an interval"
        )
        lines.append(
            f"{row['text']} ({_SUBSETS[row['subset']]}): {first} {word} {second}, "
            f"{100 * row['difference']:+.1f} points [{interval}]; "
            f"by seed {', '.join(f'{100 * s:+.1f}' for s in row['seeds'])}"
        )
    return lines


def _explanation(record: Mapping[str, Any]) -> str:
    return (
        "Is the nearest image (cosine) of the same kind? Balanced accuracy in % [95% interval over "
        f"wells], then the single seeds; {_STANDARDISE[record['standardise']]}."
    )


def _table(record: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    columns = ("question", "queries", "model", "balanced accuracy", "by seed")
    content, before = [], None
    for row in record["results"]:
        place = (row["question"], row["subset"])
        ends = interval_of(row["ci"])
        interval = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else f" [{NO_INTERVAL}]"
        interval = "" if row["model"] == "chance" else interval
        content.append(
            [
                "" if place == before else row["text"],
                ""
                if place == before
                else f"{row['n_queries']} in {row['n_wells']} wells, {_SUBSETS[row['subset']]}",
                row["model"],
                f"{100 * row['balanced_accuracy']:.1f}{interval}",
                " ".join(f"{100 * s:.1f}" for s in row["seeds"]) if len(row["seeds"]) > 1 else "",
            ]
        )
        before = place
    return columns, content


def _bars(record: Mapping[str, Any]) -> Figure:
    found = [row for row in record["results"] if row["subset"] == "all"]
    names = list(dict.fromkeys(row["question"] for row in found))
    figure = Figure(figsize=(2.3 * len(names) + 1, 3.4), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        of_name = {row["model"]: row for row in found if row["question"] == name}
        chance = of_name.pop("chance")
        for k, (model, row) in enumerate(of_name.items()):
            value, ends = row["balanced_accuracy"], interval_of(row["ci"])
            axes.bar(k, 100 * value, color=_COLOURS[model], width=0.7)
            if ends:
                below, above = max(value - ends[0], 0), max(ends[1] - value, 0)
                around = [[100 * below], [100 * above]]
                axes.errorbar(k, 100 * value, yerr=around, color="#222", capsize=3, linewidth=1)
            if len(row["seeds"]) > 1:
                spread = k + np.linspace(-0.2, 0.2, len(row["seeds"]))
                dots = [100 * s for s in row["seeds"]]
                axes.plot(spread, dots, ".", color="#222", alpha=0.6, markersize=5)
        axes.axhline(100 * chance["balanced_accuracy"], color="#777", dashes=(4, 3), linewidth=1)
        axes.set_xticks(range(len(of_name)), list(of_name), rotation=20)
        text = chance["text"].replace("? neighbours", "?\nneighbours").replace(", in", ",\nin")
        axes.set_title(text.replace("other fields", "other\nfields"), fontsize=8)
        axes.set_ylim(0, 105)
    panels[0].set_ylabel("balanced accuracy, %")
    return figure


def _maps(embeddings: Mapping[str, Sequence[np.ndarray]], labels: ImageLabels) -> Figure:
    figure = Figure(figsize=(3.2 * len(embeddings) + 0.4, 3.7), layout="constrained")
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    treatments = sorted(set(labels.treatment[~labels.is_control]))
    for axes, (model, seeds) in zip(panels, embeddings.items(), strict=True):
        z = np.asarray(seeds[0], np.float64)
        u, s, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
        x, y = (u[:, :2] * s[:2]).T
        groups = [("control", labels.is_control)]
        groups += [(t, (labels.treatment == t) & ~labels.is_control) for t in treatments]
        for k, (name, rows) in enumerate(groups):
            colour = _TREATMENTS[min(k, len(_TREATMENTS) - 1)]
            axes.scatter(x[rows], y[rows], s=14, color=colour, label=name if k < 7 else None)
        axes.set_title(model, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _training(metrics: Sequence[Sequence[Mapping[str, Any]]]) -> Figure:
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, label in (
        (panels[0], "loss", "training loss"),
        (panels[1], "validation_mse", "squared error on held-back images"),
    ):
        for rows in metrics:
            points = [(row["step"], row[key]) for row in rows if key in row]
            step, value = np.array(points, np.float64).reshape(-1, 2).T
            axes.plot(step, value, color=_COLOURS["mae"], linewidth=1, alpha=0.7)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    return figure


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)
