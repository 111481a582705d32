"""InfoNCE in both directions, as in CLIP (paper eq. 1).

    python -m molphenix_jax.main --config=configs/clip.py --workdir=runs/clip
    python -m molphenix_jax.main --config=configs/clip.py:size=tiny --workdir=runs/tiny_clip

Takes the arguments wells, molecules, size, encoder and pretrained as `configs/s2l.py` explains
them, and has the same model, data and schedule: runs that differ in the config file alone compare
the losses. Expect the table of `configs/s2l.py`, in its memory: 14 s of one CPU core for the 300
updates of size=small (47 ms each, 43 with s2l), and what preparing and evaluating take there.
"""

from molphenix_jax.tasks.align.config import config_from_arg


def get_config(arg: str | None = None):
    """The resolved config."""
    return config_from_arg(arg, loss="clip")
