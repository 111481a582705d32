"""Seeded mutations of stored folders: what can be read of one is what was stored.

Valid cases are the same folder elsewhere, beside foreign files, its JSON laid out in another way.
"""

import contextlib
import gc
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import molphenix_jax
from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.checkpointing import CHECKPOINTS, Checkpoints
from molphenix_jax.runtime.workdir.folder import HEADER_FILE, read_header
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from molphenix_jax.screens.prepare import prepare
from molphenix_jax.screens.screen import stored_array
from molphenix_jax.screens.store import open_screen
from molphenix_jax.tasks.stored import stored_config
from molphenix_jax.trained.folder import MODEL_FILE, MODEL_FOLDER
from tests import tiny
from tests.fuzz.attempts import seeds

# The model folder that is read again and again has the same programs.
pytestmark = pytest.mark.usefixtures("cache")

ANY = (None, "", "x", 0, -1, 1, 0.5, [], {}, True, 10**12, "17", [1], {"a": 1})


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> pathlib.Path:
    """A prepared screen of two cell lines, with rejected rows."""
    folder = tmp_path_factory.mktemp("stored")
    wells = tiny.wells(folder).assign(cell_line="U2OS")
    wells.loc[wells.index % 2 == 1, "cell_line"] = "A549"
    wells.loc[3, "smiles"] = "C1CC"
    wells.to_parquet(folder / "wells.parquet")
    options = tiny.prepare_config(conditions="auto", correction="centerscale")
    prepare(folder / "wells.parquet", options, cache=folder / "cache", say=lambda _: None)
    (prepared,) = (folder / "cache").glob("wells-*")
    return prepared


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """A tiny run, finished."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.train_here(tiny.config(folder), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def model(run) -> pathlib.Path:
    """What it leaves to its users."""
    return run / MODEL_FOLDER


def content_of_screen(folder: pathlib.Path) -> dict[str, Any]:
    found = dict(vars(open_screen(folder).in_memory()))
    archive = found.pop("archive")
    found |= {f"correction_{name}": of for name, of in vars(archive.correction).items()}
    found |= {f"block_{name}": stored_array(block) for name, block in found["blocks"].items()}
    found["blocks"] = {name: type(block) for name, block in found["blocks"].items()}
    del found["folder"]
    return {**found, "rejected": archive.rejected, "wells": archive.wells}


def content_of_run(folder: pathlib.Path) -> dict[str, Any]:
    """What is read back of a run; of lines and checkpoints that are gone nothing is."""
    found: dict[str, Any] = {"config": stored_config(folder).to_dict()}
    if (folder / HEADER_FILE).exists():  # runs of before have none
        found["header"] = read_header(folder)
        found["header"].pop("digest", None)  # without it the others are taken as they are
    metrics = folder / METRICS_FILE
    lines = list(read_metrics(metrics)) if metrics.exists() else []
    with contextlib.closing(Checkpoints(folder / CHECKPOINTS, keep=None)) as checkpoints:
        for step in checkpoints.steps():
            found[f"state {step}"] = checkpoints.read_state(step)
    return {**found, "lines": [(line["kind"], line["step"]) for line in lines]}


def content_of_model(folder: pathlib.Path) -> dict[str, Any]:
    """What a model folder tells, and where it puts molecules and profiles."""
    model = molphenix_jax.load(folder)
    profiles = np.linspace(-2, 2, 3 * len(model.feature_names)).reshape(3, -1)
    told = {name: value for name, value in model.about.items() if name != "version"}
    return {
        "about": told,
        "config": model.config,
        "molecules": model.molecules,
        "null": model.null_profiles,
        "doses": model.doses_um,
        "features": model.feature_names,
        "conditions": model.conditions,
        "z_m": model.embed_molecules(["CCO", "c1ccccc1O"], concentration_um=1.0),
        "z_x": model.embed_profiles(profiles, corrected=True),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, pd.DataFrame):
        return isinstance(b, pd.DataFrame) and a.equals(b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        numbers = a.dtype.kind == "f"
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=numbers)
    if hasattr(a, "_fields") or hasattr(a, "__dataclass_fields__"):
        return repr(a) == repr(b)
    return type(a) is type(b) and a == b


def written_otherwise(folder: pathlib.Path, rng: np.random.Generator) -> None:
    """The same content: other layout of JSON, foreign files, other times."""
    # A model folder knows the bytes of its other files.
    names = (MODEL_FILE,) if (folder / MODEL_FILE).exists() else ("*.json",)
    for path in sorted(path for name in names for path in folder.glob(name)):
        if rng.random() < 0.5:
            told = json.loads(path.read_text())
            if rng.random() < 0.5:
                told = {key: told[key] for key in rng.permutation(list(told)).tolist()}
            path.write_text(json.dumps(told, indent=int(rng.integers(5)) or None))
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for _ in range(rng.integers(3)):
        name = rng.choice([".DS_Store", "._screen.json", "Thumbs.db", "notes.txt", ".nfs0001"])
        beside = folders[rng.integers(len(folders))] if rng.random() < 0.3 else folder
        (beside / str(name)).write_bytes(b"\x00\x05\x16\x07")


def broken(folder: pathlib.Path, rng: np.random.Generator) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    own = [path for path in files if path.parent == folder]
    choice = own if rng.random() < 0.6 else files
    path = choice[rng.integers(len(choice))]
    content = bytearray(path.read_bytes())
    way = rng.integers(8)
    if way <= 2 and content:
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
    elif way == 3:
        path.write_bytes(content[: rng.integers(len(content) + 1)])
    elif way == 4:
        path.unlink()
    elif way == 5:
        path.rename(path.with_name(path.name + str(rng.choice(["~", ".bak", " (1)"]))))
    elif path.suffix == ".json":
        told = json.loads(content)
        _change(told, rng)
        path.write_text(json.dumps(told))
    else:
        at, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
        content[at : min(end, at + 64)] = bytes(min(end, at + 64) - at)
        path.write_bytes(content)


def _change(told: Any, rng: np.random.Generator) -> None:
    """One value somewhere in JSON dropped, or another."""
    while True:
        keys = list(told) if isinstance(told, dict) else list(range(len(told)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        value = told[key]
        if isinstance(value, dict | list) and value and rng.random() < 0.7:
            told = value
            continue
        way = rng.integers(4)
        if way == 0:
            del told[key]
        elif way == 1 and isinstance(value, int | float):
            told[key] = str(value)
        elif way == 2 and isinstance(value, int | float):
            told[key] = value * 2 + 1
        else:
            told[key] = ANY[rng.integers(len(ANY))]
        return


def tried(folder: pathlib.Path, original: pathlib.Path, content: Callable, rng, seed, attempt):
    shutil.copytree(original, folder)
    if seed % 5 < 2:
        written_otherwise(folder, rng)
        return attempt("valid", lambda: content(folder))
    broken(folder, rng)
    with console.capture():
        return attempt("damaged", lambda: content(folder))


def need_all_of(was: dict, found: dict) -> None:
    differs = [name for name in was if not same(was[name], found.get(name))]
    assert not differs, differs


@seeds(30)
def test_a_prepared_screen_is_what_was_stored_or_refused(seed, tmp_path, screen, attempt):
    rng = np.random.default_rng(seed)
    found = tried(tmp_path / "copy", screen, content_of_screen, rng, seed, attempt)
    if found is not None:
        need_all_of(content_of_screen(screen), found)


@pytest.mark.slow
@seeds(10, often=5)
def test_a_model_folder_is_what_was_stored_or_refused(seed, tmp_path, model, attempt):
    rng = np.random.default_rng(seed)
    found = tried(tmp_path / "copy", model, content_of_model, rng, seed, attempt)
    if found is not None:
        need_all_of(content_of_model(model), found)


# What orbax abandons when a checkpoint is damaged complains when its garbage goes: here, not later.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@seeds(10, often=5)
def test_a_run_is_what_was_stored_or_refused(seed, tmp_path, run, attempt):
    rng = np.random.default_rng(seed)
    found = tried(tmp_path / "copy", run, content_of_run, rng, seed, attempt)
    gc.collect()
    if found is not None:
        was = content_of_run(run)
        del was["lines"]
        differs = [name for name in found if name in was and not same(was[name], found[name])]
        assert not differs, differs
