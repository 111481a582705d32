"""Bray2017 as CellCLIP reports it: R@1, R@5 and R@10 among unseen molecules, both ways.

There is one averaged profile for each molecule (the screen has one dose), and its own molecule is
looked for among all unseen ones, and the other way round.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from molphenix_jax.errors import InputError
from molphenix_jax.evaluation.kept import QUERY_COLUMNS
from molphenix_jax.published.numbers import BRAY2017, BRAY2017_CAUTION, BRAY2017_GALLERY

SPLIT = "unseen_molecules"
DIRECTIONS = ("profile_to_molecule", "molecule_to_profile")
CUTOFFS = (1, 5, 10)


class PublishedError(InputError):
    """Files that a public benchmark cannot be computed from; names file, field and remedy."""


def recall_table(ranks: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Recall of every model of a run, of chance, and of the published ones.

    Args:
        ranks: `ranks.parquet` of a run.

    Returns:
        Columns direction, model, R@1, R@5, R@10 (in %), n_queries, n_gallery, source; and what
        speaks against a comparison, one sentence each.

    Raises:
        PublishedError: The run held no molecule back, or ranked none.
    """
    kept = (ranks["split"] == SPLIT) & (ranks["subset"] == "all") & (ranks["gallery"] == "full")
    rows = ranks.loc[kept]
    if rows.empty:
        raise PublishedError(
            f"the run has no ranks of {SPLIT} against the full gallery: train one that holds "
            "molecules back (data.split_list, or data.folds), which a refit does not"
        )
    found = [row for direction in DIRECTIONS for row in _rows(rows, direction)]
    return pd.DataFrame(found), list(_cautions(rows))


def _rows(rows: pd.DataFrame, direction: str) -> Iterator[dict]:
    own = rows.loc[rows["direction"] == direction]
    models = [name for name in own.columns if name not in QUERY_COLUMNS]
    models = [name for name in models if own[name].notna().any()]
    gallery = own["n_gallery"].to_numpy(np.float64)
    sizes = {"n_queries": len(own), "n_gallery": int(np.median(gallery))}
    for model in models:
        rank = own[model].dropna().to_numpy(np.int64)
        recall = {f"R@{k}": 100 * float((rank <= k).mean()) for k in CUTOFFS}
        named = {**sizes, "n_queries": len(rank), "source": "this run"}
        yield {"direction": direction, "model": model, **recall, **named}
    chance = {f"R@{k}": 100 * float(np.minimum(k / gallery, 1).mean()) for k in CUTOFFS}
    yield {"direction": direction, "model": "chance", **chance, **sizes, "source": "this run"}
    for model, numbers in BRAY2017.items():
        recall = dict(zip((f"R@{k}" for k in CUTOFFS), numbers[direction], strict=True))
        sizes = dict.fromkeys(("n_queries", "n_gallery"), BRAY2017_GALLERY)
        yield {"direction": direction, "model": model, **recall, **sizes, "source": "published"}


def _cautions(rows: pd.DataFrame) -> Iterator[str]:
    sizes = sorted(set(rows["n_gallery"].astype(int)))
    if sizes != [BRAY2017_GALLERY]:
        told = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        yield (
            f"the gallery has {told} candidates, and the published one {BRAY2017_GALLERY:,}: R@k "
            "falls as a gallery grows, so these rows do not compare; give CellCLIP's test "
            "molecules as data.split_list"
        )
    folds = len(set(rows["fold"].tolist()))
    if folds > 1:
        yield f"{folds} folds are pooled, each query among the molecules of its own"
    one = rows.loc[rows["direction"] == DIRECTIONS[0]]
    if len(one) > len({*zip(one["fold"], one["molecule"], strict=True)}):
        yield (
            "some molecules have several candidates (doses or conditions), where the published "
            "gallery has one for each: this is not Bray2017's form"
        )
    yield BRAY2017_CAUTION
