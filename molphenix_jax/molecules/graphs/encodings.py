"""Positional encodings of connected graphs, many at once: random walks and the Laplacian.

Graphs of one size are stacked, so that a few calls of NumPy do the work of thousands.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from threadpoolctl import ThreadpoolController

from molphenix_jax.molecules.graphs.vocabulary import N_EIGENVECTORS, RANDOM_WALK_STEPS


def encode_positions(
    adjacency: Sequence[Float[np.ndarray, "_ _"]],
) -> list[Float[np.ndarray, "_ w"]]:
    """Encodings of the atoms of connected graphs.

    Args:
        adjacency: Symmetric matrices of 0 and 1, zero diagonal, of any sizes; each graph is
            connected.

    Returns:
        For each graph `random_walks`, eigenvectors and eigenvalues side by side, float32.
    """
    return by_size(adjacency, _encode)


def by_size(
    adjacency: Sequence[Float[np.ndarray, "_ _"]],
    encode: Callable[[Float[np.ndarray, "g n n"]], Float[np.ndarray, "g n w"]],
) -> list[Float[np.ndarray, "_ w"]]:
    """Applies `encode` to graphs of one size together; float32, in the order of the graphs."""
    encoded: list[np.ndarray] = [np.empty(0)] * len(adjacency)
    places: dict[int, list[int]] = {}
    for i, matrix in enumerate(adjacency):
        places.setdefault(len(matrix), []).append(i)
    with _controller().limit(limits=1, user_api="blas"):
        for members in places.values():
            together = encode(np.stack([adjacency[i] for i in members]))
            for i, rows in zip(members, together.astype(np.float32), strict=True):
                encoded[i] = rows
    return encoded


@functools.cache
def _controller() -> ThreadpoolController:
    # These matrices are too small to share among threads, which then only wait for one another: on
    # a busy machine that took twenty times as long.
    return ThreadpoolController()


def _encode(stacked: Float[np.ndarray, "g n n"]) -> Float[np.ndarray, "g n w"]:
    return side_by_side(random_walks(stacked), *laplacian(stacked))


def side_by_side(
    walks: Float[np.ndarray, "g n s"],
    vectors: Float[np.ndarray, "g n k"],
    values: Float[np.ndarray, "g k"],
) -> Float[np.ndarray, "g n w"]:
    """Of each atom its walks, its components and its molecule's eigenvalues."""
    values = np.broadcast_to(values[:, None, :], vectors.shape)
    return np.concatenate([walks, vectors, values], axis=2)


def random_walks(adjacency: Float[np.ndarray, "g n n"]) -> Float[np.ndarray, "g n w"]:
    """Probability to be back after 1 to 16 steps (RWSE, Dwivedi et al., arXiv 2110.07875).

    The walk's matrix D⁻¹A and the symmetric S = D^-½ A D^-½ have the same powers on the diagonal,
    and that of S^(a+b) is the row sum of S^a ∘ S^b: half the products suffice.
    """
    if adjacency.shape[1] == 1:  # nowhere to go: the walk stays
        return np.ones((len(adjacency), 1, RANDOM_WALK_STEPS))
    scale = adjacency.sum(axis=2) ** -0.5
    step = adjacency * scale[:, :, None] * scale[:, None, :]
    return diagonals_of_powers(step, lambda a, b: np.einsum("gij,gij->gi", a, b))


def diagonals_of_powers(
    step: Float[np.ndarray, "g n n"],
    of_product: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Float[np.ndarray, "g n w"]:
    """Diagonals of the powers 1 to 16 of matrices.

    Args:
        step: The matrices.
        of_product: The diagonal [g, n] of the product of two powers, which needs no product.
    """
    powers = [step]
    for _ in range(1, RANDOM_WALK_STEPS // 2):
        powers.append(powers[-1] @ step)
    back = [np.diagonal(step, axis1=1, axis2=2)]
    for k in range(2, RANDOM_WALK_STEPS + 1):
        back.append(of_product(powers[k // 2 - 1], powers[k - k // 2 - 1]))
    return np.stack(back, axis=2)


def laplacian(
    adjacency: Float[np.ndarray, "g n n"],
) -> tuple[Float[np.ndarray, "g n k"], Float[np.ndarray, "g k"]]:
    """The 8 lowest eigenvectors and eigenvalues of D - A, zeros where a graph has fewer."""
    vectors, values = lowest(*np.linalg.eigh(laplacian_matrices(adjacency)))
    vectors[:, :, 0] = adjacency.shape[1] ** -0.5  # known exactly, as its eigenvalue is
    return vectors, values


def lowest(
    all_values: Float[np.ndarray, "g n"], all_vectors: Float[np.ndarray, "g n n"]
) -> tuple[Float[np.ndarray, "g n k"], Float[np.ndarray, "g k"]]:
    """The 8 lowest eigenvectors and eigenvalues, zeros where a graph has fewer.

    The lowest eigenvalue of a connected graph is exactly 0, and so free of rounding.
    """
    n_graphs, n = all_values.shape
    kept = min(n, N_EIGENVECTORS)
    vectors = np.zeros((n_graphs, n, N_EIGENVECTORS))
    values = np.zeros((n_graphs, N_EIGENVECTORS))
    vectors[:, :, :kept] = all_vectors[:, :, :kept]
    values[:, :kept] = all_values[:, :kept]
    values[:, 0] = 0.0
    return vectors, values


def laplacian_matrices(adjacency: Float[np.ndarray, "g n n"]) -> Float[np.ndarray, "g n n"]:
    """D - A in float64."""
    rows = np.arange(adjacency.shape[1])
    matrices = -adjacency.astype(np.float64)
    matrices[:, rows, rows] = adjacency.sum(axis=2)
    return matrices
