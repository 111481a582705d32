"""What the README tells a user to type exists: configs, fields, make targets, subcommands."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from molphenix_jax.tasks.align_config import default_config

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def found(pattern):
    return sorted(set(re.findall(pattern, README)))


@pytest.mark.parametrize("config", found(r"--config=(configs/[\w.]+(?::[^\s`]+)?)"))
def test_config_resolves(config):
    path, _, arg = config.partition(":")
    spec = importlib.util.spec_from_file_location("readme_config", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.get_config(arg or None).task == "align"


@pytest.mark.parametrize("field", found(r"--config\.([\w.]+)="))
def test_field_exists(field):
    config = default_config()
    *path, name = field.split(".")
    for part in path:
        config = config[part]
    assert name in config


@pytest.mark.parametrize("target", found(r"\bmake (\w+)    "))
def test_make_target_exists(target):
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("command", found(r"\bmolphenix ([a-z]+ [a-z]+)"))
def test_subcommand_exists(command):
    done = subprocess.run(
        [sys.executable, "-m", "molphenix_jax.cli", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", found(r"`((?:molphenix_jax|tests|configs)/[\w/.]+)`"))
def test_path_exists(path):
    assert (ROOT / path).exists()
