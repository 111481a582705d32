"""The results of a run as cells of tables, as one CSV, and as Markdown."""

from collections.abc import Mapping

import pandas as pd

from molphenix_jax.evaluation import chance_field
from molphenix_jax.evaluation.ranks import cutoff
from molphenix_jax.reporting import rows

_MRR = "mean 1/rank"
CONTROLS = "Controls, which know no chemistry, or no training: what could be found without"
FURTHER = "The same queries among candidates of one dose, of one source, and among molecules"
GRADED = "Graded relevance: is what stands first like the own perturbation?"


def results_table(evaluation: Mapping) -> pd.DataFrame:
    """Every row of ``evaluation.json``; intervals are two columns each, empty without one."""
    return pd.DataFrame(full_rows(evaluation), columns=full_columns(evaluation), dtype=object)


def results_markdown(evaluation: Mapping, *, title: str) -> str:
    """Headline table and verdicts of each split, and what was not computed."""
    lines, headline = [f"# {_markdown(title)}"], headline_columns(evaluation)
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
        for cells, best in headline_rows(evaluation, split):
            shown = [
                f"**{_markdown(cell)}**" if column in best else _markdown(cell)
                for column, cell in zip(headline, cells, strict=True)
            ]
            lines.append(f"| {' | '.join(shown)} |")
        lines += ["", *(f"- {_markdown(s)}" for s in rows.verdicts(evaluation, split))]
        for told, cells in (
            (CONTROLS, control_rows(evaluation, split)),
            (FURTHER, further_rows(evaluation, split)),
        ):
            if cells:
                lines += ["", f"{told}:", "", f"| {' | '.join(headline)} |"]
                lines.append(f"|{'---|' * 2}{'---:|' * (len(headline) - 2)}")
                lines += [f"| {' | '.join(map(_markdown, row))} |" for row in cells]
    if graded := rows.graded(evaluation):
        lines += ["", f"## {GRADED}", "", f"| {' | '.join(rows.GRADED_COLUMNS)} |"]
        lines.append(f"|{'---|' * 3}{'---:|' * 3}")
        lines += [f"| {' | '.join(map(_markdown, row))} |" for row in graded]
    if reasons := [f"- {_markdown(line)}" for line in left_out(evaluation)]:
        lines += ["", "## Controls that are left out", "", *reasons]
    missing = [f"- {_markdown(rows.missing_line(m))}" for m in evaluation.get("not_computed", ())]
    if missing:
        lines += ["", "## Not computed", "", *missing]
    return "\n".join(lines) + "\n"


def headline_rows(evaluation: Mapping, split: str) -> list[tuple[list[str], set[str]]]:
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


def control_rows(evaluation: Mapping, split: str) -> list[list[str]]:
    """Cells of the controls of each headline setting."""
    result, shown = [], rows.metrics_of(evaluation["results"])
    for setting in rows.headline(evaluation, split):
        found = rows.controls_at(evaluation["results"], setting)
        result += [_cells(row, shown, first=not number) for number, row in enumerate(found)]
    return result


def further_rows(evaluation: Mapping, split: str) -> list[list[str]]:
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


def headline_columns(evaluation: Mapping) -> list[str]:
    """Columns of the tables of a split."""
    metrics = rows.metrics_of(evaluation["results"]).values()
    return ["setting", "model", "queries", "gallery", *metrics, _MRR, "median rank"]


def full_columns(evaluation: Mapping) -> list[str]:
    """Columns of the table of every row; those of an interval are two."""
    metrics = rows.metrics_of(evaluation["results"])
    return [
        *("split", "subset", "psi", "gallery", "direction", "model", "n_queries", "n_gallery"),
        *(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")),
        "median_rank_pct",
        "mean_reciprocal_rank",
        *map(chance_field, metrics),
    ]


def full_rows(evaluation: Mapping) -> list[list[str]]:
    """Cells of every row of ``evaluation.json``, numbers to six digits."""
    result, columns = [], full_columns(evaluation)
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


def left_out(evaluation: Mapping) -> list[str]:
    """Why controls are left out, a sentence each."""
    return [f"{name}: {why}" for name, why in evaluation.get("left_out", {}).items()]


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
