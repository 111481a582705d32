"""What the report of a run says beside its recall: the screen, the molecules, what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from molphenix_jax.evaluation import CONTROL_NAMES, Ranks
from molphenix_jax.molecules import is_embedding, nearest_by_tanimoto
from molphenix_jax.phenomics import mean_pairwise_cosine
from molphenix_jax.runtime.config import Config, listed
from molphenix_jax.screens.screen import Screen, unpacked_rows
from molphenix_jax.screens.splits import Split
from molphenix_jax.tasks.align.config import SIZES, split_rule
from molphenix_jax.tasks.align.training.similar import SOFT_POSITIVES

UNSEEN = "unseen_molecules"
# Below these, in molecules, nothing general is learned, and a single split tells little.
FEW, FEW_FOR_ONE_SPLIT = 100, 3_000
FEW_ACTIVE = 0.1
# Of so few, most components of the features tell single molecules apart: docs/results.md.
FEW_FOR_COMPONENTS = 1_000
_CHUNK = 4_096
# Controls that a model has to beat to have learned chemistry.
_ALONE = ("dose_only", "cell_count", "magnitude", "untrained")


def molecule_table(screen: Screen, results: Sequence[Ranks]) -> pd.DataFrame:
    """A row for each perturbation of an unseen molecule, as the model ranked it.

    Args:
        screen: The screen.
        results: Ranks of each fold.

    Returns:
        perturbation, smiles, inchikey, concentration_um, condition, rank, gallery, rank_percent,
        wells, p_value; no row where nothing was ranked.
    """
    keys, labels = screen.molecules["inchikey"].to_numpy(str), np.array(screen.conditions.labels)
    place = {
        (keys[m], float(dose), str(labels[c])): i
        for i, (m, dose, c) in enumerate(
            zip(screen.molecule, screen.concentration_um, screen.condition, strict=True)
        )
    }
    rows = []
    for ranks in results:
        for table in ranks.tables:
            s = table.setting
            if (s.split, s.subset, s.gallery) != (UNSEEN, "all", "full"):
                continue
            if s.direction != "profile_to_molecule":
                continue
            for key, dose, condition, n, rank in zip(
                table.molecule,
                table.concentration_um,
                table.condition,
                table.n_gallery,
                table.rank["molphenix"],
                strict=True,
            ):
                rows.append((place[key, float(dose), str(condition)], int(rank), int(n)))
    found, rank, n_gallery = (np.array([row[k] for row in rows], np.int64) for k in range(3))
    return pd.DataFrame(
        {
            "perturbation": found,
            "smiles": screen.molecules["smiles"].to_numpy(object)[screen.molecule[found]],
            "inchikey": keys[screen.molecule[found]],
            "concentration_um": screen.concentration_um[found],
            "condition": labels[screen.condition[found]],
            "rank": rank,
            "gallery": n_gallery,
            "rank_percent": 100 * rank / np.maximum(n_gallery, 1),
            "wells": screen.n_replicates[found],
            "p_value": screen.p_value[found],
        }
    )


def with_neighbours(rows: pd.DataFrame, screen: Screen, splits: Sequence[Split]) -> pd.DataFrame:
    """Rows of `molecule_table` with replicate_cosine, nearest_smiles and nearest_tanimoto.

    The first is the mean cosine between the wells of a perturbation, NaN where there is one. The
    nearest training molecule is that of the fold whose unseen molecules have this one, by Morgan
    fingerprints; none where the screen has no such block.
    """
    cosine = [_agreement(screen, i) for i in rows["perturbation"]]
    own = screen.molecule[rows["perturbation"].to_numpy(np.int64)]
    nearest = np.full(len(rows), -1)
    similarity = np.full(len(rows), np.nan, np.float32)
    if "morgan" in screen.blocks:
        block = screen.blocks["morgan"]
        for split in splits:
            mine = np.flatnonzero(np.isin(own, screen.molecule[split.test]))
            train = np.unique(screen.molecule[split.train])
            if len(mine) and len(train):
                nearest[mine], similarity[mine] = _nearest(block, own[mine], train)
    smiles = screen.molecules["smiles"].to_numpy(object)
    return rows.assign(
        replicate_cosine=cosine,
        nearest_smiles=[smiles[k] if k >= 0 else "" for k in nearest],
        nearest_tanimoto=similarity,
    )


def _nearest(
    block: Any, molecules: Int[np.ndarray, " k"], train: Int[np.ndarray, " t"]
) -> tuple[np.ndarray, np.ndarray]:
    distinct, back = np.unique(molecules, return_inverse=True)
    starts = range(0, len(train), _CHUNK)
    best, at = nearest_by_tanimoto(
        unpacked_rows(block, distinct),
        (unpacked_rows(block, train[start : start + _CHUNK]) for start in starts),
    )
    return train[at[back]], best[back]


def _agreement(screen: Screen, i: int) -> float:
    x = screen.replicates[np.arange(screen.offsets[i], screen.offsets[i + 1])]
    if len(x) < 2:
        return float("nan")
    return mean_pairwise_cosine(x)


def screen_facts(screen: Screen, config: Config, *, rejected: int) -> list[tuple[str, str]]:
    """What the screen is and how it was split and trained on, as names with values."""
    doses = np.unique(screen.concentration_um)
    shown = ", ".join(f"{dose:g}" for dose in doses[:12]) + (", …" if len(doses) > 12 else "")
    d, t = config.data, config.train
    held = f"{d.folds} folds" if d.folds > 1 else f"{100 * d.test_fraction:g}% of the molecules"
    held = f"{held}, by {d.split} (seed {d.split_seed})"
    if d.split_list:
        held = f"by {split_rule(config)}"
    held += f", {d.repeats} times" if d.repeats > 1 else ""
    facts = [
        ("screen", screen.name),
        ("treated wells", f"{screen.n_wells:,}, with {screen.width:,} features after correction"),
        ("molecules", f"{len(screen.molecules):,}"),
        ("perturbations", f"{screen.n_perturbations:,}"),
        ("doses", f"{len(doses):,}: {shown} µM"),
        ("control wells kept", f"{len(screen.archive.null.profile):,}, corrected as the others"),
        ("correction", str(d.correction)),
        ("unseen molecules", "none: a refit learns from all" if d.refit_of else held),
        ("rejected rows", f"{rejected:,}" + (" (rejected.csv)" if rejected else "")),
        (
            "training",
            f"{config.loss.name}, {t.steps:,} updates, {t.members} members, batches of "
            f"{t.batch_size:,} (seed {config.seed})",
        ),
    ]
    if d.shuffle_pairs:
        facts.append(("control", "training pairs are shuffled: recall has to be chance"))
    if len(screen.conditions) > 1:
        facts.insert(5, ("conditions", "; ".join(screen.conditions.labels)))
    return facts


def soft_positives_fact(
    config: Config, metrics: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[tuple[str, str]]:
    """How many soft positives S2L had in a row of a batch, by the lines of `metrics.jsonl`."""
    if config.loss.name != "s2l":
        return []
    found = [
        line[SOFT_POSITIVES] for of in metrics.values() for line in of if SOFT_POSITIVES in line
    ]
    if not found:
        return []
    mean, rows = float(np.mean(found)), config.train.batch_size
    told = f"{mean:.2g} in a row of {rows:,} ({mean / max(rows - 1, 1):.2%}), in the mean"
    return [("soft positives", told if mean else f"{told}: S2L trained as SigLIP does")]


def next_steps(
    screen: Screen, config: Config, record: Mapping[str, Any], *, rejected: int
) -> list[str]:
    """What whoever owns the screen can do about what limits this run, most important first."""
    said, n = [], len(screen.molecules)
    if n < FEW:
        said.append(
            f"{n:,} molecules: too few to learn chemistry from. Read the recall as a check that "
            "the data are in order, and add molecules: hundreds at least, thousands are better."
        )
    if n < FEW_FOR_ONE_SPLIT and config.data.folds == 1 and not config.data.refit_of:
        said.append(
            f"{n:,} molecules leave few unseen ones in one split: --config.data.folds=5 tests on "
            "every molecule once and halves the intervals."
        )
    p = screen.p_value
    if np.isnan(p).mean() > 0.5:
        said.append(
            f"{int(np.isnan(p).sum()):,} of {len(p):,} perturbations have no replicate p-value: "
            "measure each in two wells or more, or it stays unknown which of them are active."
        )
    elif (share := float((p <= config.eval.psi[0]).mean())) < FEW_ACTIVE:
        said.append(
            f"{100 * share:.1f}% of the perturbations are active (p ≤ {config.eval.psi[0]:g}): "
            "higher doses, later times or more replicate wells give the model more to learn from; "
            "compare --config.data.correction=centerscale as well."
        )
    unseen = [
        row
        for row in record.get("comparisons", ())
        if row["split"] == UNSEEN and row["metric"] == "top_1pct" and row["gallery"] == "full"
        if row["direction"] == "profile_to_molecule" and row["subset"] == "all"
    ]
    level = [row["baseline"] for row in unseen if not row["better"]]
    if found := [name for name in level if name in _ALONE]:
        said.append(
            f"On unseen molecules the model is not certainly better than {', '.join(found)}: what "
            "it finds may be that alone, and no mechanism. Look at the rows of active, not toxic "
            "perturbations and of the galleries of one dose and one source."
        )
    if level := [name for name in level if name not in CONTROL_NAMES]:
        said.append(
            f"On unseen molecules the model is not certainly better than {', '.join(level)}: more "
            "molecules help most; until then take the simpler method where it does as well."
        )
        few = SIZES["few"]["molecules"][2]
        if n < FEW_FOR_COMPONENTS and not 0 < config.model.molecules.components <= few:
            said[-1] += (
                f" The molecule side has {config.model.molecules.components or 'all'} components "
                f"of the features of {n:,} molecules: compare size=few, which has {few}."
            )
        m = config.molecules
        if n >= FEW_FOR_COMPONENTS and not (
            m.embeddings or m.encoder != "none" or any(map(is_embedding, listed(m.blocks)))
        ):
            said[-1] += (
                " It is told fingerprints and descriptors alone. MiniMol's embedding in their "
                "place (molphenix pretrained minimol, then molecules=physchem+minimol) gave 3.3 "
                "[1.5, 5.1] points of top-5% on 1,200 molecules in other clusters, by scaffold "
                "nothing that was certain (docs/results.md)."
            )
    if rejected > 0.05 * (screen.n_wells + rejected):
        said.append(f"{rejected:,} rows could not be used: rejected.csv has each with its reason.")
    return said or [
        "Nothing in the data limits this run plainly: rank a library with its model, and measure "
        "what comes first."
    ]
