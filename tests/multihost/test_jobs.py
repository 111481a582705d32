"""Several real processes train one run together, or end together with a sentence."""

import re

import numpy as np
import pytest

from molphenix_jax.runtime.processes import LOST_STATUS
from molphenix_jax.runtime.workdir.metrics import METRICS_FILE, read_metrics
from tests import tiny
from tests.multihost import jobs

pytestmark = pytest.mark.long


def test_two_processes_train_as_one_with_two_devices(whole, cache, tmp_path):
    """To float32's rounding: sums over devices of one process are taken in another order."""
    command = jobs.alignment(tmp_path / "one", cache)
    done = tiny.finish(tiny.start(command, cache, {"JAX_NUM_CPU_DEVICES": "2"}))
    assert done.returncode == 0, done.stdout
    one, two = (list(read_metrics(of / METRICS_FILE)) for of in (tmp_path / "one", whole))
    assert [of["step"] for of in one] == [of["step"] for of in two]
    for name in ("loss", "grad_norm"):
        values = [[of[name] for of in each if name in of] for each in (one, two)]
        np.testing.assert_allclose(values[0], values[1], rtol=2e-3)


@pytest.mark.parametrize(
    ("phase", "index"),
    [
        ("prepare", 1),
        *(
            pytest.param(phase, index, marks=pytest.mark.soak)
            for phase, index in [("prepare", 0), ("evaluate", 0), ("evaluate", 1)]
        ),
    ],
)
def test_one_that_is_told_to_end_outside_training_ends_all(phase, index, cache, tmp_path):
    """The first process works alone then, and the others wait for it."""
    run = tmp_path / "run"
    changes = {"data__cache": str(tmp_path / "cache"), "data__simulated__n_molecules": 400}
    if phase == "evaluate":
        changes = {"eval__n_bootstrap": 20_000, "eval__baselines": "knn,ridge"}
    job = jobs.start(2, jobs.alignment(run, cache, **changes), cache)
    if phase == "evaluate":
        job.wait_for(run / "model")
    else:
        job.wait_until_said("simulating the built-in screen")
    job.tell_to_end(index)
    assert "Traceback" not in job.texts()
    assert not (run / "evaluation.json").exists()


def test_what_one_cannot_use_ends_all_with_its_sentence(cache, tmp_path):
    command = jobs.alignment(tmp_path / "run", cache, data__wells=str(tmp_path / "none.csv"))
    job = jobs.start(2, command, cache)
    assert job.wait() == [1, 1], job.texts()
    assert re.search(r"^error: process 0: .*none\.csv cannot be read", job.text(0), re.MULTILINE)
    assert re.search(r"process 0 of 2 .* has ended: .*none\.csv", job.text(1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_one_that_does_not_find_the_others_says_so(index, cache, tmp_path):
    command = jobs.line(tmp_path / "run", runtime__timeout_s=2)
    place = [f"--coordinator=localhost:{jobs.free_port()}", "--num_processes=2"]
    done = tiny.finish(tiny.start([*command, *place, f"--process_id={index}"], cache))
    assert done.returncode == LOST_STATUS, done.stdout
    assert f"error: process {index} of 2 did not find the others within 2 s" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_a_sentence_and_may_be_tried_again(cache, tmp_path):
    """As where the process of before has not ended yet."""
    with jobs.listening() as port:
        line = jobs.line(tmp_path / "run", runtime__timeout_s=2)
        command = [*line, f"--coordinator=localhost:{port}"]
        done = tiny.finish(tiny.start([*command, "--num_processes=2", "--process_id=0"], cache))
    assert done.returncode == LOST_STATUS, done.stdout
    assert "error: process 0 of 2 did not find the others" in done.stdout
    assert f": port {port} of this host is taken. The same command may be" in done.stdout
    assert "Traceback" not in done.stdout
