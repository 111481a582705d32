"""Runs side by side: recall of each on the same queries, paired differences to the first."""

import dataclasses
import io
from collections.abc import Mapping

import pandas as pd
import rich.box
import rich.console
import rich.markup
import rich.table

from molphenix_jax.errors import InputError
from molphenix_jax.evaluation import METRICS, Ranks, paired_difference, summarise
from molphenix_jax.evaluation.kept import PairingError, paired_ranks
from molphenix_jax.evaluation.protocol import FURTHER_GALLERIES, Setting
from molphenix_jax.reporting import rows

_DIRECTION = "profile_to_molecule"


def compare_runs(
    frames: Mapping[str, pd.DataFrame],
    *,
    split: str = "unseen_molecules",
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Recall of runs on the queries that all of them were asked, profile to molecule.

    Args:
        frames: Ranks of each run (``evaluation.kept.ranks_frame``), by its name; the first is the
            one that the others are compared with.
        split: Which split.
        n_bootstrap: Resamples of molecules for the intervals.
        seed: Of the resampling.

    Returns:
        A row for each setting and run: ``subset``, ``psi``, ``gallery``, ``run``, ``n_queries``,
        ``n_gallery``, ``top_1pct`` and ``top_5pct`` (shares) with ``_low`` and ``_high``,
        ``median_rank_pct``, and ``top_1pct_difference`` … to the first run with their ends, missing
        in its own rows and where there is no interval. And of each run how many of its rows of the
        split have no partner.

    Raises:
        InputError: The runs have no query of the split in common.
    """
    chosen = {
        name: frame.loc[
            (frame["split"] == split)
            & (frame["direction"] == _DIRECTION)
            & ~frame["gallery"].isin(FURTHER_GALLERIES)
        ]
        for name, frame in frames.items()
    }
    for name, frame in chosen.items():
        if frame.empty:
            known = sorted(set(frames[name]["split"].astype(str)))
            told = f"it has {', '.join(known)}" if known else "it has none at all"
            raise InputError(f"{name} has no queries of the split {split!r}: {told}")
    try:
        ranks, alone = paired_ranks(chosen, model=rows.MODEL)
    except PairingError as error:
        raise InputError(
            f"{error}; compare runs on one screen with the same data.split_seed and data.folds"
        ) from error
    first, *others = frames
    own = [
        row
        for row in summarise(ranks, n_bootstrap=n_bootstrap, seed=seed)
        if row["model"] != rows.CHANCE
    ]
    differences = {
        (rows.setting_of(row), name, row["metric"]): row
        for name in others
        for row in paired_difference(
            _of_two(ranks, first, name), model=name, n_bootstrap=n_bootstrap, seed=seed
        )
        if row["baseline"] == first
    }
    table = [_row(row, differences) for row in own]
    return pd.DataFrame(table), alone


def comparison_text(table: pd.DataFrame, *, split: str, width: int = 120) -> str:
    """The table for a terminal, in % of queries with 95% intervals over molecules."""
    first = table["run"].iloc[0]
    shown = rich.table.Table(
        title=f"{rich.markup.escape(rows.split_title(split))}: profile to molecule, % of queries "
        f"\\[95% interval]; Δ: points above {rich.markup.escape(first)} on the same queries",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("setting", "run"):
        shown.add_column(column)
    for column in (
        "queries",
        *(f for m in METRICS.values() for f in (m.title, "Δ")),
        "median rank",
    ):
        shown.add_column(column, justify="right", no_wrap=True)
    before = None
    for row in table.to_dict("records"):
        psi = None if pd.isna(row["psi"]) else row["psi"]
        setting = rows.in_words(Setting(split, row["subset"], psi, row["gallery"], _DIRECTION))
        if before not in (None, setting):
            shown.add_section()
        cells = [
            cell for metric in METRICS for cell in (_value(row, metric), _difference(row, metric))
        ]
        shown.add_row(
            setting if setting != before else "",
            rich.markup.escape(row["run"]),
            str(row["n_queries"]),
            *cells,
            f"{row['median_rank_pct']:.1f}",
        )
        before = setting
    text = io.StringIO()
    rich.console.Console(file=text, width=width, highlight=False).print(shown)
    return text.getvalue()


def _of_two(ranks: Ranks, first: str, other: str) -> Ranks:
    return dataclasses.replace(
        ranks,
        tables=tuple(
            dataclasses.replace(table, rank={name: table.rank[name] for name in (first, other)})
            for table in ranks.tables
        ),
    )


def _row(row: Mapping, differences: Mapping) -> dict:
    setting = rows.setting_of(row)
    told = {name: row[name] for name in ("subset", "psi", "gallery")}
    told |= {"run": row["model"], "n_queries": row["n_queries"], "n_gallery": row["n_gallery"]}
    for metric in METRICS:
        low, high = rows.interval_of(row[f"{metric}_ci"]) or (None, None)
        told |= {metric: row[metric], f"{metric}_low": low, f"{metric}_high": high}
    told["median_rank_pct"] = row["median_rank_pct"]
    for metric in METRICS:
        found = differences.get((setting, row["model"], metric))
        low, high = (found and rows.interval_of(found["ci"])) or (None, None)
        name = f"{metric}_difference"
        told |= {name: found and found["difference"], f"{name}_low": low, f"{name}_high": high}
    return told


def _value(row: Mapping, metric: str) -> str:
    return _with_ends(rows.share(row[metric]), row, metric, "{:.1f}")


def _difference(row: Mapping, metric: str) -> str:
    value = row[f"{metric}_difference"]
    if value is None or pd.isna(value):
        return ""
    return _with_ends(f"{100 * value:+.1f}", row, f"{metric}_difference", "{:+.1f}")


def _with_ends(text: str, row: Mapping, name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None or pd.isna(low):
        return rich.markup.escape(f"{text} [{rows.NO_INTERVAL}]")
    ends = ", ".join(form.format(100 * end) for end in (low, high))
    return rich.markup.escape(f"{text} [{ends}]")
