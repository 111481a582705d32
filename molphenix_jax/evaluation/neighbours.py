"""Does the nearest neighbour of an image show the same thing? Questions, answers, intervals.

A question says which images may answer (never the query itself, and where plates would give it
away, none of its plate) and which answers are right. Classes weigh the same: the score is a
balanced accuracy. Images of one well are not independent, so intervals draw whole wells.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from molphenix_jax.evaluation.bootstrap import interval, resampled_means


class ImageLabels(NamedTuple):
    """Of n images: where each lies and what was done to it."""

    plate: Shaped[np.ndarray, " n"]
    well: Shaped[np.ndarray, " n"]
    treatment: Shaped[np.ndarray, " n"]
    is_control: Bool[np.ndarray, " n"]


class Question(NamedTuple):
    """Which images may answer for which query, and which answers are right; [n, n] and [n]."""

    text: str
    allowed: Bool[np.ndarray, "n n"]
    right: Bool[np.ndarray, "n n"]
    weight: Float[np.ndarray, " n"]

    @property
    def asked(self) -> Bool[np.ndarray, " n"]:
        """Queries that can be answered rightly and wrongly."""
        right = (self.allowed & self.right).any(1)
        return np.asarray(right & (self.allowed & ~self.right).any(1))

    def hits(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """1 where the nearest allowed neighbour (by cosine) is right, else 0."""
        unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        cosine = np.where(self.allowed, unit @ unit.T, -np.inf)
        return self.right[np.arange(len(z)), cosine.argmax(1)].astype(float)

    def chance(self) -> Float[np.ndarray, " n"]:
        """Share of the allowed neighbours that are right."""
        return (self.allowed & self.right).sum(1) / np.maximum(self.allowed.sum(1), 1)


def questions(labels: ImageLabels) -> dict[str, Question]:
    """The questions that the labels allow; those without any query to ask are left out."""
    plate, well, treatment, control = (np.asarray(a) for a in labels)
    n = len(plate)

    def same(a: np.ndarray) -> np.ndarray:
        return a[:, None] == a[None, :]

    elsewhere = ~same(plate)
    candidates = {
        "treatment": (
            "which treatment? neighbours on other plates",
            elsewhere,
            same(treatment),
            treatment,
        ),
        "treated": (
            "treated or control? neighbours on other plates",
            elsewhere,
            same(control),
            control,
        ),
        "other_position": (
            "which treatment? neighbours on other plates, in other well positions",
            elsewhere & ~same(well),
            same(treatment),
            treatment,
        ),
        "well": (
            "which well? neighbours among the other fields of the plate",
            same(plate) & ~np.eye(n, dtype=bool),
            same(well),
            well,
        ),
    }
    found = {}
    for name, (text, allowed, right, classes) in candidates.items():
        question = Question(text, allowed, right, np.zeros(n))
        asked = question.asked
        if not asked.any():
            continue
        names, where, counts = np.unique(
            np.asarray(classes)[asked], return_inverse=True, return_counts=True
        )
        weight = np.zeros(n)
        weight[asked] = asked.sum() / (len(names) * counts[where])
        found[name] = question._replace(weight=weight)
    return found


def standardise_plates(
    z: Float[np.ndarray, "n d"], plate: Shaped[np.ndarray, " n"]
) -> Float[np.ndarray, "n d"]:
    """Every plate to mean 0, every feature to variance 1 within plates; no label is looked at.

    Right where plates have the same layout, as replicates of one plate map have.
    """
    z = np.asarray(z, np.float64)
    centred = np.empty_like(z)
    for name in np.unique(plate):
        rows = plate == name
        centred[rows] = z[rows] - z[rows].mean(0)
    return centred / np.maximum(centred.std(0), 1e-9 * np.abs(z).max())


def neighbour_record(
    labels: ImageLabels,
    embeddings: Mapping[str, Sequence[Float[np.ndarray, "n d"]]],
    *,
    unseen: Sequence[Bool[np.ndarray, " n"]],
    compared: tuple[str, str],
    n_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Scores of every model on every question, and the paired difference of two of them.

    Args:
        labels: Of the images.
        embeddings: Model → one embedding for each seed; a model without seeds has one.
        unseen: For each seed, the images that its training had not seen. With these as the only
            queries, every question is asked once more (subset `unseen`).
        compared: Two models with the same seeds; the first minus the second.
        n_bootstrap: Resamples of wells.
        seed: Of the resampling.

    Returns:
        `{"results": [row…], "differences": [row…]}`; scores are shares in [0, 1]. `ci` is
        None where there are not enough wells for an interval, or all say the same.
    """
    results, differences = [], []
    wells = np.char.add(np.char.add(labels.plate.astype(str), "/"), labels.well.astype(str))
    for name, question in questions(labels).items():
        hits = {m: [question.hits(z) for z in seeds] for m, seeds in embeddings.items()}
        for subset in ("all", "unseen"):
            # Share of the seeds that ask each query: all of them, or those that have not seen it.
            masks = [u if subset == "unseen" else np.ones_like(u) for u in unseen]
            asked = question.asked & np.any(masks, axis=0)
            if not asked.any():
                continue
            weight = question.weight[asked]
            weight = weight / weight.mean()
            values, per_seed = {}, {}
            for model, seeds in hits.items():
                used = masks if len(seeds) == len(masks) else [np.any(masks, axis=0)]
                sums = sum(h * m for h, m in zip(seeds, used, strict=True))
                values[model] = (sums / np.maximum(np.sum(used, axis=0), 1))[asked]
                per_seed[model] = [
                    _weighted(h, question.weight, question.asked & m)
                    for h, m in zip(seeds, used, strict=True)
                ]
            values["chance"] = question.chance()[asked]
            per_seed["chance"] = []
            first, second = compared
            columns = [weight * v for v in values.values()]
            columns.append(weight * (values[first] - values[second]))
            table = np.stack(columns, axis=1)
            samples = resampled_means(table, wells[asked], n_bootstrap=n_bootstrap, seed=seed)
            n_wells = len(np.unique(wells[asked]))
            ends = [interval(column, n_clusters=n_wells) for column in samples.T]
            common = {
                "question": name,
                "text": question.text,
                "subset": subset,
                "n_queries": int(asked.sum()),
                "n_wells": n_wells,
            }
            for k, model in enumerate(values):
                results.append(
                    {
                        **common,
                        "model": model,
                        "balanced_accuracy": float(table[:, k].mean()),
                        "ci": ends[k],
                        "seeds": per_seed[model],
                    }
                )
            differences.append(
                {
                    **common,
                    "models": list(compared),
                    "difference": float(table[:, -1].mean()),
                    "ci": ends[-1],
                    "seeds": [
                        a - b for a, b in zip(per_seed[first], per_seed[second], strict=True)
                    ],
                }
            )
    return {"results": results, "differences": differences}


def _weighted(
    hits: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"], rows: Bool[np.ndarray, " n"]
) -> float:
    total = float(weight[rows].sum())
    return float((hits * weight)[rows].sum() / total) if total else float("nan")
