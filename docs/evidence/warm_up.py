"""S2L whose soft part comes in later, for docs/method.md §12.8.

python warm_up.py similarity --tier=small --rows=siglip,s2l_both --workdir=DIR: `molphenix ablate`,
every S2L row of which trains the first half of its updates with SigLIP's loss; same schedule.
"""

import copy
import sys
from unittest import mock

from molphenix_jax import cli, losses, train

fit, optimizer_of = train.fit, train.optimizer_of


def warmed(run, config, mesh, workdir, **more):
    """SigLIP to half of the updates, then what the config says, from that checkpoint."""
    if config.loss.name == "s2l":
        half = copy.deepcopy(config)
        half.train.steps //= 2
        of = config.loss
        run._loss = losses.make_loss(
            "siglip", execution=of.execution, chunk_size=of.chunk_size, mesh=mesh
        )
        whole = lambda run, _: optimizer_of(run, config.train)  # noqa: E731
        with mock.patch.object(train, "optimizer_of", whole):
            fit(run, half, mesh, workdir, **more)
    return fit(run, config, mesh, workdir, **more)


train.fit = warmed
sys.exit(cli.main(["ablate", *sys.argv[1:]]))
