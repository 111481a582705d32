"""Wells and features that are left out for what they hold: outlying controls, absurd values."""

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.phenomics import ABSURD, DISTANCE_LIMIT, FEATURE_LIMIT, Judged, judge_wells
from molphenix_jax.tables.columns import short
from molphenix_jax.tables.reading.spool import SpooledRows
from molphenix_jax.wells.checked import CheckedRows, Treatments

_NAMED = 5


def set_aside(
    rows: CheckedRows,
    wells: Treatments,
    row: Int[np.ndarray, " n"],
    used: Int[np.ndarray, " d"],
    labels: np.ndarray,
    group_by: str,
    features_given: bool,
    notes: list[str],
) -> Int[np.ndarray, " k"]:
    """Rejects controls far from the others, and wells with values that no biology gives.

    What is judged and how stands in `phenomics.outliers`. Each condition is judged by itself: cells
    of another line are no yardstick. What one drops is dropped for all.

    Args:
        rows: the wells, without gaps; some are rejected here.
        wells: what was done to them.
        row: row in the spool of each.
        used: features in use.
        labels: names of all features.
        group_by: what the correction groups are, plates or batches, in words.
        features_given: keep every feature.
        notes: takes a sentence on what was set aside or dropped.

    Returns:
        The features that stay in use.
    """
    kept = np.flatnonzero(rows.kept)
    if not len(kept):
        return used
    judged = _judged(rows, wells, row, used, kept, features_given, notes)
    place = wells.plate[kept] + " " + wells.well[kept]
    if judged.outlier.any():
        outlier = np.flatnonzero(judged.outlier)
        distance = judged.distance[outlier]
        reasons = [
            f"control at distance {d:.1f} from the controls of its {group_by} (in robust SDs, each "
            f"feature counted up to {FEATURE_LIMIT:g}), limit {DISTANCE_LIMIT:g}: set aside"
            for d in distance
        ]
        _reject(rows, kept[outlier], "well", place[outlier], reasons)
        named = [f"{p} ({d:.1f})" for p, d in zip(place[outlier], distance, strict=True)]
        notes.append(
            f"{_count(len(outlier), 'control well')} set aside, at distances above "
            f"{DISTANCE_LIMIT:g} from the controls of the same {group_by}: {short(named, _NAMED)}"
        )
    yardstick = "the controls" if judged.by_controls else "the wells"
    if len(np.unique(wells.condition[kept])) > 1:
        yardstick += " of its condition"
    if judged.absurd.any():
        absurd = np.flatnonzero(judged.absurd)
        worst = used[judged.worst[absurd]]
        reasons = [
            f"well {p}: {k} of {len(used)} features lie beyond {ABSURD:,.0f} robust SDs of "
            f"{yardstick}, this one {z:.3g}: set aside"
            for p, k, z in zip(
                place[absurd], judged.n_absurd[absurd], judged.deviation[absurd], strict=True
            )
        ]
        values = rows.raw.spool[row[kept[absurd]]][np.arange(len(absurd)), worst].astype(str)
        _reject(rows, kept[absurd], labels[worst], values, reasons)
        notes.append(
            f"{_count(len(absurd), 'well')} set aside with values beyond {ABSURD:,.0f} robust SDs "
            f"of {yardstick}: {short(list(place[absurd]), _NAMED)}"
        )
    if judged.exploding.any():
        names = labels[used[judged.exploding]].tolist()
        notes.append(
            f"{len(names)} of {len(used)} features dropped, exploding: beyond {ABSURD:,.0f} robust "
            f"SDs of {yardstick}: {short(names, _NAMED)}"
        )
    return used[~judged.exploding]


def _judged(
    rows: CheckedRows,
    wells: Treatments,
    row: Int[np.ndarray, " n"],
    used: Int[np.ndarray, " d"],
    kept: Int[np.ndarray, " k"],
    features_given: bool,
    notes: list[str],
) -> Judged:
    """What is found in the kept wells, condition by condition."""

    def judge(part: Int[np.ndarray, " p"], features: Int[np.ndarray, " f"]) -> Judged:
        return judge_wells(
            SpooledRows(rows.raw.spool, row[part], used[features]),
            pd.factorize(wells.group[part])[0],
            wells.is_control[part],
            features_given=features_given,
        )

    every = np.arange(len(used))
    condition = wells.condition[kept]
    members = [np.flatnonzero(condition == c) for c in np.unique(condition)]
    found = [judge(kept[at], every) for at in members]
    exploding = np.logical_or.reduce([one.exploding for one in found])
    joined = dataclasses.replace(
        Judged.nothing(len(kept), len(used)),
        exploding=exploding,
        by_controls=all(one.by_controls for one in found),
    )
    for at, one in zip(members, found, strict=True):
        features = every[one.exploding | ~exploding]
        if len(features) < len(every):  # without what another condition drops
            one = judge(kept[at], features)
        for name in ("distance", "outlier", "absurd", "n_absurd", "deviation"):
            getattr(joined, name)[at] = getattr(one, name)
        joined.worst[at] = features[one.worst]
        notes += [note for note in one.notes if note not in notes]
    return joined


def _reject(rows: CheckedRows, at: np.ndarray, field, values: np.ndarray, reasons: list) -> None:
    mask = np.zeros(len(rows.kept), bool)
    mask[at] = True
    full = {}
    for name, given in (("field", field), ("value", values), ("reason", reasons)):
        full[name] = np.full(len(mask), "", object)
        full[name][at] = given
    rows.reject(
        mask, field if isinstance(field, str) else full["field"], full["value"], full["reason"]
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n > 1 else ''}"
