"""One of several processes of a small training: `python -m tests.process ADDRESS N ID WORKDIR`.

Prints as JSON which rows of which step's batch it computed, and the parameters at the end.
"""

import json
import pathlib
import sys

import jax

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4 // int(sys.argv[2]))
    if int(sys.argv[2]) > 1:
        jax.distributed.initialize(
            sys.argv[1], num_processes=int(sys.argv[2]), process_id=int(sys.argv[3])
        )

import jax.numpy as jnp
import ml_collections
import numpy as np

from molphenix_jax import train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.optimizer import train_fields
from molphenix_jax.screens.sampling import Sampler

WELLS = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)


def sampler() -> Sampler:
    """40 perturbations with 3 wells each, 10 of them inactive."""
    return Sampler(
        active=np.arange(30),
        inactive=np.arange(30, 40),
        keep_inactive=0.5,
        offsets=np.arange(0, 121, 3),
        wells=np.arange(120),
        batch_size=8,
        max_replicates=2,
        averaging="random",
        seed=0,
    )


class SmallRun:
    """Learns to recover a linear map from the averaged wells; notes what it was asked for."""

    tables = WELLS
    assets = {"mean": np.zeros(3, np.float32)}
    batch_rows = 8

    def __init__(self):
        self.sampler, self.computed = sampler(), []

    def init(self, key):
        return {"kernel": jax.random.normal(key, (3,))}

    def adopt(self, assets):
        pass

    def batch(self, step, rows=None):
        batch = self.sampler.batch(step, rows)
        self.computed.append(
            [step, None if rows is None else rows.tolist(), batch.perturbation.tolist()]
        )
        return batch

    def loss(self, params, batch, tables, key):
        x = jnp.einsum("br,brd->bd", batch.weight, tables[batch.replicate])
        return jnp.mean((x @ params["kernel"] - x.sum(1)) ** 2), {}

    def validate(self, params):
        return {"kernel": float(params["kernel"].sum())}


def config():
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.train = train_fields(steps=6, batch_size=8, learning_rate=0.1)
    c.train.update(
        warmup_steps=1,
        log_every=1,
        validate_every=3,
        checkpoint_every=3,
        steps_per_dispatch=2,
        keep_checkpoints=5,
    )
    return c


if __name__ == "__main__":
    run = SmallRun()
    params = train.fit(run, config(), meshes.make_mesh(), pathlib.Path(sys.argv[4]))
    result = {"computed": sorted(run.computed), "kernel": params["kernel"].tolist()}
    sys.stdout.write(json.dumps(result) + "\n")
