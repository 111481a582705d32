"""What is done in chunks gives the same in one as in several: a whole run, and a list of all."""

import ast
import importlib
import json
import pathlib
import re

import pytest

import molphenix_jax
from tests import tiny

PACKAGE = pathlib.Path(molphenix_jax.__file__).parent
TESTS = pathlib.Path(__file__).parents[1]
# A size small enough that the tiny run takes several chunks.
SMALL = {
    "evaluation.baselines.structure._CHUNK": 7,
    "evaluation.bootstrap._DRAWS_AT_ONCE": 50,
    "molecules.clusters._ROWS": 9,
    "phenomics.activity._CHUNK_VALUES": 200,
    "phenomics.aggregation._CHUNK_VALUES": 100,
    "phenomics.correction._CHUNK": 50,
    "screens.preparing.correct.ITEM_ROWS": 60,
    "screens.preparing.correct._CHUNK_VALUES": 200,
    "screens.preparing.shards.SHARD_MOLECULES": 17,
    "screens.preparing.shards.SHARD_VALUES": 40 * 16,
    "screens.splits.LEAKAGE_CHUNK": 10,
    "screens.store._CHUNK": 7,
    "screens.screen._CHUNK": 7,
    "tables.reading.files.PART_ROWS": 64,
    "tables.reading.files.BATCH_VALUES": 640,
    "tables.rows.CHUNK_VALUES": 20 * 16,
    "trained.sides.CHUNK": 9,
}
# What that run does not reach, and where it is taken in several chunks.
ELSEWHERE = {
    "figures.properties._CHUNK": "figures/test_figures.py",
    "molecules.parallel.CHUNK": "molecules/standard/test_form.py",
    "molecules.graphs.cache.SHARD_SIZE": "molecules/graphs/test_cache.py",
    "molecules.graphs.cache._READ_AT_ONCE": "molecules/graphs/test_cache.py",
    "retrieval.ranking.domain._CHUNK": "retrieval/ranking/test_finding.py",
    "tasks.align.answers._CHUNK": "tasks/align/test_answers.py",
    "runtime.processes.arrays._BYTES_AT_ONCE": "multihost/test_evaluation.py",
    "runtime.step.ROOM_BYTES": "training/test_dispatch.py",
    "tasks.align_images.run._CHUNK": "tasks/align_images/test_align_images.py",
    "retrieval.molecules.GRAPHS_AT_ONCE": "tasks/align/training/test_encoder.py",
    "trained.sides._IMAGE_CHUNK": "tasks/align_images/test_align_images.py",
    "tasks.mae_pretraining.run._EMBED_BATCH": "tasks/mae_pretraining/test_mae_run.py",
}
NAME = re.compile(r"_?([A-Z_]*CHUNK(_VALUES)?|[A-Z_]*_AT_ONCE|SHARD_[A-Z]+|(PART|ITEM)_ROWS|_ROWS)")
# Of a file, so that nothing is spared: a layout of plates, a state of signals.
NO_CHUNKS = {"signals._AT_ONCE", "simulated.screen._ROWS", "tables.names._ROWS"}


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def test_every_size_of_chunks_is_on_the_list():
    """A new one is added to SMALL, or to ELSEWHERE with a test that takes several."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "bench"):
            continue
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {f"{module_of(path)}.{n.id}" for n in names if NAME.fullmatch(n.id)}
    found -= NO_CHUNKS
    assert found
    assert found <= set(SMALL) | set(ELSEWHERE)
    for name, file in ELSEWHERE.items():
        assert name.rpartition(".")[2].lower() in (TESTS / file).read_text().lower(), name


def results(cache: pathlib.Path, folder: pathlib.Path) -> dict[tuple, float]:
    folder.mkdir()
    tiny.wells(cache).to_parquet(folder / "wells.parquet")
    config = tiny.config(
        cache,
        data__cache=str(folder / "cache"),
        data__wells=str(folder / "wells.parquet"),
        data__split="butina",
        data__placement="stream",
        eval__baselines="knn,ridge",
        train__steps=2,
    )
    tiny.train_here(config, folder / "run")
    record = json.loads((folder / "run" / "evaluation.json").read_text())
    setting = ("split", "subset", "psi", "gallery", "direction", "model")
    return {
        tuple(row[field] for field in setting): (row["n_queries"], row["median_rank_pct"])
        for row in record["results"]
    }


@pytest.mark.slow
def test_a_run_in_many_chunks_is_the_run_in_one(cache, tmp_path, monkeypatch):
    whole = results(cache, tmp_path / "whole")
    for name, size in SMALL.items():
        module, _, constant = f"molphenix_jax.{name}".rpartition(".")
        monkeypatch.setattr(importlib.import_module(module), constant, size)
    parts = results(cache, tmp_path / "parts")
    assert parts.keys() == whole.keys()
    for setting, (n, median) in whole.items():
        assert parts[setting] == (n, pytest.approx(median, abs=2.0)), setting
    leakage = [
        json.loads((tmp_path / name / "run" / "leakage.json").read_text())
        for name in ("whole", "parts")
    ]
    assert leakage[0] == leakage[1]
