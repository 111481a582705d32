"""Fewer molecules of a table of properties, of every label as many as are asked for.

    python docs/evidence/properties_part.py mol_properties_multitask.parquet properties_part.parquet

Of each label 500 molecules (what `molphenix figures` asks at most), half of them of the rarer kind
as far as there are so many; molecules with many labels first, so that the same ones serve several.
Where a label of two kinds has values between 0 and 1, sources of one molecule disagree: a gap.
"""

import sys

import numpy as np
import pandas as pd

OF_EACH = 500
OF_TWO_KINDS = 0.9  # share of 0 and 1


def main(file: str, out: str) -> None:
    """Writes the rows that are kept."""
    table = pd.read_parquet(file)
    table = table.sample(frac=1.0, random_state=0)
    names = [name for name in table if "__" in name]
    for name in names:
        value = table[name].to_numpy(np.float64)
        if np.isin(value[np.isfinite(value)], (0.0, 1.0)).mean() > OF_TWO_KINDS:
            table[name] = np.where(np.isin(value, (0.0, 1.0)), value, np.nan)
    known = table[names].notna().to_numpy()
    order = np.argsort(-known.sum(axis=1), kind="stable")
    table, known = table.iloc[order], known[order]
    kept = np.zeros(len(table), bool)
    for k, name in enumerate(names):
        value = table[name].to_numpy(np.float64)
        rows = np.flatnonzero(known[:, k])
        if set(np.unique(value[rows])) <= {0.0, 1.0}:
            positive = value[rows] > 0.5
            kinds = sorted((rows[positive], rows[~positive]), key=len)
            rare = kinds[0][: OF_EACH // 2]
            rows = np.concatenate([rare, kinds[1]])
        kept[rows[:OF_EACH]] = True
    table[kept].to_parquet(out, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
