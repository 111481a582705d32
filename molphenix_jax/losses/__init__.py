"""Contrastive losses for any two towers, as pure functions of their embeddings (paper section 3).

Arrays go in, a scalar and metrics come out: there is no screen, no config and no model here, and
importing this package loads JAX and NumPy alone. Row i of one side and row i of the other are a
pair, all other rows are what it is told from; both sides are L2-normalised.

>>> import jax
>>> import jax.numpy as jnp
>>> from molphenix_jax import losses
>>> left, right = jax.random.normal(jax.random.key(0), (2, 256, 32))
>>> unit = lambda z: z / jnp.linalg.norm(z, axis=1, keepdims=True)
>>> loss = losses.make_loss("siglip", execution="chunked")
>>> def objective(p):
...     z_x, z_m = unit(left @ p["weights"]), unit(right)
...     return loss(z_x, z_m, scale=jnp.exp(p["log_scale"]), bias=p["bias"])
>>> parameters = {"weights": jnp.eye(32), "log_scale": jnp.log(10.0), "bias": -5.0}
>>> (value, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(parameters)
>>> print(f"{value:.1f}, {metrics['logit_positive']:.1f}, {gradient['bias']:.1f}")
11.9, -5.0, 5.3

`make_loss` gives a `Loss`. `LOSSES` has a `LossSpec` for each name, a line on it and its options:
clip, dcl, infoloob, siglip, hopfield_clip and cloome tell pairs apart; s2l and cwcl also soften the
targets of other pairs by how similar frozen vectors of one side are (`profile=`, [n, p]; s2l in
units of `null_constant`, with the constants of `S2L_PRESETS`; `soft_positives` tells how many pairs
are similar at some k, or the k of a share of them, as `SoftPositives`). `PROPERTY_LOSSES` are those
of property prediction with missing labels. A loss of one's own is a `LossSpec` under a name,
`molphenix_jax.register("loss", name, spec)`: of a `PairSum`, or of any kernel (`losses.blocks`).

`Execution` is a choice of its own, which changes no number beyond rounding:

    dense     all n² pairs at once
    chunked   tile by tile, value and gradient; memory grows with n, not with n²
    ring      over an axis of a mesh: rows stay on their device, blocks of columns travel

Memory in MiB of value and gradient at 8,192 rows of width 512 (profiles of 384), from the compiler;
of a ring per device of 8, beside gathering all columns everywhere (`molphenix bench loss`, CPU):

                     dense   chunked      ring   gathering
    clip             1,024        20        10         128
    dcl              1,024        20        10         160
    infoloob         1,024        20        10         160
    cwcl             1,024        32        15         128
    siglip             768        28         9          96
    s2l              1,280        36        17         160
    hopfield_clip    3,689       121        54         968
    cloome           3,681       121        54         967

In a ring n has to be a multiple of the devices: pad, and pass `mask=`. Inputs are global arrays
whose rows are split over the axis, of one process or of many; scale and bias are on all devices.
(Dense and chunked losses of such arrays are right too, but XLA gathers the columns.)

>>> from jax.sharding import AxisType, NamedSharding, PartitionSpec
>>> mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
>>> ring = losses.make_loss("siglip", execution="ring", mesh=mesh)
>>> z_x, z_m = jax.device_put((unit(left), unit(right)), NamedSharding(mesh, PartitionSpec("data")))
>>> value, metrics = jax.jit(ring)(z_x, z_m, scale=10.0, bias=-5.0)
>>> print(f"{value:.1f}")
11.9
"""

from molphenix_jax.losses.pairs import PairSum
from molphenix_jax.losses.properties import PROPERTY_LOSSES
from molphenix_jax.losses.registry import LOSSES, S2L_PRESETS, Loss, LossSpec, make_loss
from molphenix_jax.losses.similarity import SoftPositives, null_constant, soft_positives
from molphenix_jax.losses.streaming import Execution

__all__ = [
    "LOSSES",
    "PROPERTY_LOSSES",
    "S2L_PRESETS",
    "Execution",
    "Loss",
    "LossSpec",
    "PairSum",
    "SoftPositives",
    "make_loss",
    "null_constant",
    "soft_positives",
]
