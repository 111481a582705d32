"""EFAAR's compound–gene benchmark and recall of known gene pairs (docs/method.md §8).

A compound's profile at a dose is compared with the profiles of gene knock-outs by |cosine|. Its
known targets (at 1,000 nM or below) should come before genes that are the targets of others. What
is between 1,000 and 10,000 nM is neither. The formulas are scikit-learn's.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

ACTIVE_NM, INELIGIBLE_NM = 1_000.0, 10_000.0
NEGATIVES_FOR_EACH, MIN_NEGATIVES = 2, 20
N_SEEDS = 100
MAX_OVER_DOSES = "max over doses"
MIN_ENTITIES = 20
PERCENTILES = (5.0, 95.0)


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a compound; genes as rows of the gene profiles.

    Attributes:
        compound: its name.
        active: its targets, [a].
        others: targets of other compounds of which nothing is known for this one, [b].
    """

    compound: str
    active: Int[np.ndarray, " a"]
    others: Int[np.ndarray, " b"]

    def drawn(self, seed: int) -> Int[np.ndarray, " c"]:
        """Its targets, and as many others as the benchmark draws with a seed, without repeats."""
        n = max(NEGATIVES_FOR_EACH * len(self.active), MIN_NEGATIVES)
        rng = np.random.default_rng(seed)
        return np.concatenate([self.active, rng.choice(self.others, n, replace=False)])


def questions(
    truth: pd.DataFrame, compounds: Sequence[str], genes: Sequence[str]
) -> tuple[list[Question], dict[str, int]]:
    """The compounds that can be asked about.

    Args:
        truth: Columns treatment, gene_symbol, nM_value; of a pair that is there twice the lower
            value counts.
        compounds: Those that have a profile.
        genes: Those that have a profile, in the order of these.

    Returns:
        Questions in order of their names, and how many compounds are left out, by reason.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    usable = truth.loc[truth["gene_symbol"].isin(place) & truth["nM_value"].notna()]
    every = np.array(sorted({place[gene] for gene in usable["gene_symbol"]}), np.int64)
    lowest = usable.groupby(["treatment", "gene_symbol"])["nM_value"].min()
    found, left = [], {"without a target that has a profile": 0, "with too few other genes": 0}
    for compound in sorted({*compounds} & {*truth["treatment"]}):
        known = lowest.loc[[compound]] if compound in lowest.index.get_level_values(0) else None
        rows = [] if known is None else [place[gene] for _, gene in known.index]
        value = np.zeros(0) if known is None else known.to_numpy(np.float64)
        at = np.array(rows, np.int64)
        active = at[value <= ACTIVE_NM]
        others = np.setdiff1d(every, at[value <= INELIGIBLE_NM])
        if not len(active):
            left["without a target that has a profile"] += 1
        elif len(others) < max(NEGATIVES_FOR_EACH * len(active), MIN_NEGATIVES):
            left["with too few other genes"] += 1
        else:
            found.append(Question(compound, active, others))
    return found, left


def cosines(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Cosines of all pairs of rows; rows of NaN give NaN."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y)]
    return unit[0] @ unit[1].T


def score_seeds(
    asked: Sequence[Question],
    scores: Mapping[str, Mapping[str, Float[np.ndarray, " g"]]],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """AP and AUROC of every compound, in every seed.

    Args:
        asked: From `questions`.
        scores: By what the table calls a row (a dose), by compound: a score for each gene. A
            compound that a dose lacks is not counted there.
        seeds: Each draws its own negatives, the same for all rows.

    Returns:
        Columns seed, concentration, compound, ap, auroc, ap_random, auroc_random; the last two are
        of scores that were drawn at random.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 1])
        for question in asked:
            genes = question.drawn(seed)
            label = np.arange(len(genes)) < len(question.active)
            noise = rng.random(len(genes))
            random = average_precision_score(label, noise), roc_auc_score(label, noise)
            for name, by_compound in scores.items():
                if question.compound in by_compound:
                    score = by_compound[question.compound][genes]
                    got = average_precision_score(label, score), roc_auc_score(label, score)
                    rows.append((seed, name, question.compound, *got, *random))
    names = ["seed", "concentration", "compound", "ap", "auroc", "ap_random", "auroc_random"]
    return pd.DataFrame(rows, columns=names)


def summarise(by_compound: pd.DataFrame) -> pd.DataFrame:
    """Means over compounds in each seed (for AP the median too), then mean and sd over seeds."""
    rows = []
    for name in by_compound["concentration"].unique():
        own = by_compound.loc[by_compound["concentration"] == name]
        seeds = own.groupby("seed").agg(
            ap=("ap", "mean"),
            ap_median=("ap", "median"),
            ap_random=("ap_random", "mean"),
            auroc=("auroc", "mean"),
            auroc_random=("auroc_random", "mean"),
        )
        means = {column: float(seeds[column].mean()) for column in seeds}
        spread = {f"{column}_sd": float(seeds[column].std(ddof=0)) for column in ("ap", "auroc")}
        told = {"concentration": name, "n_compounds": own["compound"].nunique()}
        rows.append({**told, **means, **spread})
    return pd.DataFrame(rows)


def relation_recall(
    genes: Sequence[str], profiles: Float[np.ndarray, "g d"], pairs: pd.DataFrame
) -> tuple[float, int]:
    """Share of known pairs whose cosine is extreme among all pairs of genes, and their number.

    Args:
        genes: Names.
        profiles: Theirs.
        pairs: Columns entity1, entity2; order and repeats do not matter.

    Returns:
        NaN where fewer than `MIN_ENTITIES` genes stand on either side of the pairs.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    known = pairs.loc[pairs["entity1"].isin(place) & pairs["entity2"].isin(place)]
    known = known.loc[known["entity1"] != known["entity2"]]
    ends = np.array([sorted(pair) for pair in zip(known["entity1"], known["entity2"], strict=True)])
    ends = np.unique(ends.reshape(-1, 2), axis=0)
    if min((len(set(side)) for side in ends.T), default=0) < MIN_ENTITIES:
        return float("nan"), len(ends)
    cosine = cosines(profiles, profiles)
    low, high = np.percentile(cosine[np.triu_indices(len(genes), 1)], PERCENTILES)
    own = cosine[[place[a] for a in ends[:, 0]], [place[b] for b in ends[:, 1]]]
    return float(((own <= low) | (own >= high)).mean()), len(ends)
