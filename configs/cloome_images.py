"""CLOOME from images, the paper's baseline: ResNet and fingerprint MLP, trained end to end.

    molphenix embed-images --layout=gallery --images=plates --metadata=platemap.csv \
        --encoder=intensity --out=wells.parquet
    python -m molphenix_jax.main --workdir=runs/cloome_images \
        --config=configs/cloome_images.py:wells=wells.parquet,images=plates,layout=gallery

The wells table gives treatments, splits, activity and the profiles of the baselines, so that the
evaluation stands row by row beside that of `configs/cloome.py:wells=wells.parquet`. Further
arguments: index=FILE for layouts that have one, size=paper for ResNet-50. The paper's images of
2048 pixels become 256 with --config.images.downsample=8; CLOOME itself knows no concentration:
--config.model.concentration=none.
"""

from molphenix_jax.tasks.align_images.config import config_from_arg

get_config = config_from_arg
