"""Dahlin's classes by clusters, for docs/results.md, "The next plate".

python dahlin_classes.py RUN SCREEN CLUSTERS.parquet DAHLIN.parquet: RUN the run with folds, SCREEN
its prepared screen, then the files of both. Prints the AUROC of each class among the others.
"""

import pathlib
import sys

import numpy as np
import pandas as pd

from molphenix_jax.enrichment.hits import read_hits
from molphenix_jax.retrieval.model import load_folds
from molphenix_jax.runtime.progress import say
from molphenix_jax.screens.store import open_screen

run, folder, clusters, dahlin = map(pathlib.Path, sys.argv[1:5])
asked = pd.read_parquet(dahlin, columns=["smiles", "inchikey", "class", "is_control"])
asked = asked[~asked["is_control"].astype(bool)].drop_duplicates("inchikey")
asked = asked.dropna(subset=["smiles"])
screen = open_screen(folder)
# No hit is left out: none of these molecules is a candidate.
names = "^cluster_(?!high|sim)"
hits = read_hits(clusters, screen, at_least=80.0, columns=names)
key = screen.molecules["inchikey"].to_numpy(str)
in_comas = asked["inchikey"].str[:14].isin({one[:14] for one in key}).to_numpy()
profile = screen.profiles(np.arange(screen.n_perturbations))
score = np.zeros((len(asked), len(hits.names)))
for model in load_folds(run):
    side = model.molecules.set_index("inchikey")["split"]
    known = side.loc[key[screen.molecule]].to_numpy(str) != "unseen_molecules"
    z_x = model.embed_profiles(profile, corrected=True)
    z_m = model.embed_molecules(asked["smiles"].tolist(), concentration_um=10.0)
    for k in range(len(hits.names)):
        if (chosen := hits.hit[:, k] & known).any():
            score[:, k] += z_m @ (z_x[chosen].mean(axis=0) - z_x[known].mean(axis=0))
for name in asked["class"].dropna().unique():
    own = (asked["class"] == name).to_numpy()
    for what, used in (("all", np.ones(len(asked), bool)), ("not in COMAS", ~in_comas)):
        a, b = score[used & own], score[used & ~own]
        if len(a) >= 3:
            auroc = (a[:, None] > b[None]).mean((0, 1)) + (a[:, None] == b[None]).mean((0, 1)) / 2
            told = ", ".join(f"{c} {v:.2f}" for c, v in zip(hits.names, auroc, strict=True))
            say(f"{name}, {what} ({len(a)}): {told}")
