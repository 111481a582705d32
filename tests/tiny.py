"""The smallest alignment run: 60 simulated molecules at 2 doses, one small model, a few updates."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import types
from collections.abc import Mapping

import jax
import pandas as pd

from molphenix_jax import tasks, train
from molphenix_jax.evaluate import load_params
from molphenix_jax.runtime import mesh as meshes
from molphenix_jax.runtime.config import Config
from molphenix_jax.runtime.progress import console
from molphenix_jax.screens.prepare import PrepareConfig
from molphenix_jax.simulated.screen import TINY, simulate_wells
from molphenix_jax.tasks.align.config import default_config
from tests import forks, quick
from tests.forks import REPOSITORY

# Everything that a result here depends on is set, so that no test leans on a default that is tuned.
FIELDS = {
    "data.psi": 1.0,
    "data.n_null": 200,
    "data.unseen_images_fraction": 0.5,
    "molecules.blocks": "maccs",
    "model.phenomics.width": 16,
    "model.phenomics.components": 16,
    "model.phenomics.n_blocks": 1,
    "model.molecules.width": 16,
    "model.molecules.n_blocks": 0,
    "model.molecules.components": 16,
    "model.dim": 8,
    "train.steps": 4,
    "train.warmup_steps": 1,
    "train.members": 1,
    "train.devices": 1,
    "train.batch_size": 32,
    "train.log_every": 1,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
    "train.keep_checkpoints": 3,
    "eval.baselines": "",
    "eval.n_bootstrap": 20,
    **{f"data.simulated.{name}": value for name, value in dataclasses.asdict(TINY).items()},
}


def config(cache: pathlib.Path, **changes) -> Config:
    """The tiny config; `changes` are fields with `__` in place of the dots."""
    c = default_config()
    fields = {**FIELDS, "data.cache": str(cache / "screens")}
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    c.update_from_flattened_dict(fields)
    return c


def prepare_config(**changes) -> PrepareConfig:
    """How a tiny screen is prepared."""
    fields = {
        "columns": {},
        "features": "",
        "correction": "tvn",
        "group_by": "auto",
        "clip": 10.0,
        "n_null": 200,
        "blocks": ("maccs",),
        "embeddings": {},
        "seed": 0,
    }
    return PrepareConfig(**{**fields, **changes})


def wells(cache: pathlib.Path, *, seed: int = 0) -> pd.DataFrame:
    """The tiny wells table; another seed is another screen of the same biology."""
    # The cache belongs to all workers: each writes a table of its own.
    folder = cache / f"wells-{seed}-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    if not folder.exists():
        folder.mkdir(parents=True)
        simulate_wells(dataclasses.replace(TINY, seed=seed), folder)
    return pd.read_parquet(folder / "wells.parquet")


def command(workdir: pathlib.Path, cache: pathlib.Path, **changes) -> list[str]:
    """The command line of the tiny run."""
    fields = {**FIELDS, "data.cache": str(cache / "screens")}
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    given = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }
    return [
        *(sys.executable, "-m", "molphenix_jax.main"),
        *("--config=configs/s2l.py:preset=small_screen", f"--workdir={workdir}"),
        *(f"--config.{name}={value}" for name, value in given.items()),
    ]


def environment(cache: pathlib.Path) -> dict[str, str]:
    """Of a subprocess: compiles fast and only once for all of them, on one device."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": quick.FLAGS,
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "COLUMNS": "200",
    }


def run(workdir: pathlib.Path, cache: pathlib.Path, **changes):
    """Runs the command to its end; what it said is in `stdout`."""
    return finish(start(command(workdir, cache, **changes), cache))


def evaluate(workdir: pathlib.Path, cache: pathlib.Path, *arguments: str):
    """Runs `--mode=evaluate` without a config."""
    module = [sys.executable, "-m", "molphenix_jax.main"]
    return finish(start([*module, f"--workdir={workdir}", "--mode=evaluate", *arguments], cache))


def start(
    command: list[str],
    cache: pathlib.Path,
    variables: Mapping[str, str] = types.MappingProxyType({}),
    **options,
) -> subprocess.Popen:
    """A command as a process, as `forks.start` makes it; what it says is in `stdout`.

    One with variables of its own is started anew.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    options = {"anew": bool(variables), **options}
    return forks.start(command, {**environment(cache), **variables}, **options)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Waits for the end of what `start` has started."""
    with process:
        try:
            said, _ = process.communicate(timeout=600)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def train_here(config: Config, workdir: pathlib.Path) -> str:
    """Trains in this process; returns what was said."""
    with console.capture() as said:
        train.train_and_evaluate(config, workdir)
    return said.get()


def make(config: Config, workdir: pathlib.Path):
    """The task of a config, and what was said while its data was prepared."""
    workdir.mkdir(parents=True, exist_ok=True)
    mesh = meshes.make_mesh(config.train.devices)
    with console.capture() as said:
        task = tasks.make(config, mesh, workdir)
        task.keep(workdir)
    return task, said.get()


def files(folder: pathlib.Path, *, but: pathlib.Path | None = None) -> dict[str, tuple]:
    """Every file and folder below one, with time of change and contents; but one of them."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if but is None or not (path.is_relative_to(but) or path == but.parent)
    }


def parameters(config: Config, workdir: pathlib.Path) -> list:
    """Leaves of the newest checkpoint's parameters."""
    task, _ = make(config, workdir / "again")
    mesh = meshes.make_mesh(config.train.devices)
    with console.capture():
        run = task.run(0, workdir / "again")
        step, params = load_params(run, config, mesh, workdir, checkpoint=None)
    assert step == config.train.steps
    return jax.tree.leaves(params)
