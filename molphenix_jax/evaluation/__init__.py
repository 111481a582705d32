"""Ranks, recall, confidence intervals, protocol and baselines; knows arrays only.

In the order of use: each of ``BASELINES`` predicts, ``protocol.evaluate`` ranks one split of
one fold, ``pooling.put_together`` joins what several processes ranked of it, ``pooling.pool``
the folds, ``summary.evaluation_record`` makes ``evaluation.json``.
"""

from molphenix_jax.evaluation.baselines import (
    BASELINES,
    CONTROL_NAMES,
    UNTRAINED,
    BaselineData,
    LeftOut,
    Observed,
    Prediction,
    knn,
    physchem,
    predict,
    ridge,
)
from molphenix_jax.evaluation.graded import Graded, Relevance, graded_frame
from molphenix_jax.evaluation.pooling import pool, put_together
from molphenix_jax.evaluation.properties import (
    PROPERTY_METRICS,
    auroc,
    average_precision,
    property_results,
)
from molphenix_jax.evaluation.properties.baselines import PROPERTY_BASELINES, predict_property
from molphenix_jax.evaluation.protocol import (
    Candidates,
    Compared,
    QueriesAndGallery,
    Ranks,
    RankTable,
    evaluate,
)
from molphenix_jax.evaluation.ranks import Part, rank_of_positive, recall_at
from molphenix_jax.evaluation.summary import (
    METRICS,
    MetricSpec,
    by_concentration,
    by_fold,
    chance_field,
    evaluation_record,
    paired_difference,
    rank_curves,
    summarise,
    top,
)

__all__ = [
    "BASELINES",
    "CONTROL_NAMES",
    "METRICS",
    "PROPERTY_BASELINES",
    "PROPERTY_METRICS",
    "UNTRAINED",
    "BaselineData",
    "Candidates",
    "Compared",
    "Graded",
    "LeftOut",
    "MetricSpec",
    "Observed",
    "QueriesAndGallery",
    "Part",
    "Prediction",
    "RankTable",
    "Ranks",
    "Relevance",
    "auroc",
    "average_precision",
    "by_concentration",
    "by_fold",
    "chance_field",
    "evaluate",
    "evaluation_record",
    "graded_frame",
    "knn",
    "paired_difference",
    "physchem",
    "pool",
    "predict",
    "predict_property",
    "property_results",
    "put_together",
    "rank_curves",
    "rank_of_positive",
    "recall_at",
    "ridge",
    "summarise",
    "top",
]
