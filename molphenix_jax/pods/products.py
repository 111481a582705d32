"""Floating point operations of a program's matrix products, counted before a compiler sees it.

XLA's own count has each body of a loop once, and so a tile of a ring's loss in place of the ring.
"""

import math
from typing import Any

from jax.extend import core


def product_flops(jaxpr: Any) -> float:
    """Operations of all products and convolutions on all devices together.

    A loop of known length counts as often as it runs and any other once, as that over the updates
    of a dispatch; of branches the dearest counts.
    """
    return sum(_of(equation) for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns)


def _of(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * math.prod(left[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        n_out = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * equation.outvars[0].aval.size * kernel.size / n_out
    if name == "cond":
        return max(product_flops(branch) for branch in params["branches"])
    within = sum(product_flops(each) for value in params.values() for each in _programs(value))
    if name == "scan":
        return within * params["length"]
    if name == "shard_map":
        return within * params["mesh"].size
    return within


def _programs(value: Any) -> list[Any]:
    values = value if isinstance(value, tuple | list) else [value]
    return [each for each in values if isinstance(each, core.Jaxpr | core.ClosedJaxpr)]
