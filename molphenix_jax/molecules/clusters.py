"""Butina clusters: groups of similar molecules for splits that keep analogue series together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from molphenix_jax.molecules.fingerprints import featurise, tanimoto

# Rows of the similarity matrix at a time: 512 × 15,000 float32 are 30 MB.
_ROWS = 512


def cluster_butina(smiles: Sequence[str], *, cutoff: float) -> Int64[np.ndarray, " n"]:
    """Butina's clusters on Morgan fingerprints (radius 2, 2048 bits).

    The molecule with the most neighbours takes all of them as its cluster, then the next one takes
    those that are left (Butina, J. Chem. Inf. Comput. Sci. 1999, 39, 747). The neighbour lists come
    from blocks of a matrix product and only pairs above the cutoff are kept, so memory grows with
    the number of similar pairs, not with n². The partition is that of RDKit's `Butina.ClusterData`.

    Args:
        smiles: n standardised SMILES.
        cutoff: Tanimoto similarity in (0, 1]; molecules at or above it are neighbours.

    Returns:
        [n] cluster ids, 0 the largest at the time it was taken. The same for the same list; among
        molecules with equally many neighbours the later in the list goes first, as in RDKit.

    Raises:
        ValueError: the cutoff is outside (0, 1], or a SMILES cannot be read.
    """
    if not 0.0 < cutoff <= 1.0:
        raise ValueError(f"cutoff is a Tanimoto similarity in (0, 1], not {cutoff}")
    bits = featurise(smiles, "morgan_r2")
    neighbours: list[np.ndarray] = []
    for start in range(0, len(bits), _ROWS):
        similar = tanimoto(bits[start : start + _ROWS], bits) >= np.float32(cutoff)
        neighbours.extend(np.flatnonzero(row).astype(np.int32) for row in similar)

    counts = np.array([len(members) for members in neighbours], np.int64)
    clusters = np.full(len(bits), -1, np.int64)
    n_clusters = 0
    for centre in np.argsort(counts, kind="stable")[::-1]:
        if clusters[centre] >= 0:
            continue
        clusters[centre] = n_clusters
        members = neighbours[centre]
        clusters[members[clusters[members] < 0]] = n_clusters
        n_clusters += 1
    return clusters
