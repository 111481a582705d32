"""JUMP's molecules ranked by structure for the clusters of COMAS, for docs/results.md.

python jump_plate.py RUN SCREEN HITS.csv JUMP.parquet N OUT: RUN the run with folds, SCREEN its
prepared screen, HITS what `comas_hits.py` wrote. N molecules of JUMP are drawn (0: all), less those
of the screen, at 10 µM; each thousand is kept in the folder OUT, so the same command goes on. Told
are the active shares of the first of them for each mechanism, and for the best of all mechanisms:
as many as 1,000 of all are, beside the share of all and of ten neighbours of each among the rest
by weight, logP, polar surface, donors, acceptors, rotatable bonds and rings.
"""

import pathlib
import sys

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from molphenix_jax.enrichment.hits import read_hits
from molphenix_jax.molecules import standardise
from molphenix_jax.molecules.filters import properties
from molphenix_jax.retrieval.model import load_folds
from molphenix_jax.runtime.progress import say
from molphenix_jax.screens.store import open_screen

PROPERTIES = ["mw", "logp", "tpsa", "hbd", "hba", "rotatable", "rings", "aromatic_rings"]
FEWEST_HITS, CHUNK = 10, 1_000

run, folder, table, jump, out = (pathlib.Path(sys.argv[k]) for k in (1, 2, 3, 4, 6))
library = pd.read_parquet(jump, columns=["smiles", "active"])
order = np.random.default_rng(0).permutation(len(library))[: int(sys.argv[5]) or None]
screen = open_screen(folder)
hits = read_hits(table, screen, at_least=80.0)
key = screen.molecules["inchikey"].to_numpy(str)
seen = {one[:14] for one in key}
profile = screen.profiles(np.arange(screen.n_perturbations))
models, queries = load_folds(run), []
kinds = np.flatnonzero(hits.hit.sum(axis=0) >= FEWEST_HITS)
for model in models:
    side = model.molecules.drop_duplicates("inchikey").set_index("inchikey")["split"]
    known = side.reindex(key[screen.molecule]).to_numpy(str) != "unseen_molecules"
    z = model.embed_profiles(profile, corrected=True)
    mean = [z[hits.hit[:, k] & known].mean(axis=0) - z[known].mean(axis=0) for k in kinds]
    queries.append(np.stack(mean))
out.mkdir(parents=True, exist_ok=True)
for start in range(0, len(order), CHUNK):
    path = out / f"part_{start:06d}.npz"
    if path.exists():
        continue
    rows = order[start : start + CHUNK]
    standard = standardise(library["smiles"].iloc[rows].tolist())
    new = ~standard["inchikey"].fillna("").str[:14].isin(seen) & standard["smiles"].notna()
    good = np.flatnonzero(new & (standard["smiles"] != ""))
    smiles = standard["smiles"].iloc[good].tolist()
    found = models[0].featuriser.of_standard(smiles, {})
    score = sum(
        model.embed_features(found, concentrations_um=[10.0])[:, 0] @ query.T
        for model, query in zip(models, queries, strict=True)
    )
    told = properties([smiles[i] for i in found.rows], PROPERTIES)
    np.savez(path, row=rows[good[found.rows]], score=score, properties=told)
    say(f"{start + len(rows):,} of {len(order):,}")
parts = [np.load(path) for path in sorted(out.glob("part_*.npz"))]
row, score, told = (np.concatenate([p[name] for p in parts]) for name in parts[0].files)
active = library["active"].to_numpy(bool)[row]
score = (score - score.mean(axis=0)) / score.std(axis=0)
scaled = np.nan_to_num((told - np.nanmean(told, axis=0)) / np.nanstd(told, axis=0)).clip(-5, 5)
top = round(1_000 * len(row) / len(library))
say(f"{len(row):,} molecules, {active.mean():.3f} active; the first {top:,}")
names = [hits.names[k] for k in kinds]
rng = np.random.default_rng(0)
for name, column in [*zip(names, score.T, strict=True), ("best of all", score.max(axis=1))]:
    first = np.argsort(-column)[:top]
    rest = np.setdiff1d(np.arange(len(row)), first)
    near = rest[cKDTree(scaled[rest]).query(scaled[first], k=10)[1]]
    more = active[first] - active[near].mean(axis=1)
    drawn = rng.integers(0, top, (2_000, top))
    ends = [np.percentile(of[drawn].mean(axis=1), [2.5, 97.5]) for of in (active[first], more)]
    say(
        f"{name}: {active[first].mean():.3f} {ends[0].round(3)}, matched "
        f"{active[near].mean():.3f}, difference {more.mean():+.3f} {ends[1].round(3)}"
    )
