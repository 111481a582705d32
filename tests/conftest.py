"""Shared fixtures: real data where it is at hand, eight simulated devices for sharding tests."""

import os
import pathlib

# Before jax is imported anywhere: multi-device tests run on simulated CPU devices.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of public screens; tests that need it skip where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folder for prepared screens and compiled programs, shared by all tests of one process.

    Nearly all time of a tiny run is XLA's; the tests that ask for this folder compile each program
    once.
    """
    folder = tmp_path_factory.mktemp("cache")
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled-here"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
