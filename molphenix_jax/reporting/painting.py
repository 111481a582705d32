"""The picture of a masked autoencoder at work: what was there, what it saw, what it painted."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

ROWS = ("image", "seen", "painted")


def pictures(
    reconstruction: Any, *, channels: int, crop: int
) -> tuple[Float[np.ndarray, "n c s s"], ...]:
    """Images, what is visible of them (NaN elsewhere), and the hidden patches painted in.

    Args:
        reconstruction: Patches [n, t, p] `predicted` and `target`, and `hidden` [n, t].
        channels: Of the images.
        crop: Their side in pixels.
    """
    target, predicted = reconstruction.target, reconstruction.predicted
    hidden = reconstruction.hidden[..., None]
    patches = (target, np.where(hidden, np.nan, target), np.where(hidden, predicted, target))
    return tuple(_images(np.asarray(p), channels, crop) for p in patches)


def _images(patches: np.ndarray, channels: int, crop: int) -> np.ndarray:
    n, _, square = patches.shape
    side = round(square**0.5)
    grid = patches.reshape(n, channels, crop // side, crop // side, side, side)
    return grid.transpose(0, 1, 2, 4, 3, 5).reshape(n, channels, crop, crop)


def painting_figure(
    image: Float[np.ndarray, "n c s s"],
    seen: Float[np.ndarray, "n c s s"],
    painted: Float[np.ndarray, "n c s s"],
) -> Figure:
    """Three rows for each image (image, seen, painted), a column for each channel.

    Hidden patches are blue in the middle row; the grey scale of a channel is that of its image.
    """
    n, channels = image.shape[:2]
    figure = Figure(figsize=(1.5 * channels + 0.7, 1.5 * 3 * n + 0.4), layout="constrained")
    grid = figure.subplots(3 * n, channels, squeeze=False)
    for i in range(n):
        for row, found in enumerate((image, seen, painted)):
            for c in range(channels):
                axes = grid[3 * i + row, c]
                low, high = np.percentile(image[i, c], [1, 99.5])
                axes.set_facecolor("#56B4E9")
                axes.imshow(found[i, c], cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
                axes.set_xticks([])
                axes.set_yticks([])
                if c == 0:
                    axes.set_ylabel(ROWS[row])
                if i == 0 and row == 0:
                    axes.set_title(f"channel {c + 1}", fontsize=9)
    return figure
