"""What the table, the pictures and the page share: which rows, in which order, in which words.

Takes ``evaluation.json`` as a plain dict (docs/architecture.md, "Contracts") and knows nothing of
how it was made.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from molphenix_jax.evaluation import CONTROL_NAMES, METRICS
from molphenix_jax.evaluation.protocol import FURTHER_GALLERIES, Setting

MODEL = "molphenix"
CHANCE = "chance"
ORACLE = "oracle"
HEADLINE_PSI = 0.01
GRADED_NOTE = (
    "Unseen molecules, profile to molecule, full gallery. A candidate counts by how alike its true "
    "effect is to that of the query, or by having its mechanism; 100 is the best order."
)
GRADED_COLUMNS = ("queries", "by", "model", "number", "nDCG of the best 1%", "model above it")
NO_INTERVAL = "no interval"
_SPLITS = ("unseen_molecules", "unseen_images", "unseen_screen", "heldout_concentration")
_LAST = ("ridge", "knn", "physchem", CHANCE, ORACLE)
_SETTING = ("split", "subset", "psi", "gallery", "direction")


def in_words(setting: Setting) -> str:
    """Queries and gallery in words; the split and the direction are said elsewhere."""
    gallery = setting.gallery.replace("_", " ")
    gallery = "molecules" if gallery == "molecules" else f"{gallery} gallery"
    if setting.subset == "all":
        return f"all, {gallery}"
    return f"{setting.subset.replace('_', ' ')} p ≤ {setting.psi:g}, {gallery}"


def metrics_of(found: Iterable[Mapping]) -> dict[str, str]:
    """The metrics that rows have, with their titles.

    Fewer than `METRICS` where a plugin brings one that the evaluation was made without.
    """
    found = list(found)
    return {name: spec.title for name, spec in METRICS.items() if all(name in row for row in found)}


def setting_of(row: Mapping) -> Setting:
    """The setting of a row.

    Raises:
        ValueError: if the row lacks one of its fields.
    """
    missing = [field for field in _SETTING if field not in row]
    if missing:
        raise ValueError(f"row of evaluation.json without {missing}: {dict(row)}")
    return Setting(*(row[field] for field in _SETTING))


def splits(evaluation: Mapping) -> list[str]:
    """Splits that have results, unseen molecules first: they are what the method is for."""

    def place(split: str):
        kind, _, rest = split.partition(":")
        order = _SPLITS.index(kind) if kind in _SPLITS else len(_SPLITS)
        # Doses in order of size; names and "pooled" after them.
        try:
            return order, 0, float(rest), split
        except ValueError:
            return order, 1, 0.0, split

    return sorted({row["split"] for row in evaluation["results"]}, key=place)


def headline(evaluation: Mapping, split: str) -> list[Setting]:
    """From profile to molecule: active queries at ψ = 0.01 in each gallery, then all.

    Where no perturbation is active at 0.01 the next larger ψ that was computed stands in. Of those
    that are active and not toxic the full gallery alone.
    """
    return [s for s in _shown(evaluation, split) if s.gallery not in FURTHER_GALLERIES]


def further(evaluation: Mapping, split: str) -> list[Setting]:
    """The same queries in the galleries of one dose, of one source, and of molecules."""
    return [s for s in _shown(evaluation, split) if s.gallery in FURTHER_GALLERIES]


def _shown(evaluation: Mapping, split: str) -> list[Setting]:
    found = dict.fromkeys(
        setting_of(row)
        for row in evaluation["results"]
        if row["split"] == split and row["direction"] == "profile_to_molecule"
    )
    psis = sorted({s.psi for s in found if s.psi is not None})
    psi = next((value for value in psis if value >= HEADLINE_PSI), psis[-1] if psis else None)
    active = [s for s in found if s.subset == "active" and s.psi == psi]
    active.sort(key=lambda s: s.gallery)
    alive = [s for s in found if s.subset not in ("all", "active") and s.psi == psi]
    active += [s for s in alive if s.gallery == "full"]
    return active + [s for s in found if s.subset == "all"]


def at(rows: Iterable[Mapping], setting: Setting) -> list[Mapping]:
    """Rows of one setting, the model first, chance and the upper bound last; without controls."""
    chosen = [row for row in rows if row["model"] not in CONTROL_NAMES]
    chosen = [row for row in chosen if setting_of(row) == setting]
    return sorted(chosen, key=lambda row: model_place(row["model"]))


def controls_at(rows: Iterable[Mapping], setting: Setting) -> list[Mapping]:
    """Rows of the controls in one setting, in the order of `CONTROL_NAMES`."""
    chosen = [row for row in rows if row["model"] in CONTROL_NAMES and setting_of(row) == setting]
    return sorted(chosen, key=lambda row: CONTROL_NAMES.index(row["model"]))


def model_place(model: str) -> tuple[int, str]:
    """Sort key of models: ours, others by name, the baselines, chance, oracle, controls."""
    if model == MODEL:
        return 0, model
    if model in CONTROL_NAMES:
        return 2 + len(_LAST) + CONTROL_NAMES.index(model), model
    return (2 + _LAST.index(model), model) if model in _LAST else (1, model)


def best_models(rows: Sequence[Mapping], metric: str) -> set[str]:
    """Models with the best value of the metric; the oracle, an upper bound, is no contestant."""
    values = {row["model"]: row[metric] for row in rows if row["model"] != ORACLE}
    if not values:
        return set()
    best = min(values.values()) if metric == "median_rank_pct" else max(values.values())
    return {model for model, value in values.items() if value == best}


def leads(evaluation: Mapping, setting: Setting) -> dict[str, tuple[str, bool]]:
    """By how many points of top-1% the model leads each other, and whether beyond the interval."""
    found = {}
    for row in evaluation.get("comparisons", ()):
        if row["metric"] == "top_1pct" and setting_of(row) == setting:
            ends = interval_of(row["ci"])
            told = f"[{100 * ends[0]:+.1f}, {100 * ends[1]:+.1f}]" if ends else f"[{NO_INTERVAL}]"
            found[row["baseline"]] = (
                f"{100 * row['difference']:+.1f} {told}",
                bool(ends and row["better"]),
            )
    return found


def verdicts(evaluation: Mapping, split: str) -> list[str]:
    """For each headline setting, whether the model beats each baseline beyond the interval.

    Controls come in a sentence of their own, behind it.
    """
    sentences = []
    for setting, of_controls in itertools.product(headline(evaluation, split), (False, True)):
        found = [
            row
            for row in evaluation.get("comparisons", ())
            if setting_of(row) == setting and row["metric"] == "top_1pct"
            if (row["baseline"] in CONTROL_NAMES) == of_controls
        ]
        if not found:
            continue
        found.sort(key=lambda row: model_place(row["baseline"]))
        told = [row for row in found if interval_of(row["ci"])]
        better = [row for row in told if row["better"]]
        worse = [row for row in told if row["ci"][1] < 0]
        level = [row for row in told if row not in better and row not in worse]
        untold = [row for row in found if row not in told]
        parts = [
            f"{verb} {_listed([_difference(row) for row in group])}"
            for verb, group in (
                ("beats", better),
                ("does not beat", level),
                ("is worse than", worse),
                ("cannot be told from", untold),
            )
            if group
        ]
        controls = ", controls" if of_controls else ""
        said = f"{found[0]['model']} {'; it '.join(parts)}"
        sentences.append(f"{in_words(setting)}{controls}: {said}.")
    return sentences


def share(value: float) -> str:
    """A share in [0, 1] as percent with one digit after the point."""
    return f"{100 * value:.1f}"


def with_interval(row: Mapping, metric: str) -> str:
    """Percent with its 95% interval: ``7.1 [6.1, 8.3]``; chance has none worth showing."""
    if row["model"] == CHANCE:
        return share(row[metric])
    ends = interval_of(row[f"{metric}_ci"])
    if ends is None:
        return f"{share(row[metric])} [{NO_INTERVAL}]"
    return f"{share(row[metric])} [{share(ends[0])}, {share(ends[1])}]"


def graded(evaluation: Mapping) -> list[list[str]]:
    """Cells of the graded relevance of unseen molecules; see `GRADED_COLUMNS`."""
    found = [row for row in evaluation.get("graded", ()) if row["split"] == "unseen_molecules"]
    cells = []
    for row in sorted(found, key=lambda row: (row["psi"] or 2, model_place(row["model"]))):
        queries = "all" if row["psi"] is None else f"active, p ≤ {row['psi']:g}"
        told = [
            "" if row.get(name) is None else with_interval({**row, "ndcg_ci": ends}, name)
            for name, ends in (("ndcg", row["ndcg_ci"]), ("difference", row.get("difference_ci")))
        ]
        cells.append([queries, row["graded_by"], row["model"], str(row["n_queries"]), *told])
    return cells


def interval_of(ends: Sequence[float] | None) -> tuple[float, float] | None:
    """The interval, or None where there is none: no width is no interval."""
    if ends is None or ends[1] - ends[0] < 1e-12:
        return None
    return ends[0], ends[1]


def split_title(split: str) -> str:
    """The split in words."""
    kind, _, rest = split.partition(":")
    words = kind.replace("heldout", "held-out").replace("_", " ").capitalize()
    if not rest:
        return words
    if kind == "heldout_concentration" and rest != "pooled":
        return f"{words}: {rest} µM"
    return f"{words}: {rest}"


def missing_line(missing: Mapping) -> str:
    """One entry of ``not_computed`` in words."""
    psi = "" if missing["psi"] is None else f" (p ≤ {missing['psi']:g})"
    return f"{split_title(missing['split'])}, {missing['subset']}{psi}: {missing['reason']}"


def _difference(row: Mapping) -> str:
    ends, points = interval_of(row["ci"]), f"{100 * row['difference']:+.1f} points"
    if ends is None:
        return f"{row['baseline']} ({points}; not enough molecules for an interval)"
    low, high = ends
    return f"{row['baseline']} ({points}, 95% interval {100 * low:+.1f} to {100 * high:+.1f})"


def _listed(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"
