"""Runs that differ in their seed as one row, for docs/results.md, "Several screens at once".

python over_seeds.py NAME=RUN,RUN,RUN …: the first is what the others are compared with; RUN has a
ranks.parquet (of several screens: RUN/screens/NAME). All pairs of unseen molecules, full gallery,
profile to molecule. Prints top-1% / top-5% / median rank %, means over seeds, and the differences
in points with 95% intervals over molecules and seeds (`evaluation/contrasts.py`). The baselines of
the first run that has any stand below.
"""

import pathlib
import sys

import numpy as np
import pandas as pd

from molphenix_jax.evaluation.contrasts import contrasts
from molphenix_jax.evaluation.ranks import cutoff
from molphenix_jax.runtime.progress import say

QUERY = ["fold", "molecule", "concentration_um", "condition"]


def asked(run: str) -> pd.DataFrame:
    """Ranks of all pairs of unseen molecules in the full gallery."""
    of = pd.read_parquet(pathlib.Path(run) / "ranks.parquet")
    chosen = (of["split"] == "unseen_molecules") & (of["direction"] == "profile_to_molecule")
    chosen &= (of["subset"] == "all") & (of["gallery"] == "full")
    return of[chosen].set_index([name for name in QUERY if name in of.columns])


groups = {}
for argument in sys.argv[1:]:
    label, _, runs = argument.partition("=")
    groups[label] = [asked(run) for run in runs.split(",")]
first = next(iter(groups.values()))
index = first[0].index
size = first[0]["n_gallery"].to_numpy()
ranks = {name: [of["molphenix"].loc[index] for of in tables] for name, tables in groups.items()}
for tables in groups.values():
    for name in ("knn", "ridge", "physchem", "embedded"):
        if name in tables[0] and name not in ranks:
            ranks[name] = [tables[0][name].loc[index]] * len(first)
values = {}
for percent in (1, 5):
    last = np.array([cutoff(n, percent) for n in size])
    values[percent] = {
        name: np.stack([r.to_numpy() <= last for r in of]) * 100.0 for name, of in ranks.items()
    }
reference, *others = ranks
molecule = index.get_level_values("molecule").to_numpy(str)
say(f"{len(index):,} queries of {len(np.unique(molecule)):,} molecules, {len(first)} seeds")
for name, of in ranks.items():
    median = np.mean([np.median(r.to_numpy() / size) for r in of]) * 100
    line = f"{name}: {values[1][name].mean():.1f} / {values[5][name].mean():.1f} / {median:.1f}"
    for percent in (1, 5) if name in others else ():
        (one,) = contrasts(values[percent], molecule, [(name, reference)])
        ends = "[{:+.1f}, {:+.1f}]".format(*one.interval) if one.interval else "[?]"
        line += f", top-{percent} {one.difference:+.1f} {ends}"
    say(line)
