"""Values that no config may hold are refused before any work, each with its field."""

import math

import ml_collections
import pytest

from molphenix_jax import memory, tasks, train
from molphenix_jax.errors import InputError
from molphenix_jax.runtime import step
from molphenix_jax.runtime.config import ConfigError
from molphenix_jax.tasks import spec_of
from tests import tiny

pytestmark = pytest.mark.slow

TASKS = ("align", "align_images", "mae_pretraining", "property_pretraining")
WRONG = (math.nan, math.inf, 2**40, -(2**40), None, b"x", {"a": 1}, [(1, 2, 3)], ("x",), (-1,))


def leaves(config, before=""):
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_no_value_of_any_field_ends_in_another_error(task):
    default = spec_of(task).default_config()
    refused = 0
    for field in leaves(default):
        for value in WRONG:
            config = default.copy_and_resolve_references()
            section = config
            *path, name = field.split(".")
            for part in path:
                section = section[part]
            with config.ignore_type():
                section[name] = value
            try:
                tasks.validate(config)
            except ConfigError as error:
                refused += name in str(error)
            else:
                assert isinstance(value, int | tuple | list), (field, value)
    assert refused > 6 * len(list(leaves(default)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("seed", -1), ("data.folds", 0), ("data.psi", 0.0), ("data.n_null", 10**7)],
        *[("eval.n_bootstrap", 0), ("eval.n_bootstrap", 10**6), ("eval.psi", (0.0,))],
        *[("eval.heldout_concentrations", (-1.0,)), ("train.batch_size", 1)],
        *[("train.steps", 0), ("train.learning_rate", 0.0), ("train.learning_rate", math.nan)],
        *[("train.devices", -1), ("train.warmup_steps", -1), ("data.split", "x")],
        *[("data.split_seed", -1), ("train.prefetch", 10**6), ("loss.chunk_size", -1)],
    ],
)
def test_values_out_of_range_name_their_field(field, value):
    config = spec_of("align").default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=rf"{field}="):
        tasks.validate(config)


@pytest.mark.parametrize(
    ("task", "field", "value"),
    [
        ("align", "model.phenomics.width", 10**6),
        ("align", "model.dim", 2**31 - 1),
        ("align", "train.members", 10**9),
        ("align", "data.simulated.n_features", 10**9),
        ("align", "data.simulated.noise_modes", 10**9),
        ("align_images", "model.molecules.width", 10**7),
        ("align_images", "model.resnet_width", 10**6),
        ("mae_pretraining", "data.crop", 10**6),
        ("mae_pretraining", "model.encoder.expansion", 10**9),
        ("mae_pretraining", "model.encoder.width", 2**30),
        ("property_pretraining", "model.encoder.width", 2**30),
        ("property_pretraining", "model.encoder.expansion", 10**9),
    ],
)
def test_absurd_sizes_name_the_memory(task, field, value):
    config = spec_of(task).default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=r"would need [\d.,e+]+ [TP]iB, there are .* GiB"):
        tasks.validate(config)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ("align", "model.phenomics.n_blocks"),
        ("align_images", "model.molecules.n_blocks"),
        ("mae_pretraining", "model.encoder.depth"),
        ("mae_pretraining", "model.depth"),
        ("property_pretraining", "model.encoder.depth"),
    ],
)
def test_depths_that_no_compiler_ends_are_refused(task, field):
    config = spec_of(task).default_config()
    config.update_from_flattened_dict({field: 257})
    with pytest.raises(ConfigError, match=f"{field}=257: at most 256; each layer is compiled"):
        tasks.validate(config)


def test_the_memory_is_what_the_process_may_use(monkeypatch):
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (2**20, 2**30))
    assert memory.memory_of_process() == 2**20
    config = spec_of("align").default_config()
    with pytest.raises(ConfigError, match="there are 1 MiB of memory here"):
        tasks.validate(config)


def test_a_training_that_fits_no_device_ends_before_it_begins(tmp_path, monkeypatch):
    config = tiny.config(tmp_path / "cache", train__members=30)
    monkeypatch.setattr(train.meshes, "memory_per_device", lambda mesh: 10**5)
    with pytest.raises(InputError, match=r"training [\d,]+ parameters × 30 members .* 97.7 KiB"):
        train.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_step_that_fits_no_device_ends_before_it_runs(tmp_path, monkeypatch):
    # Compiled anew, for a program that was kept tells no memory; so it is small.
    config = tiny.config(tmp_path / "cache", model__phenomics__n_blocks=0, train__batch_size=4)
    monkeypatch.setattr(step.meshes, "memory_per_device", lambda mesh: 10**4)
    monkeypatch.setattr(train, "need_memory_to_train", lambda *_: None)
    with pytest.raises(InputError, match=r"one step of \d+ rows would need .*train\.batch_size"):
        train.train_and_evaluate(config, tmp_path / "run")
