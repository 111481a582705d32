"""InfoLOOB, the leave-one-out bound, in both directions (SPEC §3).

    python -m molphenix_jax.main --config=configs/infoloob.py --workdir=runs/infoloob

Takes the arguments wells=FILE and size=paper, as `configs/s2l.py` does, and has the same model,
data and schedule: runs that differ in this file alone compare the losses.
"""

import functools

from molphenix_jax.tasks.align.config import config_from_arg

get_config = functools.partial(config_from_arg, loss="infoloob")
