"""`from molphenix_jax import losses` as another project uses it."""

import doctest
import subprocess
import sys

import pytest

from molphenix_jax import losses

# What a project that wants the losses alone must not pay for.
HEAVY = {
    *("rdkit", "tensorflow_datasets", "flax", "optax", "pandas", "pyarrow", "scipy", "sklearn"),
    *("ml_collections", "absl", "matplotlib", "rich"),
}


@pytest.mark.slow
def test_the_examples_hold():
    assert doctest.testmod(losses).failed == 0


def test_importing_them_loads_no_other_room():
    program = "import sys; from molphenix_jax import losses; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    loaded = done.stdout.decode().split()
    assert not HEAVY & {name.split(".")[0] for name in loaded}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("molphenix_jax.")}
    assert rooms == {"losses", "parts", "errors"}


def test_the_package_names_all_that_is_public():
    assert [name for name in losses.__all__ if f"`{name}`" not in losses.__doc__] == []
