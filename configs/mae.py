"""Masked autoencoder on images: an encoder of one's own (docs/method.md §9).

    python -m molphenix_jax.main --config=configs/mae.py:images=FILE.npz --workdir=runs/mae
    python -m molphenix_jax.main --config=configs/mae.py:size=tiny --workdir=runs/tiny_mae

Arguments, after a colon and separated by commas:
    images=FILE    NPZ with one array [images, channels, height, width], uint8 or uint16
    metadata=FILE  CSV with a row for each image (plate, well, treatment), for the evaluation by
                   nearest neighbours; found beside the images if it is named like them
    size=NAME      small (the default) for a CPU; openphenom (S/16), vit_b8, vit_l8 (Phenom1's
                   shape) for accelerators; tiny makes six updates of an encoder that learns
                   nothing, without images on those of a built-in screen

`--config.data.folds=5` holds every plate back once: five runs, five seeds; with
`--config.data.repeats=2` twice, in ten. The encoder of a finished run lies in `model/` of its
workdir, with folds in `fold_0/model/` and so on. Expect reconstructions of held-back images in
`report/`, and where there is a table of the images, whether those of one treatment find each other,
beside the untrained encoder, intensities and chance; 8 minutes on one CPU core for small. size=tiny
took 47 s and 1.1 GiB of memory. A pass forward and back of 1,000 images took one CPU core 20 s with
small (crops of 64 pixels), 80 minutes with openphenom (176M parameters, 256 pixels, 6 channels) and
15 hours with vit_b8 (240M, and 9 GiB of memory for one image at once); vit_l8 takes more of both.
"""

from molphenix_jax.runtime.config import parse_arg
from molphenix_jax.tasks.mae_pretraining.config import default_config


def get_config(arg: str | None = None):
    """The resolved config."""
    args = parse_arg(arg, images="", metadata="", size="small")
    return default_config(images=args.images, metadata=args.metadata, size=args.size)
