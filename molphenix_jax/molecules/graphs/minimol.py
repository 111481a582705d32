"""Positional encodings as MiniMol was trained on, with vectors that are the same on any machine.

graphium takes eigenvectors as LAPACK's general solver gives them. Their signs, and within equal
eigenvalues their basis, follow from its rounding: another processor gives other ones, and another
fingerprint. Here both follow from the molecule: atoms in canonical order decide.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from molphenix_jax.molecules.graphs.encodings import (
    by_size,
    diagonals_of_powers,
    laplacian_matrices,
    lowest,
    side_by_side,
)
from molphenix_jax.molecules.graphs.vocabulary import N_EIGENVECTORS, RANDOM_WALK_STEPS

# Eigenvalues closer than this are one; components of a vector whose sizes differ less, relative to
# the largest, are equally large. Far above rounding, far below what molecules have.
_SAME = 1e-6


def encode_minimol(
    adjacency: Sequence[Float[np.ndarray, "_ _"]],
) -> list[Float[np.ndarray, "_ w"]]:
    """As `encode_positions`: random walks, eigenvectors and eigenvalues of connected graphs."""
    return by_size(adjacency, _encode)


def _encode(stacked: Float[np.ndarray, "g n n"]) -> Float[np.ndarray, "g n w"]:
    return side_by_side(return_probabilities(stacked), *eigenvectors(stacked))


def return_probabilities(adjacency: Float[np.ndarray, "g n n"]) -> Float[np.ndarray, "g n w"]:
    """Probability that a walk is back after 1 to 16 steps; of a single atom 1.

    From powers of D⁻¹A itself: where degrees are 1, 2 and 4 these are exact, and so are the halves
    that float16 rounds one way or the other.
    """
    if adjacency.shape[1] == 1:
        return np.ones((len(adjacency), 1, RANDOM_WALK_STEPS))
    step = adjacency / adjacency.sum(axis=2, dtype=np.float64)[:, :, None]
    return diagonals_of_powers(step, lambda a, b: (a * b.swapaxes(1, 2)).sum(axis=2))


def eigenvectors(
    adjacency: Float[np.ndarray, "g n n"],
) -> tuple[Float[np.ndarray, "g n k"], Float[np.ndarray, "g k"]]:
    """The 8 lowest eigenvectors and eigenvalues of D - A, zeros where a graph has fewer.

    A vector's sign is that of its largest component, the first of them in the order of the rows.
    Where eigenvalues are equal, the first vector is the unit vector of their space that has the
    largest component on some row (the first such row), the next that of what is left, and so on.
    """
    n = adjacency.shape[1]
    kept = min(n, N_EIGENVECTORS)
    all_values, all_vectors = np.linalg.eigh(laplacian_matrices(adjacency))
    vectors, values = lowest(all_values, all_vectors)
    equal = np.diff(all_values, axis=1)[:, :kept] < _SAME
    for graph in np.flatnonzero(equal.any(axis=1)):
        first = 0
        while first < kept:
            last = first
            while last + 1 < n and all_values[graph, last + 1] - all_values[graph, last] < _SAME:
                last += 1
            if last > first:
                basis = _basis(all_vectors[graph][:, first : last + 1], min(last + 1, kept) - first)
                vectors[graph, :, first : first + basis.shape[1]] = basis
            first = last + 1
    sizes = np.abs(vectors)
    largest = (sizes >= (1 - _SAME) * sizes.max(axis=1, keepdims=True)).argmax(axis=1)
    signs = np.sign(np.take_along_axis(vectors, largest[:, None, :], axis=1))
    return vectors * signs, values


def _basis(space: Float[np.ndarray, "n d"], n: int) -> Float[np.ndarray, "n k"]:
    """The first n vectors of the basis of a space that `eigenvectors` describes."""
    projector = space @ space.T
    basis = np.zeros((len(space), n))
    for i in range(n):
        left = np.diagonal(projector)
        row = int((left >= (1 - _SAME) * left.max()).argmax())
        basis[:, i] = projector[:, row] / np.sqrt(left[row])
        projector = projector - np.outer(basis[:, i], basis[:, i])
    return basis
