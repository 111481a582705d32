"""Presets of a MAE run hold together; contradictions are named."""

import pytest

from molphenix_jax import tasks
from molphenix_jax.models.vit import PRESETS
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.tasks.mae_pretraining.config import TRAINING, default_config, model_config


@pytest.mark.parametrize("size", PRESETS)
def test_every_preset_holds_together_and_says_its_sizes(size):
    config = default_config(size=size)
    tasks.validate(config)
    preset = PRESETS[size]
    assert model_config(config, channels=preset.channels) == preset
    assert config.data.crop == TRAINING[size]["crop"]


def test_the_large_presets_train_as_the_source_says():
    t = default_config(size="openphenom").train
    assert (t.optimizer, t.schedule, t.b1, t.b2) == ("lion", "onecycle", 0.9, 0.95)
    assert (t.learning_rate, t.weight_decay) == (1e-4, 0.05)
    assert t.warmup_steps == t.steps // 10
    assert default_config(size="vit_l8").train.learning_rate == 3e-5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("train.members", 2, "train.members=2"),
        ("data.crop", 100, "data.crop=100 is no multiple of model.encoder.patch=8"),
        ("model.encoder.heads", 5, "model.encoder.width=96: must be a multiple of 5"),
        ("model.width", 36, "model.width=36: must be a multiple of 8"),
        ("model.mask_ratio", 1.0, "model.mask_ratio=1.0"),
        ("model.encoder.depth", 0, "model.encoder.depth=0"),
        ("eval.standardise", "well", "choose one of plate, none"),
        ("data.validation_fraction", 0.0, "data.validation_fraction=0.0"),
        ("train.optimizer", "sgd", "train.optimizer='sgd'"),
    ],
)
def test_contradictions_are_named(field, value, message):
    config = default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=message):
        tasks.validate(config)


def test_an_unknown_size_lists_the_known():
    with pytest.raises(ConfigError, match="choose one of tiny, small, openphenom"):
        default_config(size="huge")
