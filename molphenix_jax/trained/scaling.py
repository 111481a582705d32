"""From raw arrays to tower inputs: centred, scaled and, for small screens, reduced by PCA.

A head's first layer learns only within the span of its training inputs; what its random
initialisation does with the rest is noise on an unseen molecule. With a few hundred training
molecules and thousands of fingerprint bits that rest is most of the space, so small heads see the
leading principal components of the training inputs. All is fitted on training perturbations alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

# Scaled values stay within this many standard deviations of the training inputs.
CLIP_SD = 5.0


class InputScaling(NamedTuple):
    """The affine map to a tower's input, as arrays (they go into the checkpoint).

    Attributes:
        mean: Column means of the training inputs.
        std: Column standard deviations; constant columns have 1.
        weight: What each column is multiplied by after the clip, so that blocks weigh the same.
        rotation: Principal axes [d, k] scaled to the output variance; [d, 0] leaves all columns.
    """

    mean: Float[np.ndarray, " d"]
    std: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, " d"]
    rotation: Float[np.ndarray, "d k"]

    @property
    def width(self) -> int:
        """Columns of the output."""
        return self.rotation.shape[1] or self.rotation.shape[0]

    def __call__(self, x: Float[Array | np.ndarray, "n d"]) -> Float[Array, "n k"]:
        """Scales raw inputs, bits or floats."""
        scaled = (jnp.asarray(x, jnp.float32) - self.mean[None]) / self.std[None]
        scaled = jnp.clip(scaled, -CLIP_SD, CLIP_SD) * self.weight[None]
        return scaled @ self.rotation if self.rotation.shape[1] else scaled


def fit_scaling(
    blocks: Sequence[Real[np.ndarray, "n _"]], *, components: int, whiten: float
) -> InputScaling:
    """Fits the scaling of blocks that will be given side by side.

    Each column is brought to standard deviation 1, and each block to the same total variance, so
    that 167 MACCS bits count as much as 2,048 Morgan bits.

    Args:
        blocks: Training inputs, one array per block, same rows.
        components: Principal components to keep; 0 keeps the columns as they are.
        whiten: 0 keeps the components' variances, 1 makes them equal, 0.5 lies between.

    Returns:
        The map; its outputs have variance 1 on average over the training rows.
    """
    from sklearn.decomposition import PCA

    means, stds, weights = [], [], []
    n_columns = sum(block.shape[1] for block in blocks)
    for block in blocks:
        mean = block.mean(axis=0, dtype=np.float64)
        std = block.std(axis=0, dtype=np.float64)
        varies = std > 1e-6
        share = np.sqrt(max(varies.sum(), 1) * len(blocks) / n_columns)
        means.append(mean)
        stds.append(np.where(varies, std, 1.0))
        weights.append(np.where(varies, 1 / share, 1.0))
    mean, std, weight = (np.concatenate(v).astype(np.float32) for v in (means, stds, weights))
    if not components:
        return InputScaling(mean, std, weight, np.zeros((n_columns, 0), np.float32))
    scaled = np.concatenate(blocks, axis=1).astype(np.float32)
    scaled = np.clip((scaled - mean[None]) / std[None], -CLIP_SD, CLIP_SD) * weight[None]
    k = min(components, scaled.shape[1], len(scaled) - 1)
    pca = PCA(k, random_state=0).fit(scaled)
    axes = np.asarray(pca.components_)
    variance = np.maximum(pca.explained_variance_, 1e-6 * pca.explained_variance_[0])
    gain = variance ** (-whiten / 2)
    gain /= np.sqrt(np.mean(variance * gain**2))
    return InputScaling(mean, std, weight, (axes.T * gain[None]).astype(np.float32))
