"""Adds a mechanism to the wells of COMAS: the cluster that their molecule is most similar to.

    python docs/evidence/comas_mechanisms.py profiles_comas_u2os.parquet \
        comas_cluster_similarity13.parquet comas_mechanisms.parquet

A molecule has the cluster of its highest similarity at any dose, if that is 80% or more; others
have none. The clusters are of profiles of this assay, so the label says which phenotype a molecule
has at some dose, not what it binds to.
"""

import sys

import numpy as np
import pandas as pd

_NO_CLUSTERS = ("cluster_high", "cluster_sim")
AT_LEAST = 80  # similarity in %


def main(wells_file: str, clusters_file: str, out: str) -> None:
    """Writes the wells with a column `mechanism`."""
    wells, clusters = pd.read_parquet(wells_file), pd.read_parquet(clusters_file)
    names = [n for n in clusters if n.startswith("cluster_") and n not in _NO_CLUSTERS]
    molecules = clusters["inchikey"].str[:14].to_numpy(str)
    told = {}
    for molecule in np.unique(molecules):
        highest = np.nan_to_num(clusters.loc[molecules == molecule, names].to_numpy()).max(axis=0)
        if highest.max() >= AT_LEAST:
            told[molecule] = names[int(highest.argmax())].removeprefix("cluster_")
    asked = wells["inchikey"].str[:14].to_numpy(str)
    wells["mechanism"] = [told.get(molecule, "") for molecule in asked]
    wells.to_parquet(out, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
