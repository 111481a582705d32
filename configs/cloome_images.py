"""CLOOME from images, the paper's baseline: ResNet and fingerprint MLP, trained end to end.

    molphenix embed-images --layout=gallery --images=plates --metadata=platemap.csv \
        --encoder=intensity --out=wells.parquet
    python -m molphenix_jax.main --workdir=runs/cloome_images \
        --config=configs/cloome_images.py:wells=wells.parquet,images=plates,layout=gallery
    python -m molphenix_jax.main --config=configs/cloome_images.py:size=tiny \
        --workdir=runs/tiny_images

Arguments, after a colon and separated by commas:
    wells=FILE   wells table of the imaged wells; gives treatments, splits, activity and the
                 profiles of the baselines; several as A+B, as in configs/s2l.py
    molecules=A+B  feature blocks of molecules, as in configs/s2l.py; the default is morgan
    images=PATH  folder, shard or .npz; layout=NAME and index=FILE as `molphenix embed-images` has
                 them (the default layout is gallery)
    size=NAME    small (the default), a ResNet-18 for a CPU; paper, a ResNet-50; tiny makes six
                 updates of a model that learns nothing, without files on the images of a built-in
                 screen (as layout=simulated does in any size)

Any field of `molphenix_jax/tasks/align_images/config.py` follows as `--config.train.steps=1000`.
The paper's images of 2048 pixels become 256 with --config.images.downsample=8; CLOOME itself knows
no concentration: --config.model.concentration=none. Expect the table of `configs/s2l.py`, which
stands row by row beside that of `configs/cloome.py:wells=wells.parquet`. size=tiny took 59 s of one
CPU core, most of it to compile, and 1.2 GiB of memory. A pass forward and back of 1,000 images of 5
channels took one CPU core 10 s with small (128 pixels) and 18 minutes with paper (256 pixels, 39.8M
parameters, 0.1 GiB of memory for each image of a batch).
"""

from molphenix_jax.tasks.align_images.config import config_from_arg


def get_config(arg: str | None = None):
    """The resolved config."""
    return config_from_arg(arg)
