"""Small parts for processes that a test starts: stages of a small screen have several items.

Dask's workers take it by `--preload`, the command by `python -m tests.screens.few_rows ARGUMENTS`.
"""

import os
import pathlib
import sys

from molphenix_jax import cli
from molphenix_jax.screens.preparing import correct, pipeline, shards
from molphenix_jax.tables.reading import files

# A worker that corrects leaves a file of its number here.
WORKED = "MOLPHENIX_TEST_WORKED"


def set_small() -> None:
    """Every stage has several items."""
    files.PART_ROWS = 64
    correct.ITEM_ROWS = 20
    shards.SHARD_VALUES = 40 * 32
    shards.SHARD_MOLECULES = pipeline.SHARD_MOLECULES = 17


def dask_setup(worker) -> None:
    """Dask calls it in a worker that begins."""
    del worker
    set_small()
    real = correct.Correct.__call__

    def noted(self, item: int) -> None:
        (pathlib.Path(os.environ[WORKED]) / str(os.getpid())).touch()
        real(self, item)

    correct.Correct.__call__ = noted


if __name__ == "__main__":
    set_small()
    sys.exit(cli.main(sys.argv[1:]))
