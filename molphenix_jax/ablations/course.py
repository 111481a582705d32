"""How recall goes with the samples seen: the curves of an ablation, and the paper's Fig. 4."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from molphenix_jax.ablations.running import Planned
from molphenix_jax.runtime.workdir.folder import fold_folder
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics

LONG = ("decide", "full")  # tiers whose training is long enough to stagnate
# Top-1% of a small validation set is fewer pairs than a molecule has doses (`judging._claim`).
_ALL, _ACTIVE = "validation_top_5pct", "validation_active_top_5pct"


def metrics_of(run: Planned) -> pathlib.Path:
    """The metrics of its first fold."""
    d = run.config.data
    return fold_folder(run.folder, 0, d.folds * d.repeats) / METRICS_FILE


def curve(name: str, runs: Sequence[Planned]) -> dict[str, Any]:
    """Top-5% recall of validation pairs against the samples seen, of each seed.

    Args:
        name: Of the row.
        runs: All of it, finished.

    Returns:
        `row`, `samples`, `recall` of all pairs with its `sd` over seeds, and `active`, that of
        active ones of each seed, in the same gallery: empty where a run did not tell it.
    """
    by_seed: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        if run.cell.dose in (None, runs[0].cell.dose):
            told = read_metrics(metrics_of(run))
            by_seed[run.cell.seed] = [line for line in told if _ALL in line]
    every = list(by_seed.values())
    recall = np.array([[line[_ALL] for line in lines] for lines in every])  # [seeds, points]
    active = all(_ACTIVE in line for lines in every for line in lines)
    return {
        "row": name,
        "samples": [line["step"] * runs[0].config.train.batch_size for line in every[0]],
        "recall": recall.mean(axis=0).tolist(),
        "sd": recall.std(axis=0, ddof=1).tolist() if len(every) > 1 else None,
        "active": [[line[_ACTIVE] for line in lines] for lines in every] if active else [],
    }


def stagnation(tables: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Fig. 4: whether active pairs gain more than all of them in the second half of training.

    Recall of the last quarter of the validations is compared with that of the second, as a share of
    the latter. Seeds are too few for intervals, so that the claim holds weakly at best.

    Args:
        tables: Of ablations on the same data; a training that several of them have counts once.

    Returns:
        What is seen in the mean, and of each training the difference of gains as `judging.verdict`
        takes it; none where training was short, or active pairs were not told apart.
    """
    courses = {
        tuple(found["recall"]): (*_quarters(np.array(found["recall"])), *_quarters(of_active))
        for table in tables
        if table["tier"] in LONG
        for found in table["curves"]
        if len(of_active := np.array(found.get("active") or []))
    }
    if not courses:
        return "", []
    mean = 100 * np.mean(list(courses.values()), axis=0)
    lines = []
    for before, after, active_before, active_after in courses.values():
        gain, active_gain = after / before - 1, active_after / active_before - 1
        # Where active ones fall, too, they do not go on to rise.
        more = min(active_gain, active_gain - gain)
        lines.append({"difference": more, "low": None, "high": None})
    rising = sum(line["difference"] > 0 for line in lines)
    told = (
        f"mean of {len(lines)} trainings: active {mean[2]:.1f} to {mean[3]:.1f}%, all "
        f"{mean[0]:.1f} to {mean[1]:.1f}%; active ones rise, and more than all, in {rising}"
    )
    return told, lines


def _quarters(recall: Float[np.ndarray, "*seeds points"]) -> tuple[float, float]:
    """Mean of the second and of the last quarter; validation before training is no point."""
    _, second, _, last = np.array_split(recall[..., 1:], 4, axis=-1)
    return float(second.mean()), float(last.mean())
