"""Shared fixtures: real data where it is at hand, eight simulated devices for sharding tests."""

import collections
import gc
import os
import pathlib
from collections.abc import Iterator

from tests import quick

# Before jax is imported anywhere: multi-device tests run on simulated CPU devices.
os.environ.setdefault("XLA_FLAGS", f"{quick.EIGHT_DEVICES} {quick.FLAGS}")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping
import pytest

import tests.annotations  # noqa: F401  (by name in the hook below)

jax.config.update("jax_numpy_rank_promotion", "raise")
# Before anything of the package is imported: `make test-arrays` checks annotations at each call.
if os.environ.get("MOLPHENIX_CHECK_ARRAYS"):
    jaxtyping.install_import_hook("molphenix_jax", "tests.annotations.check")

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For tests of what a function says of wrong shapes and types: annotations are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of public screens; tests that need it skip where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with one at the end."""
    marks = ("slow", "long")
    slow = collections.Counter(
        item.path for item in items if any(map(item.get_closest_marker, marks))
    )
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """What is imported and collected stays: the garbage collector need not walk it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder for prepared screens and compiled programs, shared by all modules and workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "cache").mkdir(exist_ok=True)
    return folder / "cache"


@pytest.fixture(scope="module")
def cache(cache_folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The cache folder, for a module of tiny runs: programs are compiled once, pictures blank."""
    from tests import pictures  # which imports matplotlib

    options = {
        "jax_compilation_cache_dir": str(cache_folder / "compiled-here"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    with pictures.drawn(really=False):
        yield cache_folder
    for name, value in before.items():
        jax.config.update(name, value)
