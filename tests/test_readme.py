"""What the README names exists as it stands; its commands are run by `documented/`."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMED = re.findall(r"`((?:molphenix_jax|tests|configs)/[\w/.]+)`", (ROOT / "README.md").read_text())


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_path_exists(path):
    assert (ROOT / path).exists()
