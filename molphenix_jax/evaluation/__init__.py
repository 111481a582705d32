"""Ranks, recall, confidence intervals, protocol and baselines; knows arrays only.

In the order of use: ``baselines.predict_all`` predicts, ``protocol.evaluate`` ranks one split of
one fold, ``protocol.pool`` joins the folds, ``summary.evaluation_record`` makes
``evaluation.json``.
"""

from molphenix_jax.evaluation.baselines import (
    BaselineData,
    Prediction,
    knn,
    physchem,
    predict_all,
    ridge,
)
from molphenix_jax.evaluation.protocol import Candidates, Ranks, evaluate, pool
from molphenix_jax.evaluation.ranks import expected_recall, rank_of_positive, recall_at
from molphenix_jax.evaluation.summary import (
    by_concentration,
    evaluation_record,
    paired_difference,
    rank_curves,
    summarise,
)

__all__ = [
    "BaselineData",
    "Candidates",
    "Prediction",
    "Ranks",
    "by_concentration",
    "evaluate",
    "evaluation_record",
    "expected_recall",
    "knn",
    "paired_difference",
    "physchem",
    "pool",
    "predict_all",
    "rank_curves",
    "rank_of_positive",
    "recall_at",
    "ridge",
    "summarise",
]
