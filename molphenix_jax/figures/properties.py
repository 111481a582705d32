"""Do neighbours in z_m share properties (paper T8, T9), beside neighbours in the inputs?

For each label of a table of molecules with properties: the mean label of the nearest training
molecules, in five parts by scaffold. Molecules whose first InChIKey block the model was trained on
are left out. Neighbours are by cosine in z_m, at each of some doses, and in the blocks that the
model takes: all fingerprint bits together, and each other block standardised. A claim of the paper
is that z_m is better than its inputs, the more so the higher the dose that it is asked for.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from molphenix_jax.evaluation.bootstrap import interval, resampled_means
from molphenix_jax.evaluation.properties import PROPERTY_METRICS
from molphenix_jax.figures.asked import Fold
from molphenix_jax.molecules import featurise_blocks
from molphenix_jax.retrieval.molecules import Featurised
from molphenix_jax.tasks.property_pretraining.labels import Labels

_NEIGHBOURS = 10
_PARTS = 5
_FEWEST = 100  # molecules of a label
_FEWEST_RARE = 20  # of the rarer kind of a label of two
_OF_GRAPHS = "morgan"  # block that stands for the input of a model of graphs alone
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Probed:
    """How well each representation tells the labels.

    Attributes:
        rows: label, metric, n, n_positive and the value of each representation.
        means: representation, mean (over labels), best_input (the input of the best mean),
            labels_better (on how many labels it is better than that one, of `labels`), difference
            (to it, mean over labels) and ci (over labels).
        inputs: Which representations are the model's inputs.
        left_out: Why each label is in no row.
        n_trained: Molecules of the table that the model was trained on, left out.
    """

    rows: Sequence[Mapping[str, Any]]
    means: Sequence[Mapping[str, Any]]
    inputs: tuple[str, ...]
    left_out: Mapping[str, str]
    n_trained: int


def probe_properties(
    fold: Fold,
    labels: Labels,
    *,
    doses_um: Sequence[float],
    most: int,
    seed: int = 0,
) -> Probed | str:
    """Asks the neighbours for every label of molecules; or says why none can be asked for.

    Args:
        fold: Whose model.
        labels: See `read_labels`; labels of atoms are left out.
        doses_um: Concentrations that z_m is made for.
        most: Molecules of each label, at most; of rare positives at most half of these.
        seed: Of the draw, of the parts and of the intervals.
    """
    table = labels.molecules
    once = ~table["inchikey"].duplicated().to_numpy()
    trained = fold.model.has_trained_on_keys(table["inchikey"].tolist())
    order = np.random.default_rng(seed).permutation(len(table))
    order = order[(once & ~trained)[order]]
    chosen, left_out = {}, {}
    for group in labels.groups:
        for k, name in enumerate(group.columns):
            if group.level != "graph":
                left_out[name] = "a label of atoms"
                continue
            value = np.asarray(group.values)[:, k]
            rows = _drawn(value, order, group.loss, most)
            if why := _too_few(value[rows], group.loss):
                left_out[name] = why
            else:
                chosen[name] = (group.loss, rows, value[rows])
    if not chosen:
        told = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:5])
        return f"no label can be asked for ({told})"
    needed = np.unique(np.concatenate([rows for _, rows, _ in chosen.values()]))
    found = fold.model.featuriser.of_standard(table["smiles"].iloc[needed].tolist(), {})
    if found.errors:
        lost = set(needed[list(found.errors)].tolist())
        chosen = {n: _without(c, lost) for n, c in chosen.items()}
        needed = needed[found.rows]
    smiles = table["smiles"].iloc[needed].tolist()
    seen, inputs = _representations(fold, found, smiles, doses_um)
    scaffold = np.unique(table["scaffold"].fillna("").to_numpy(str), return_inverse=True)[1]
    rows = []
    for name, (loss, at, value) in chosen.items():
        metric, function = next(iter(PROPERTY_METRICS[loss].items()))
        part = _parts(scaffold[at], seed)
        place = np.searchsorted(needed, at)
        told = {r: function(value, _by_neighbours(x[place], value, part)) for r, x in seen.items()}
        positive = int((value > 0.5).sum()) if loss == "bce" else None
        rows.append({"label": name, "metric": metric, "n": len(at), "n_positive": positive, **told})
    return Probed(
        rows, _means(rows, list(seen), inputs), inputs, left_out, int(trained[once].sum())
    )


def _drawn(
    value: Float[np.ndarray, " m"], order: Int[np.ndarray, " k"], loss: str, most: int
) -> Int[np.ndarray, " n"]:
    """Rows with a label, the first in the order; rare positives before the others."""
    rows = order[np.isfinite(value[order])]
    if loss == "bce":
        positive = value[rows] > 0.5
        first = np.concatenate([rows[kind][: most // 2] for kind in (positive, ~positive)])
        rows = np.concatenate([first, rows[~np.isin(rows, first)]])
    return np.sort(rows[:most])


def _too_few(value: Float[np.ndarray, " n"], loss: str) -> str:
    if len(value) < _FEWEST:
        return f"{len(value)} molecules, {_FEWEST} are needed"
    rare = int(min((value > 0.5).sum(), (value <= 0.5).sum()))
    if loss == "bce" and rare < _FEWEST_RARE:
        return f"{rare} molecules of the rarer kind, {_FEWEST_RARE} are needed"
    return ""


def _without(chosen: tuple, lost: set[int]) -> tuple:
    loss, rows, value = chosen
    kept = np.array([row not in lost for row in rows.tolist()], bool)
    return loss, rows[kept], value[kept]


def _representations(
    fold: Fold, found: Featurised, smiles: Sequence[str], doses_um: Sequence[float]
) -> tuple[dict[str, Float[np.ndarray, "n k"]], tuple[str, ...]]:
    """Unit vectors of each molecule under every representation, and which are inputs."""
    bits: list[np.ndarray] = []
    inputs: dict[str, np.ndarray] = {}
    # A model of graphs alone has no blocks: neighbours by Morgan's bits stand for its input.
    blocks = found.blocks or featurise_blocks(smiles, [_OF_GRAPHS])
    for name, block in blocks.items():
        x = block.astype(np.float32)
        if block.dtype == np.uint8:
            bits.append(x)
        else:
            spread = x.std(axis=0)
            inputs[name] = np.clip((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0), -5, 5)
    if bits:
        inputs = {"bits": np.concatenate(bits, axis=1), **inputs}
    levels = fold.levels(int(np.bincount(fold.held.condition).argmax()))
    z = fold.model.embed_features(found, concentrations_um=doses_um, conditions=levels)
    seen = inputs | {f"z_m at {dose:g} µM": z[:, k] for k, dose in enumerate(doses_um)}
    unit = {
        name: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for name, x in seen.items()
    }
    return unit, tuple(inputs)


def _parts(scaffold: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Part of each molecule; a scaffold is in one."""
    from sklearn.model_selection import GroupKFold

    part = np.zeros(len(scaffold), np.int64)
    split = GroupKFold(_PARTS, shuffle=True, random_state=seed).split(scaffold, groups=scaffold)
    for number, (_, test) in enumerate(split):
        part[test] = number
    return part


