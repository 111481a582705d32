"""Do molecule embeddings lie by activity (paper Fig. 7)? A map, and a number that needs no map.

The number: the rank correlation of each perturbation's -log10 p with the mean of those of its
nearest others in z_m, perturbations of its own molecule left out. All doses together, nearness may
only tell the dose; so each dose is asked by itself too.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits

from molphenix_jax.evaluation.bootstrap import interval
from molphenix_jax.figures.asked import Fold

_WHOLE = "all doses"
_NEIGHBOURS = 10
_FEWEST = 30  # perturbations of a dose
_SHOWN_DOSES = 5
_RESAMPLES = 500


@dataclasses.dataclass(frozen=True)
class Ordered:
    """How far neighbours agree in activity.

    Attributes:
        rows: what (all doses, or a dose), concentration_um (None: all), n, correlation, ci.
        place: [n, 2] of the perturbations of the first fold in the map.
        strength: -log10 p of each.
        concentration_um: Dose of each.
        drawn_by: UMAP or t-SNE.
    """

    rows: Sequence[Mapping[str, Any]]
    place: Float[np.ndarray, "n 2"]
    strength: Float[np.ndarray, " n"]
    concentration_um: Float[np.ndarray, " n"]
    drawn_by: str


def neighbourhood(folds: Sequence[Fold], *, seed: int = 0) -> Ordered | str:
    """Correlations over all folds, and the map of the first; or why there is none."""
    parts = []
    for fold in folds:
        z, known = fold.embed(fold), fold.known
        strength = -np.log10(np.maximum(fold.held.p_value[known], 1e-6))
        dose = fold.held.concentration_um[known]
        parts.append((z[known], strength, dose, fold.skeleton[known]))
    if min(len(part[0]) for part in parts) < _FEWEST:
        return f"a fold has fewer than {_FEWEST} held-out perturbations with a p-value"
    doses, counts = np.unique(np.concatenate([part[2] for part in parts]), return_counts=True)
    most = np.sort(np.argsort(-counts, kind="stable")[:_SHOWN_DOSES])
    rows = [{**_row(parts, seed), "what": _WHOLE, "concentration_um": None}]
    for dose in doses[most]:
        at = [tuple(x[part[2] == dose] for x in part) for part in parts]
        if min(len(part[0]) for part in at) > _NEIGHBOURS:
            told = {"what": f"{dose:g} µM", "concentration_um": float(dose)}
            rows.append({**_row(at, seed), **told})
    z, strength, dose, _ = parts[0]
    place, drawn_by = _map(z, seed)
    return Ordered(rows, place, strength, dose, drawn_by)


def _row(parts: Sequence[tuple], seed: int) -> dict[str, Any]:
    own = np.concatenate([part[1] for part in parts])
    near = np.concatenate([_near(part[0], part[1], part[3]) for part in parts])
    molecule = np.concatenate([part[3] for part in parts])
    drawn, rng = [], np.random.default_rng(seed)
    names, code = np.unique(molecule, return_inverse=True)
    members = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])
    if np.ptp(own) == 0 or np.ptp(near) == 0:
        return {"n": len(own), "correlation": float("nan"), "ci": None}
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([members[k] for k in rng.integers(0, len(names), len(names))])
        if np.ptp(own[chosen]) and np.ptp(near[chosen]):
            drawn.append(_rank_correlation(own[chosen], near[chosen]))
    return {
        "n": len(own),
        "correlation": _rank_correlation(own, near),
        "ci": interval(np.array(drawn), n_clusters=len(names)),
    }


def _rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _near(
    z: Float[np.ndarray, "n e"],
    strength: Float[np.ndarray, " n"],
    molecule: Shaped[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Mean strength of the nearest others of each."""
    similar = z.astype(np.float64) @ z.T.astype(np.float64)
    similar[molecule[:, None] == molecule[None, :]] = -np.inf
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :_NEIGHBOURS]
    valid = np.take_along_axis(similar, nearest, axis=1) > -np.inf
    return (strength[nearest] * valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)


def _map(z: Float[np.ndarray, "n e"], seed: int) -> tuple[Float[np.ndarray, "n 2"], str]:
    """Two coordinates: UMAP's where umap-learn is installed, else t-SNE's."""
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(z) - 1) / 3)
        made = TSNE(init="pca", perplexity=perplexity, metric="cosine", random_state=seed)
        # Its threads wait for each other by spinning: on a busy machine two take ten times as long.
        with threadpool_limits(1):
            return made.fit_transform(z.astype(np.float64)), "t-SNE"
    return UMAP(metric="cosine", random_state=seed).fit_transform(z), "UMAP"
