"""A task that starts in a moment, for jobs of several processes: a line through drawn numbers.

What is killed, stopped and told to end is the loop, its checkpoints and its processes, which know
no task. It is a plugin and its own config.
"""

import os
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import molphenix_jax
from molphenix_jax import storage
from molphenix_jax.runtime.optimizer import train_fields
from molphenix_jax.runtime.processes import runtime_fields
from molphenix_jax.runtime.run import Run, Task
from molphenix_jax.tasks import TaskSpec

WIDTH = 64
STANDS_AT = "LINE_STANDS_AT"  # variable: the update before which a process waits for ever


def get_config(_=None):
    # The pause keeps a run from ending before it is hit.
    data = {"noise": 0.1, "pause_s": 0.05}
    config = ml_collections.ConfigDict({"task": "line", "seed": 0, "data": data})
    config.train = train_fields(steps=60, batch_size=16, learning_rate=0.05)
    config.runtime = runtime_fields()
    return config


class LineRun(Run):
    def __init__(self, config):
        self.config, self.batch_rows = config, config.train.batch_size

    def init(self, key):
        return {"kernel": jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH}

    def batch(self, step, rows=None):
        if rows is None:
            rows = np.arange(self.config.train.batch_size)
        stands = step == int(os.environ.get(STANDS_AT, "-1"))
        time.sleep(3600 if stands else self.config.data.pause_s)
        draws = [np.random.default_rng((self.config.seed, step, row)) for row in rows]
        return np.stack([draw.normal(size=WIDTH).astype(np.float32) for draw in draws])

    def loss(self, params, batch, tables, key):
        noise = self.config.data.noise * jax.random.normal(key, batch.shape)
        return jnp.mean((batch @ params["kernel"] - 2 * batch - noise) ** 2), {}

    def validate(self, params):
        return {"trace": float(jnp.trace(params["kernel"].mean(0)))}


class LineTask(Task):
    n_folds = 1

    def __init__(self, config, mesh, workdir):
        self.config = config

    def run(self, fold, workdir):
        return LineRun(self.config)

    def evaluate(self, run, params, out):
        return {"kernel": np.asarray(params["kernel"], float).tolist()}

    def conclude(self, results, workdir, out):
        storage.write_json(out / "evaluation.json", results[0])


molphenix_jax.register("task", "line", TaskSpec(get_config, LineTask))
