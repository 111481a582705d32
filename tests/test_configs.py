"""Every config file resolves, holds together, and knows its argument string."""

import importlib.util
import json
import pathlib

import pytest

from molphenix_jax import tasks
from molphenix_jax.losses import S2L_PRESETS
from molphenix_jax.runtime.config import ConfigError, plain

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[1] / "configs").glob("*.py"))


def get_config(name: str, arg: str | None = None):
    path = CONFIGS[0].parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"configs_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_resolves_validates_and_survives_json(path):
    config = get_config(path.stem)
    tasks.validate(config)
    assert json.loads(json.dumps(plain(config))) == plain(config)
    assert f"--config=configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_refuses_an_argument_it_does_not_know(path):
    with pytest.raises(ConfigError, match="'speed' is unknown; known: "):
        get_config(path.stem, "speed=9")


# Argument string → the fields it decides, as they are to be.
GOLDEN = {
    "wells=a.parquet": {"data.wells": "a.parquet"},
    "size=paper": {
        "model.dim": 512,
        "model.phenomics.width": 1024,
        "model.phenomics.n_blocks": 6,
        "model.phenomics.components": 0,
        "model.molecules.width": 1232,
        "model.molecules.components": 0,
        "train.members": 1,
    },
    "preset=molgps,wells=b.csv": {
        "data.wells": "b.csv",
        "loss.name": "s2l",
        "loss.options.s2l.gamma": 1.75,
        "loss.options.s2l.zeta": 0.75,
        "loss.options.s2l.threshold": 0.75,
    },
    "preset=fingerprint": {"loss.options.s2l.gamma": 2.75, "loss.options.s2l.zeta": 1.0},
}


@pytest.mark.parametrize("arg", GOLDEN)
def test_argument_strings_of_s2l(arg):
    config = get_config("s2l", arg)
    tasks.validate(config)
    flat = dict(flatten(config))
    assert {name: flat[name] for name in GOLDEN[arg]} == GOLDEN[arg]


@pytest.mark.parametrize("preset", S2L_PRESETS)
def test_every_preset_of_s2l(preset):
    config = get_config("s2l", f"preset={preset}")
    tasks.validate(config)
    options = config.loss.options.s2l
    assert {name: options[name] for name in S2L_PRESETS[preset]} == dict(S2L_PRESETS[preset])


@pytest.mark.parametrize("arg", ["preset=best", "size=huge"])
def test_an_unknown_choice_lists_the_known(arg):
    with pytest.raises(ConfigError, match="choose one of"):
        get_config("s2l", arg)


def flatten(config, prefix=""):
    for name, value in plain(config).items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
