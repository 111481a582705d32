"""Every field of a MAE run, with its default and what it may hold."""

import dataclasses
from typing import Any

import ml_collections

from molphenix_jax.models.vit import PRESETS, EncoderConfig, MAEConfig
from molphenix_jax.runtime.checks import Checks
from molphenix_jax.runtime.config import Config, chosen
from molphenix_jax.runtime.optimizer import train_fields
from molphenix_jax.runtime.processes import runtime_fields

# Preset → side of the crops, and training as in the sources (docs/method.md §9) or, for the small
# one, what a few minutes on a CPU allow; "tiny" learns nothing, it shows that images and fields go
# through.
_LARGE = {"optimizer": "lion", "schedule": "onecycle", "b1": 0.9, "b2": 0.95, "weight_decay": 0.05}
_SMALL = {"optimizer": "adamw", "schedule": "cosine", "b1": 0.9, "b2": 0.95, "weight_decay": 0.05}
TRAINING: dict[str, dict[str, Any]] = {
    "tiny": {"crop": 32, "steps": 6, "batch_size": 16, "learning_rate": 3e-3, **_SMALL},
    "small": {"crop": 64, "steps": 1500, "batch_size": 16, "learning_rate": 3e-3, **_SMALL},
    "openphenom": {
        **{"crop": 256, "steps": 100_000, "batch_size": 1024, "learning_rate": 1e-4},
        **_LARGE,
    },
    "vit_b8": {"crop": 256, "steps": 100_000, "batch_size": 1024, "learning_rate": 1e-4, **_LARGE},
    "vit_l8": {"crop": 256, "steps": 100_000, "batch_size": 1024, "learning_rate": 3e-5, **_LARGE},
}
COLUMNS = ("plate", "well", "treatment", "is_control")
PATHS = {"data.images": "path", "data.metadata": "path"}


def default_config(*, images: str = "", metadata: str = "", size: str = "small") -> Config:
    """The config of a MAE run.

    Args:
        images: NPZ file with one array [n, c, h, w], uint8 or uint16; empty with size=tiny takes
            built-in ones.
        metadata: CSV with one row for each image, for the evaluation; may be empty.
        size: Preset of the sizes and of the training, a key of `PRESETS`.

    Raises:
        ConfigError: An unknown size.
    """
    preset = PRESETS[chosen("size", size, PRESETS)]
    training = dict(TRAINING[size])
    c = ml_collections.ConfigDict()
    c.task = "mae_pretraining"
    c.seed = 0

    c.data = d = ml_collections.ConfigDict()
    d.images = images
    d.simulated = size == "tiny" and not images  # the images of the tiny built-in screen
    d.metadata = metadata
    # Our column → the file's, e.g. --config.data.columns.treatment=compound; empty finds it by name
    d.columns = ml_collections.ConfigDict(dict.fromkeys(COLUMNS, ""))
    d.crop = training.pop("crop")  # side in pixels, a multiple of the patch
    d.augment = True  # flips and rotations by right angles, beside the random place of a crop
    d.split_seed = 0  # which plates are held back; `seed` has initialisation and batches
    d.folds = 1  # above 1: runs, each with another part of the plates held back
    d.repeats = 1  # runs of every fold, each begins and draws by itself
    d.validation_fraction = 0.1  # of the wells (or images), with folds=1

    # The decoders' number is that of the images' channels.
    fields = dataclasses.asdict(preset)
    encoder = fields.pop("encoder")
    del fields["channels"]
    c.model = ml_collections.ConfigDict({"encoder": encoder, **fields})

    steps = training.pop("steps")
    c.train = t = train_fields(
        steps=steps,
        batch_size=training.pop("batch_size"),
        learning_rate=training.pop("learning_rate"),
    )
    for field, value in training.items():
        t[field] = value
    t.decay_rules = (
        (r"/kernel$", True),
        (r"/(bias|mlp_bias|scale|class_token|mask_token|channel_tokens)$", False),
    )

    c.runtime = runtime_fields()
    c.eval = e = ml_collections.ConfigDict()
    # An image's embedding is the mean over so many crops squared; 0: as many as cover the image.
    e.crops_per_side = 0
    e.channelwise = False  # embeddings of each channel side by side, in place of their mean
    e.standardise = "plate"  # plate: each plate to mean 0, no label used | none
    e.n_painted = 3  # images in the picture of reconstructions
    e.n_bootstrap = 50 if size == "tiny" else 1_000
    return c


def model_config(c: Config, *, channels: int) -> MAEConfig:
    """The sizes that the config asks for, on images of so many channels."""
    fields = c.model.to_dict()
    return MAEConfig(EncoderConfig(**fields.pop("encoder")), channels=channels, **fields)


def check(checks: Checks) -> None:
    """Notes every field that is wrong, with the remedy."""
    d = checks.config.data
    checks.that(
        not (d.simulated and d.images), "data.simulated=True takes built-in images: name no file"
    )
    members = checks.value("train.members")
    checks.that(members == 1, f"train.members={members!r}: a MAE run trains one model; set 1")
    for field in ("data.crop", "data.folds", "data.repeats"):
        checks.least(field, 1)
    checks.least("eval.crops_per_side", 0)
    checks.within("eval.n_painted", 0, 32)
    checks.within("eval.n_bootstrap", 1, 100_000)
    checks.within("data.validation_fraction", 0, 0.5, above=True)
    checks.choice("eval.standardise", ("plate", "none"))
    before = len(checks.problems)
    for field in ("width", "depth", "heads", "patch", "expansion"):
        checks.least(f"model.encoder.{field}", 1)
    for field in ("width", "depth", "heads"):
        checks.least(f"model.{field}", 1)
    if len(checks.problems) == before:
        _check_sizes(checks)
    for part, h in (("model.encoder", checks.config.model.encoder), ("model", checks.config.model)):
        checks.deep(f"{part}.depth")
        expansion = checks.config.model.encoder.expansion if part == "model.encoder" else 4
        n = (4 + 2 * expansion) * h.width**2 * h.depth  # a transformer's attention and MLP
        checks.memory(f"{part}.width", f"training {n:,} parameters (depth={h.depth})", 16 * n)
    crop, batch = checks.value("data.crop"), checks.value("train.batch_size")
    checks.memory("data.crop", f"a batch of {batch:,} crops of one channel", 4 * batch * crop**2)
    checks.within("model.mask_ratio", 0, 1, above=True, below=True)
    checks.within("model.fourier_weight", 0, 1, below=True)
    checks.within("model.encoder.drop_path", 0, 1, below=True)


def _check_sizes(checks: Checks) -> None:
    crop, h = checks.config.data.crop, checks.config.model
    checks.that(
        crop % h.encoder.patch == 0,
        f"data.crop={crop!r} is no multiple of model.encoder.patch={h.encoder.patch!r}",
    )
    for name, width, divisors in (
        ("model.encoder.width", h.encoder.width, (4, h.encoder.heads)),
        ("model.width", h.width, (4, 8, h.heads)),  # 8 heads of cross-attention
    ):
        for divisor in divisors:
            checks.that(width % divisor == 0, f"{name}={width!r}: must be a multiple of {divisor}")
