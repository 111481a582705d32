"""Continuously weighted contrastive loss, molecule to profile (paper eq. 2).

    python -m molphenix_jax.main --config=configs/cwcl.py --workdir=runs/cwcl
    python -m molphenix_jax.main --config=configs/cwcl.py:size=tiny --workdir=runs/tiny_cwcl

Takes the arguments wells, molecules, size, encoder and pretrained as `configs/s2l.py` explains
them, and has the same model, data and schedule: runs that differ in the config file alone compare
the losses. Expect the table of `configs/s2l.py`, in its memory: 14 s of one CPU core for the 300
updates of size=small (46 ms each, 43 with s2l), and what preparing and evaluating take there.
"""

from molphenix_jax.tasks.align.config import config_from_arg


def get_config(arg: str | None = None):
    """The resolved config."""
    return config_from_arg(arg, loss="cwcl")
