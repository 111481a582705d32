"""1, 2 and 4 real processes see the same global batches, and continue each other's runs."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from molphenix_jax.runtime.metrics import METRICS_FILE, read_metrics
from tests.process import sampler

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(n: int, workdir: pathlib.Path) -> list[dict]:
    """What each of n processes, with four devices together, says after training in `workdir`."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    environment.pop("XLA_FLAGS", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.process", address, str(n), str(i), str(workdir)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(n)
    ]
    try:
        finished = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, finished, strict=True):
        assert process.returncode == 0, errors
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


EXPECTED = {step: sampler().batch(step).perturbation.tolist() for step in range(6)}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[pathlib.Path, list[dict]]:
    workdir = tmp_path_factory.mktemp("two") / "run"
    return workdir, run(2, workdir)


def test_two_processes_see_the_global_batches_of_one(two, tmp_path):
    workdir, results = two
    one = run(1, tmp_path / "one")
    assert global_batches(results) == global_batches(one) == EXPECTED
    # Each computed its half only.
    assert [len(rows) for _, rows, _ in results[0]["computed"]] == [4] * 6
    for result in (*results, *one):
        np.testing.assert_allclose(result["kernel"], one[0]["kernel"], rtol=1e-5)
    # One of them writes, and writes what a single process does.
    lines, alone = (list(read_metrics(d / METRICS_FILE)) for d in (workdir, tmp_path / "one"))
    assert [line["step"] for line in lines] == [line["step"] for line in alone]


@pytest.mark.parametrize("n", [1, 4])
def test_another_number_of_processes_continues_with_the_exact_next_batch(n, two, tmp_path):
    workdir, results = two
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "step_6")
    continued = run(n, copy)
    assert global_batches(continued) == {step: EXPECTED[step] for step in (3, 4, 5)}
    for result in continued:
        np.testing.assert_allclose(result["kernel"], results[0]["kernel"], rtol=1e-5)
