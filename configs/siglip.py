"""Sigmoid loss of SigLIP (paper eq. 3).

    python -m molphenix_jax.main --config=configs/siglip.py --workdir=runs/siglip

Takes the arguments wells=FILE and size=paper, as `configs/s2l.py` does, and has the same model,
data and schedule: runs that differ in this file alone compare the losses.
"""

import functools

from molphenix_jax.tasks.align.config import config_from_arg

get_config = functools.partial(config_from_arg, loss="siglip")
