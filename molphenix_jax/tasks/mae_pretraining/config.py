"""Every field of a MAE run, with its default, and the check that they fit together."""

import dataclasses
from typing import Any

import ml_collections

from molphenix_jax.models.vit import PRESETS, EncoderConfig, MAEConfig
from molphenix_jax.runtime.config import Config, ConfigError, chosen
from molphenix_jax.runtime.optimizer import train_fields, train_problems

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


def unused(c: Config) -> tuple[str, ...]:
    """Beginnings of the fields that a config makes no use of: none."""
    del c
    return ()


def validate(c: Config) -> None:
    """Fails on a config that contradicts itself, before any work.

    Raises:
        ConfigError: Names every field that is wrong, and the remedy.
    """
    d, h, t, e = c.data, c.model, c.train, c.eval
    wrong = train_problems(t)

    def check(holds: bool, message: str) -> None:
        if not holds:
            wrong.append(message)

    check(not (d.simulated and d.images), "data.simulated=True takes built-in images: name no file")
    check(t.members == 1, f"train.members={t.members!r}: a MAE run trains one model; set 1")
    for name, low in (
        ("data.crop", 1),
        ("data.folds", 1),
        ("data.repeats", 1),
        ("eval.crops_per_side", 0),
    ):
        part, field = name.split(".")
        check(c[part][field] >= low, f"{name}={c[part][field]!r}: must be at least {low}")
    check(0 <= e.n_painted <= 32, f"eval.n_painted={e.n_painted!r}: from 0 to 32")
    check(e.n_bootstrap >= 1, f"eval.n_bootstrap={e.n_bootstrap!r}: must be at least 1")
    check(
        0 < d.validation_fraction <= 0.5,
        f"data.validation_fraction={d.validation_fraction!r}: above 0, at most 0.5",
    )
    check(
        e.standardise in ("plate", "none"),
        f"eval.standardise={e.standardise!r}: choose one of plate, none",
    )
    positive = True
    for part, fields in (
        ("model.encoder", ("width", "depth", "heads", "patch", "expansion")),
        ("model", ("width", "depth", "heads")),
    ):
        values = h.encoder if part == "model.encoder" else h
        for field in fields:
            ok = values[field] >= 1
            positive &= ok
            check(ok, f"{part}.{field}={values[field]!r}: must be at least 1")
    if positive:
        _check_sizes(c, check)
    check(0 < h.mask_ratio < 1, f"model.mask_ratio={h.mask_ratio!r}: between 0 and 1")
    check(0 <= h.fourier_weight < 1, f"model.fourier_weight={h.fourier_weight!r}: in [0, 1)")
    check(0 <= h.encoder.drop_path < 1, f"model.encoder.drop_path={h.encoder.drop_path!r}: [0, 1)")
    if wrong:
        raise ConfigError("the config contradicts itself:\n  " + "\n  ".join(wrong))


def _check_sizes(c: Config, check: Any) -> None:
    h = c.model
    check(
        c.data.crop % h.encoder.patch == 0,
        f"data.crop={c.data.crop!r} is no multiple of model.encoder.patch={h.encoder.patch!r}",
    )
    for name, width, divisors in (
        ("model.encoder.width", h.encoder.width, (4, h.encoder.heads)),
        ("model.width", h.width, (4, 8, h.heads)),  # 8 heads of cross-attention
    ):
        for divisor in divisors:
            check(width % divisor == 0, f"{name}={width!r}: must be a multiple of {divisor}")
