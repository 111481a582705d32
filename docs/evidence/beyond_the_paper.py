"""A prior over active molecules, other ways to add members, onset doses: for docs/results.md.

python beyond_the_paper.py RUN RUN …: runs with folds that differ in their seed. Of the unseen
molecules of each fold, profile to molecule, full gallery: top-1%, top-5% and mean log rank by the
mean cosine of the members; by that + lambda × log p(active | molecule, dose), p by boosted trees
of descriptors, dose and condition on the training pairs; by the best member; the molecule's rank
(best over its doses) under each. Differences have simultaneous 95% intervals over molecules and
seeds. Then onset doses, of the first run: the lowest dose from which on every higher one is active
(p ≤ .01), told for each unseen molecule by those trees, by the model (how far from the control
wells, as `molphenix rank` tells it), or always so many doses below the highest; cuts by validation.
"""

import pathlib
import sys

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from molphenix_jax import tasks
from molphenix_jax.evaluate import load_params
from molphenix_jax.evaluation.bootstrap import interval, resampled_means
from molphenix_jax.evaluation.contrasts import contrasts
from molphenix_jax.evaluation.ranks import cutoff
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.progress import say
from molphenix_jax.runtime.workdir.folder import fold_folder
from molphenix_jax.tasks.align.evaluation import BaselineInputs
from molphenix_jax.tasks.stored import placed_config

LAMBDAS = (0.01, 0.03, 0.1, 0.3)
PSI = 0.01
BASE = "mean cosine"


def ranked(score, own):
    """Place of each query's own candidate (columns `own`), what is equal before it."""
    return (score >= score[np.arange(len(own)), own][:, None] - 1e-6).sum(axis=1)


def by_molecule(score, code):
    """The best score over the doses of each molecule."""
    best = np.full((len(score), code.max() + 1), -np.inf)
    for k in range(best.shape[1]):
        best[:, k] = score[:, code == k].max(axis=1)
    return best


def answers(run, params, members, chance):
    """Way → (ranks, candidates) of a fold's unseen pairs, and of their molecules."""
    screen, ids = run.screen, run.split.test
    z_m = run.embed_perturbations(params, screen, ids)
    z_x = run.embed_queries(params, screen.profiles(ids), ids=ids, wells=None)
    each = np.split(z_x, members, axis=1), np.split(z_m, members, axis=1)
    per = np.stack([x @ m.T for x, m in zip(*each, strict=True)]) * members
    scores = {BASE: per.mean(axis=0), "best member": per.max(axis=0)}
    for weight in LAMBDAS:
        told = weight * np.log(np.clip(chance[ids], 0.01, 1.0))
        scores[f"lambda {weight:g}"] = scores[BASE] + told[None]
    code = np.unique(screen.molecule[ids], return_inverse=True)[1]
    pair, molecule = {}, {}
    for way, score in scores.items():
        pair[way] = ranked(score, np.arange(len(ids))), len(ids)
        molecule[way] = ranked(by_molecule(score, code), code), code.max() + 1
    return pair, molecule


def first_all(flags):
    """The first place from which on all are true; the length where there is none."""
    k = len(flags)
    while k and flags[k - 1]:
        k -= 1
    return k


def onsets(screen, ids, active, value, *, cut=0.0, below=None):
    """Whether the onset is told within one dose, for molecules with one and four doses or more."""
    order = np.lexsort((screen.concentration_um[ids], screen.condition[ids], screen.molecule[ids]))
    key = np.stack([screen.molecule[ids], screen.condition[ids]])[:, order]
    starts = np.flatnonzero(np.r_[True, (key[:, 1:] != key[:, :-1]).any(axis=0)])
    right, molecules = [], []
    for rows in np.split(order, starts[1:]):
        n, true = len(rows), first_all(active[ids[rows]])
        if n < 4 or true == n or not np.isfinite(screen.p_value[ids[rows]]).all():
            continue
        told = n - 1 - below if below is not None else first_all(value[ids[rows]] >= cut)
        right.append(told < n and abs(max(told, 0) - true) <= 1)
        molecules.append(screen.molecule[ids[rows[0]]])
    return np.array(right, float), np.array(molecules)


