"""Other doses of the same molecule weighted in the loss, for docs/results.md.

python other_doses.py WEIGHT --config=siglip:… --workdir=RUN …: `molphenix train`, SigLIP's terms of
two doses of one molecule weighted by WEIGHT (1 is SigLIP itself, 0 leaves them out): hard negatives
by dose, or none.
"""

import sys

import jax
import jax.numpy as jnp

from molphenix_jax import cli
from molphenix_jax.tasks.align.training.run import AlignRun

weight = float(sys.argv[1])
plain = AlignRun.loss_of


def weighted(run, out, pairs):
    """SigLIP, and (weight - 1) times its terms of other doses of the same molecule."""
    value, metrics = plain(run, out, pairs)
    # Equal features are one molecule: a batch has no other name of it.
    rows = [
        run.feed.unpack(name, block).astype(jnp.float32) for name, block in pairs.blocks.items()
    ]
    key = sum(row @ jax.random.normal(jax.random.key(0), row.shape[1:]) for row in rows)
    same = jnp.abs(key[:, None] - key[None]) < 1e-6 * jnp.abs(key).max()
    other = same & ~jnp.eye(len(key), dtype=bool)
    logits = out.scale * out.z_x @ out.z_m.T + out.bias
    more = jnp.where(other, jax.nn.softplus(logits), 0.0).sum() / len(key)
    return value + (weight - 1.0) * more, metrics


AlignRun.loss_of = weighted
sys.exit(cli.main(["train", *sys.argv[2:]]))
