"""What the README names exists as it stands: configs, fields, paths; `documented/` runs it."""

import importlib.util
import pathlib
import re

import pytest

from molphenix_jax import tasks
from molphenix_jax.runtime.config import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def found(pattern):
    return sorted(set(re.findall(pattern, README)))


def load(path, arg=None):
    spec = importlib.util.spec_from_file_location("readme_config", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


# Arguments that name a run are read by `get_config`: a reader has made that run before.
MADE_BEFORE = re.compile(r"pretrained=([^,]+)")


@pytest.mark.parametrize("config", found(r"--config=(configs/[\w.]+(?::[^\s`]+)?)"))
def test_config_resolves(config):
    path, _, arg = config.partition(":")
    if made := MADE_BEFORE.search(arg):
        with pytest.raises(ConfigError, match=re.escape(made[1])):
            load(path, arg)
    else:
        tasks.validate(load(path, arg or None))


@pytest.mark.parametrize("field", found(r"--config\.([\w.]+)="))
def test_field_exists(field):
    *path, name = field.split(".")
    holders = []
    for file in sorted((ROOT / "configs").glob("*.py")):
        part = load(file.relative_to(ROOT))
        for key in path:
            part = part.get(key, {})
        holders += [file.name] if name in part else []
    assert holders


@pytest.mark.parametrize("path", found(r"`((?:molphenix_jax|tests|configs)/[\w/.]+)`"))
def test_path_exists(path):
    assert (ROOT / path).exists()
