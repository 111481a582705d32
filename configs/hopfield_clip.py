"""InfoNCE on Hopfield-retrieved patterns (docs/method.md §3).

    python -m molphenix_jax.main --config=configs/hopfield_clip.py --workdir=runs/hopfield_clip
    python -m molphenix_jax.main --config=configs/hopfield_clip.py:size=tiny \
        --workdir=runs/tiny_hopfield_clip

Takes the arguments wells, molecules, size, encoder and pretrained as `configs/s2l.py` explains
them, and has the same model, data and schedule: runs that differ in the config file alone compare
the losses. Expect the table of `configs/s2l.py`; it took 65 s of one CPU core and 1.6 GiB of memory
on the built-in screen once that was prepared (size=small).
"""

from molphenix_jax.tasks.align.config import config_from_arg


def get_config(arg: str | None = None):
    """The resolved config."""
    return config_from_arg(arg, loss="hopfield_clip")
