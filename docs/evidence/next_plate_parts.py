"""Parts of the candidates by themselves, for docs/results.md, "The next plate".

python next_plate_parts.py RUN/enrichment CLUSTERS.parquet: candidates at 10 µM, and of dcm2024.
"""

import pathlib
import sys

import numpy as np
import pandas as pd

from molphenix_jax.enrichment.methods import MODEL, methods_of
from molphenix_jax.evaluation.enrichment import Screened, macro, ranked
from molphenix_jax.runtime.progress import say

folder, clusters = map(pathlib.Path, sys.argv[1:3])
scores, places = pd.read_parquet(folder / "scores.parquet"), pd.read_csv(folder / "ranked.csv")
for table in (scores, places):
    table["dose"] = table["concentration_um"].round(4)
own = ["kind", "inchikey", "dose"]
scores = scores.merge(places[[*own, "hit"]], on=own)
source = pd.read_parquet(clusters, columns=["inchikey", "source"]).drop_duplicates("inchikey")
scores = scores.merge(source, on="inchikey")
methods = methods_of(scores)
for what, part in (
    ("at 10 µM", scores[scores["dose"] == 10.0]),
    ("of dcm2024", scores[scores["source"] == "dcm2024"]),
):
    kinds = []
    for name, of in part.groupby("kind"):
        if of["hit"].sum() >= 10:
            fold = np.unique(of["fold"], return_inverse=True)[1]
            rank = {method: ranked(of[method].to_numpy(), fold) for method in methods}
            row, hit = of["perturbation"].to_numpy(), of["hit"].to_numpy(bool)
            molecule = of["inchikey"].str[:14].to_numpy(str)
            kinds.append(Screened(str(name), row, molecule, fold, hit, rank))
    say(f"{what}: {part['perturbation'].nunique():,}, {[kind.name for kind in kinds]}")
    for row in macro(kinds, model=MODEL, rivals=methods[1:]):
        say(str(row))
