"""1, 2 and 4 real processes of an alignment see the same global batches, continue each other."""

import json
import pathlib
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from molphenix_jax.runtime.progress import console
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import process, tiny

pytestmark = pytest.mark.long


def run(n: int, workdir: pathlib.Path, cache: pathlib.Path) -> list[dict]:
    """What each of n processes, with four devices together, says after training in `workdir`.

    A single one is this one.
    """
    if n == 1:
        with console.capture():
            return [process.main(workdir, cache)]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    processes = [
        tiny.start(
            [sys.executable, "-m", "tests.process", address, *map(str, (n, i, workdir, cache))],
            cache,
            anew=i == 0,
            stderr=subprocess.PIPE,
        )
        for i in range(n)
    ]
    try:
        finished = [each.communicate(timeout=240) for each in processes]
    finally:
        for each in processes:
            each.kill()
    for each, (_, errors) in zip(processes, finished, strict=True):
        assert each.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in finished]


def global_batches(results: list[dict]) -> dict[int, list[int]]:
    """Perturbations of each step's batch, put together from the processes' rows."""
    batches: dict[int, dict[int, int]] = {}
    for result in results:
        for step, rows, perturbations in result["computed"]:
            rows = range(len(perturbations)) if rows is None else rows
            batch = batches.setdefault(step, {})
            assert not set(rows) & set(batch), "two processes computed the same row"
            batch.update(zip(rows, perturbations, strict=True))
    return {step: [batch[row] for row in range(8)] for step, batch in batches.items()}


@pytest.fixture(scope="module")
def expected(cache, tmp_path_factory) -> dict[int, list[int]]:
    """Perturbations of each step's batch, as this process alone samples them."""
    config = process.config(cache)
    folder = tmp_path_factory.mktemp("here")
    task, _ = tiny.make(config, folder)
    with console.capture():
        sampler = task.run(0, folder).sampler
    return {step: sampler.batch(step).perturbation.tolist() for step in range(6)}


@pytest.fixture(scope="module")
def two(cache, tmp_path_factory) -> tuple[pathlib.Path, list[dict]]:
    workdir = tmp_path_factory.mktemp("two") / "run"
    return workdir, run(2, workdir, cache)


def test_two_processes_see_the_global_batches_of_one(two, expected, cache, tmp_path):
    workdir, results = two
    one = run(1, tmp_path / "one", cache)
    assert global_batches(results) == global_batches(one) == expected
    # Each computed its half only.
    assert [len(rows) for _, rows, _ in results[0]["computed"]] == [4] * 6
    for result in (*results, *one):
        assert result["sizes"] == pytest.approx(one[0]["sizes"], rel=1e-4)
    # One of them writes, and writes what a single process does.
    lines, alone = (list(read_metrics(d / METRICS_FILE)) for d in (workdir, tmp_path / "one"))
    assert [line["step"] for line in lines] == [line["step"] for line in alone]
    losses = [[line["loss"] for line in each if line["kind"] == "train"] for each in (lines, alone)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize("n", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_another_number_of_processes_continues_with_the_exact_next_batch(
    n, two, expected, cache, tmp_path
):
    workdir, results = two
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "step_6")
    continued = run(n, copy, cache)
    assert global_batches(continued) == {step: expected[step] for step in (3, 4, 5)}
    for result in continued:
        assert result["sizes"] == pytest.approx(results[0]["sizes"], rel=1e-4)
