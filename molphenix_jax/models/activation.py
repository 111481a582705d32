"""The exact GELU, x Φ(x), as PyTorch computes it."""

import jax
from jaxtyping import Array, Float


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """By erf. JAX's exact one takes erfc, an exponential and two polynomials more."""
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))