found, onset = [], {way: ([], []) for way in ("trees", "model", "always the same")}
for number, folder in enumerate(map(pathlib.Path, sys.argv[1:])):
    config = placed_config(folder)
    mesh = meshes.make_mesh(config.train.devices)
    task = tasks.make(config, mesh, folder)
    features, screen = BaselineInputs(), task.screen
    active, known = screen.p_value <= PSI, np.isfinite(screen.p_value)
    everyone, parts = np.arange(screen.n_perturbations), []
    for fold in range(task.n_folds):
        place = fold_folder(folder, fold, task.n_folds)
        run = task.run(fold, place)
        _, params = load_params(run, config, mesh, place, checkpoint=None)
        block = features.rows(screen, "physchem", screen.molecule).astype(np.float32)
        dose = np.log10(screen.concentration_um)
        design = np.column_stack([block, dose, run.condition_input(screen, everyone)])
        train = run.split.train[known[run.split.train]]
        trees = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, min_samples_leaf=5, l2_regularization=1.0,
            max_bins=63, random_state=0,
        ).fit(design[train], active[train])  # fmt: skip
        chance = trees.predict_proba(design)[:, 1]
        pair, molecule = answers(run, params, config.train.members, chance)
        parts.append((run.split.test, pair, molecule))
        if number:
            continue
        far = np.zeros(len(everyone))
        if len(null := screen.archive.null.profile):
            centre = run.embed_queries(params, null[:512], ids=everyone[:1], wells=None).mean(0)
            far = -run.embed_perturbations(params, screen, everyone) @ centre
        for way, value in (("trees", chance), ("model", far), ("always the same", None)):
            chosen = run.split.validation if value is not None else run.split.train
            options = (
                [{"below": k} for k in range(6)]
                if value is None
                else [{"cut": c} for c in np.quantile(value[chosen], np.linspace(0.02, 0.98, 49))]
            )
            means = [
                of.mean() if len(of := onsets(screen, chosen, active, value, **o)[0]) else 0.0
                for o in options
            ]
            right, of = onsets(
                screen, run.split.test, active, value, **options[int(np.argmax(means))]
            )
            onset[way][0].append(right)
            onset[way][1].append(of)
    found.append(parts)

ids = np.concatenate([test for test, *_ in found[0]])
names = screen.molecules["inchikey"].str[:14].to_numpy(str)[screen.molecule[ids]]
for what, chosen in (("all", np.ones(len(ids), bool)), ("active", active[ids])):
    for kind, of in (("pair", 1), ("molecule", 2)):
        ways = [*found[0][0][of]]
        for metric, percent in (("top-1%", 1), ("top-5%", 5), ("mean log rank", 0)):
            values = {}
            for way in ways:
                rows = []
                for parts in found:
                    rank = np.concatenate([part[of][way][0] for part in parts])
                    n = np.concatenate([np.full(len(p[0]), p[of][way][1]) for p in parts])
                    last = [cutoff(k, percent) for k in n] if percent else None
                    hit = np.log(rank / n) if last is None else 100.0 * (rank <= np.array(last))
                    rows.append(hit[chosen])
                values[way] = np.stack(rows)
            told = contrasts(values, names[chosen], [(way, BASE) for way in ways[1:]])
            line = ", ".join(
                f"{c.first} {c.difference:+.2f} [{c.interval[0]:+.2f}, {c.interval[1]:+.2f}]"
                for c in told
                if c.interval
            )
            say(f"{what} ({chosen.sum()}), {kind}, {metric}: {values[BASE].mean():.2f}; {line}")
for way, (right, of) in onset.items():
    right, of = np.concatenate(right), np.concatenate(of)
    if len(right):
        drawn = resampled_means(right[:, None], of)[:, 0]
        ends = interval(drawn, n_clusters=len(np.unique(of)))
        say(f"onset within one dose, {way}: {right.mean():.2f} {ends} of {len(right)}")
