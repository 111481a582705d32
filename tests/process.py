"""One of several processes of a tiny alignment: `python -m tests.process ADDRESS N ID RUN CACHE`.

Prints as JSON which rows of which step's batch it computed, and sizes of the parameters at the end.
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

from molphenix_jax import tasks, train
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from tests import tiny


def config(cache: pathlib.Path) -> Config:
    """Six updates over four devices, with a ring and rows of the tables spread over them."""
    return tiny.config(
        cache,
        loss__execution="ring",
        train__devices=4,
        train__batch_size=8,
        train__steps=6,
        train__validate_every=3,
        train__checkpoint_every=3,
        train__keep_checkpoints=5,
        train__steps_per_dispatch=2,
    )


def main(workdir: pathlib.Path, cache: pathlib.Path) -> dict:
    c = config(cache)
    mesh = meshes.make_mesh(c.train.devices)
    run = tasks.make(c, mesh, workdir).run(0, workdir)
    computed, batch = [], run.batch

    def noted(step, rows=None):
        found = batch(step, rows)
        computed.append(
            [step, None if rows is None else rows.tolist(), found.perturbation.tolist()]
        )
        return found

    run.batch = noted
    params = train.fit(run, c, mesh, workdir)
    leaves = {
        jax.tree_util.keystr(path): float(abs(leaf).sum())
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    return {"computed": sorted(computed), "sizes": leaves}


if __name__ == "__main__":
    result = main(pathlib.Path(sys.argv[4]), pathlib.Path(sys.argv[5]))
    sys.stdout.write(json.dumps(result) + "\n")
