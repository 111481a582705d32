"""The plainest image embedding: how bright, how uneven and how alike the channels are.

It knows no shapes, so it tells what an encoder has to beat; and it needs no weights.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

# Quantiles of each channel's pixels.
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def intensity_features(images: Shaped[Array, "n c h w"]) -> Float[Array, "n d"]:
    """Numbers of each image: those of each channel, then correlations of pairs of channels.

    Of each channel: mean, standard deviation, seven quantiles, and the mean step from a pixel to
    the next; d = 10 c + c (c - 1) / 2.

    Args:
        images: Intensities on the 8-bit scale, 0 to 255.
    """
    n, c = images.shape[:2]
    x = images.astype(jnp.float32) / 255.0
    mean = x.mean((2, 3), keepdims=True)
    # The mean of what is left takes away the rounding of the mean of many bright pixels.
    centred = x - mean
    left = centred.mean((2, 3), keepdims=True)
    mean, centred = mean + left, centred - left
    std = jnp.sqrt(jnp.square(centred).mean((2, 3), keepdims=True))
    pixels = x.reshape(n, c, -1)
    quantiles = jnp.moveaxis(jnp.quantile(pixels, jnp.array(QUANTILES), axis=2), 0, 2)
    down = jnp.abs(jnp.diff(x, axis=2)).mean((2, 3))
    right = jnp.abs(jnp.diff(x, axis=3)).mean((2, 3))
    of_channel = jnp.concatenate(
        [mean[..., 0], std[..., 0], quantiles, 0.5 * (down + right)[..., None]], axis=2
    )
    scaled = (centred / (std + 1e-6)).reshape(n, c, -1)
    correlation = jnp.einsum("ncp,ndp->ncd", scaled, scaled) / scaled.shape[2]
    first, second = np.triu_indices(c, 1)
    return jnp.concatenate([of_channel.reshape(n, -1), correlation[:, first, second]], axis=1)
