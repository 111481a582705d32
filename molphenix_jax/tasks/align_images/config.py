"""Fields of an image run beside those of an alignment run, and what they may hold."""

import pathlib
from typing import Any

import ml_collections

from molphenix_jax.images import LAYOUTS
from molphenix_jax.images.files import MAX_IMAGE_MIB
from molphenix_jax.models.resnet import RESNETS
from molphenix_jax.phenomics import STANDARDISE
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import Config, ConfigError, chosen
from molphenix_jax.runtime.mesh import PLACEMENTS
from molphenix_jax.screens.builders import HEADER
from molphenix_jax.simulated.images import SIMULATED, simulate_images
from molphenix_jax.storage import cache_folder
from molphenix_jax.tasks.align import checks as checks_of_alignment
from molphenix_jax.tasks.align import config as align_config

PATHS = {**align_config.PATHS, "images.path": "path", "images.index": "path"}
unused = align_config.unused

# Width of the joint space, ResNet (name, width), molecule head (width, blocks), training.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "dim": 8,
        "resnet": ("resnet18", 4),
        "molecules": (16, 1),
        "train": {"steps": 6, "batch_size": 16, "learning_rate": 1e-3},
    },
    "small": {
        "dim": 64,
        "resnet": ("resnet18", 16),
        "molecules": (128, 1),
        "train": {"steps": 300, "batch_size": 64, "learning_rate": 1e-3},
    },
    "paper": {
        "dim": 512,
        "resnet": ("resnet50", 64),
        "molecules": (1024, 3),
        "train": {"steps": 20_000, "batch_size": 256, "learning_rate": 5e-4},
    },
}


def default_config(
    *,
    wells: str = "",
    size: str = "small",
    encoder: str = "none",
    layout: str = "",
    images: str = "",
    index: str = "",
) -> Config:
    """The config of an image run.

    Args:
        wells: Wells table of the imaged wells, e.g. of `molphenix embed-images`.
        size: A key of `SIZES`.
        encoder: Of molecules, see `align`.
        layout: How images lie; empty takes gallery, or the built-in ones where a tiny run has no
            files.
        images: Folder, shard or .npz.
        index: Table that lists the images.

    Raises:
        ConfigError: An unknown size, encoder or layout.
    """
    preset = SIZES[chosen("size", size, SIZES)]
    c = align_config.default_config(wells=wells, size=size, encoder=encoder)
    c.task = "align_images"
    c.loss.name = "cloome"
    c.data.averaging = "single"
    c.molecules.blocks = "morgan"
    c.model.dim = preset["dim"]
    c.model.molecules.width, c.model.molecules.n_blocks = preset["molecules"]
    c.model.molecules.components = 0
    c.model.resnet, c.model.resnet_width = preset["resnet"]
    c.train.update(members=1, **preset["train"])
    c.train.warmup_steps = c.train.steps // 10
    c.train.log_every = max(c.train.steps // 15, 1)
    c.train.validate_every = max(c.train.steps // 6, 1)
    c.train.checkpoint_every = max(c.train.steps // 3, 1)

    c.images = i = ml_collections.ConfigDict()
    # As molphenix embed-images --layout, or simulated: the tiny built-in screen and its images.
    built_in = size == "tiny" and not (wells or images or index)
    layout = layout or (SIMULATED if built_in else "gallery")
    i.layout = chosen("layout", layout, (*LAYOUTS, SIMULATED))
    i.path = images  # folder, shard or .npz
    i.index = index  # table that lists the images, where the layout has one
    i.channels = ""  # comma-separated; empty takes all
    i.time_point = ""  # where fields have several, as --time-point; empty takes the first
    i.plane = ""  # focal plane, likewise
    i.downsample = 1  # block mean of so many pixels a side (the paper: 8, 2048 to 256)
    i.core = 0  # side of the central square after that; 0 takes the whole field
    i.standardise = "auto"  # auto | image | none: how more than 8 bits become 8
    i.max_image_mib = MAX_IMAGE_MIB  # larger images, once decoded, are rejected by their header
    i.augment = True  # mirrors and right angles, at random in each step
    i.placement = "auto"  # device | stream | auto (device where the images fit)
    return c


def config_from_arg(arg: str | None) -> Config:
    """The config that `configs/cloome_images.py` stands for.

    Raises:
        ConfigError: An argument that is unknown, of the wrong type or none of its choices.
    """
    return align_config.config_from_arg(
        arg, loss="cloome", default=default_config, more=("layout", "images", "index")
    )


def check(checks: Checks) -> None:
    """Notes every field that is wrong, with the remedy."""
    checks_of_alignment.check(checks)
    checks.choice("images.layout", (*LAYOUTS, SIMULATED))
    checks.choice("images.standardise", STANDARDISE)
    checks.choice("images.placement", PLACEMENTS)
    checks.choice("model.resnet", RESNETS)
    checks.choice("data.averaging", ("single",))
    checks.choice("molecules.encoder", ("none",))
    checks.least("images.max_image_mib", 1)
    checks.least("images.downsample", 1)
    checks.least("images.core", 0, "must be 0 (whole field) or positive")
    checks.least("model.resnet_width", 1)
    c = checks.config
    n = 9 * (8 * c.model.resnet_width) ** 2  # one convolution of the last stage
    checks.memory("model.resnet_width", f"training {n:,} parameters", 16 * n)
    checks.that(
        not c.eval.unseen_screens,
        "eval.unseen_screens: image runs are evaluated on their own screen only",
    )
    checks.that(
        not c.data.shares and "=" not in c.data.wells,
        "data.wells: image runs have one screen; leave its NAME= out",
    )
    checks.that(
        not (c.data.wells and (pathlib.Path(c.data.wells) / HEADER).is_file()),
        "data.wells: image runs need the wells table, not a prepared screen",
    )


def with_files(c: Config) -> Config:
    """The config with the files of its screen: its own, or those of the built-in image screen.

    Raises:
        ConfigError: Wells or images are not named; says what to give.
    """
    given = bool(c.data.wells), bool(c.images.path)
    if c.images.layout == SIMULATED:
        if any(given) or c.images.index:
            raise ConfigError(
                f"images.layout={SIMULATED} brings its own wells and images: name none, or say how "
                f"yours lie, e.g. layout=gallery"
            )
        made = simulate_images(cache_folder(c.data.cache))
        c = c.copy_and_resolve_references()
        c.data.wells = str(made.wells)
        c.images.update(layout="table", path=str(made.images), index=str(made.index))
    elif not all(given):
        raise ConfigError(
            "images and their wells are needed: "
            "--config=configs/cloome_images.py:wells=FILE,images=PATH,layout=LAYOUT, or "
            "configs/cloome_images.py:size=tiny for a built-in screen"
        )
    return c