def _by_neighbours(
    x: Float[np.ndarray, "n k"], value: Float[np.ndarray, " n"], part: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Mean label of the nearest molecules of other parts."""
    told = np.zeros(len(x))
    for start in range(0, len(x), _CHUNK):
        rows = slice(start, start + _CHUNK)
        similar = x[rows] @ x.T
        other: Bool[np.ndarray, "c n"] = part[rows, None] != part[None, :]
        similar = np.where(other, similar, -np.inf)
        nearest = np.argpartition(-similar, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
        told[rows] = value[nearest].mean(axis=1)
    return told


def _means(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], inputs: Sequence[str]
) -> list[dict[str, Any]]:
    """Of each representation its mean over labels, and how it stands to the best input."""
    value = {name: np.array([row[name] for row in rows], np.float64) for name in names}
    best = max(inputs, key=lambda name: float(np.nanmean(value[name])))
    found = []
    for name in names:
        difference = value[name] - value[best]
        kept = np.isfinite(difference)
        drawn = resampled_means(difference[kept, None], np.arange(int(kept.sum())))
        found.append(
            {
                "representation": name,
                "mean": float(np.nanmean(value[name])),
                "best_input": best,
                "labels_better": int((difference[kept] > 0).sum()),
                "labels": int(kept.sum()),
                "difference": float(difference[kept].mean()),
                "ci": None if name == best else interval(drawn[:, 0], n_clusters=int(kept.sum())),
            }
        )
    return found
